"""fakeredis.py - a server that speaks just enough RESP to be taken for some other Redis, or none."""
import socket
import threading

INFO = ("# Server\r\nredis_version:{version}\r\nredis_mode:{mode}\r\nrun_id:{run_id}\r\n"
        "# Replication\r\nrole:{role}\r\nconnected_slaves:0\r\n"
        "# Memory\r\nmaxmemory_policy:{eviction}\r\n# Cluster\r\ncluster_enabled:{cluster}\r\n")


class FakeRedis:
    """Answers INFO as told and everything else with +OK; or every byte with `says`."""

    name = "fakeredis"

    def __init__(self, says=None, **facts):
        self.says = says
        self.info = INFO.format(**{"version": "7.0.15", "mode": "standalone", "run_id": "a" * 40,
                                   "role": "master", "eviction": "noeviction", "cluster": "0",
                                   **facts})
        self.links = 0
        self._open = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self):
        self._listener.close()
        for s in self._open:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def tail(self, count=0):
        return f"---- fakeredis {self.url}: {self.links} links"

    def _accept(self):
        while True:
            try:
                s, _ = self._listener.accept()
            except OSError:
                return
            self.links += 1
            self._open.append(s)
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        try:
            with s, s.makefile("rb") as f:
                while True:
                    command = self._read(f)
                    if command is None:
                        return
                    if self.says is not None:
                        s.sendall(self.says)
                    elif command[0].upper() == b"INFO":
                        s.sendall(b"$%d\r\n%s\r\n" % (len(self.info), self.info.encode()))
                    else:
                        s.sendall(b"+OK\r\n")
        except (OSError, ValueError):
            pass

    @staticmethod
    def _read(f):
        head = f.readline()
        if not head.startswith(b"*"):
            return None
        out = []
        for _ in range(int(head[1:])):
            size = int(f.readline()[1:])
            out.append(f.read(size + 2)[:-2])
        return out
