"""between.py - stands between awq and Redis, to hold one command at the worst moment."""
import hashlib
import os
import socket
import threading
from pathlib import Path

from procs import ROOT, wait_until


def script_sha(name):
    """The digest a worker sends for a script (common/scripts/embed.sh: comments stripped)."""
    text = (ROOT / f"common/scripts/{name}.lua").read_text()
    kept = [line for line in text.splitlines()
            if line.strip() and not line.lstrip().startswith("--")]
    return hashlib.sha1("".join(line + "\n" for line in kept).encode()).hexdigest().encode()


class Between:
    """A Unix socket that passes everything on to Redis, and can hold what it is told to.

        b = rig.between()
        w = rig.worker(redis_url=b.url)
        b.hold(script_sha("park"))    # the next write that contains this stops here, and all after it
        b.wait_held()                 # the worker has written it; Redis has not seen it
        b.release()
        b.freeze_copies()             # replicas that follow through it get nothing any more
        b.hold_answer(what)           # pass it on, and nothing that Redis says from then on there; until release
        b.swallow(what)               # pass it on, but cut the link before the answer; a script
                                      # must have run before, or the answer lost is NOSCRIPT
    """

    def __init__(self, folder, target, port=None):
        """On a Unix socket, or on that loopback port."""
        self.path = str(Path(folder) / "between.sock")
        self.url = f"unix://{self.path}"
        self.target = target
        self._frozen = False
        self._lock = threading.Condition()
        self._hold = self._hold_answer = None
        self._swallow = None
        self._held = 0
        self._pairs = []
        self.swallowed = 0
        if port:
            self._listener = socket.create_server(("127.0.0.1", port))
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(self.path)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    # ---- for tests ---------------------------------------------------------------------------

    def hold(self, what):
        with self._lock:
            self._hold = what

    def hold_answer(self, what):
        with self._lock:
            self._hold_answer = what

    def wait_held(self, timeout=15):
        wait_until(lambda: self._held, timeout, f"a worker to write {self._hold!r}")

    def release(self):
        with self._lock:
            self._hold = self._hold_answer = None
            self._lock.notify_all()

    def freeze_copies(self):
        with self._lock:
            self._frozen = True

    def swallow(self, what):
        with self._lock:
            self._swallow = what

    def cut(self):
        """Drop every link; new ones are taken."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for s in pair:
                shut(s)

    def end(self):
        shut(self._listener)
        self.cut()
        self._frozen = False
        self.release()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def tail(self, count=0):
        return f"---- between: {len(self._pairs)} links, {self._held} held"

    # ---- inside ------------------------------------------------------------------------------

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.target)
            except OSError:
                client.close()
                server.close()
                continue
            with self._lock:
                self._pairs.append((client, server))
            state = {"answers": True, "copies": False, "mute": False, "lost": threading.Event()}
            threading.Thread(target=self._up, args=(client, server, state), daemon=True).start()
            threading.Thread(target=self._down, args=(client, server, state), daemon=True).start()

    def _up(self, client, server, state):
        tail = b""  # a digest may lie across two reads
        while True:
            data = receive(client)
            if not data:
                break
            seen = tail + data
            tail = seen[-100:]
            state["copies"] = state["copies"] or b"PSYNC" in seen
            with self._lock:
                swallow = self._swallow is not None and self._swallow in seen
                if swallow:
                    self._swallow = None
                state["mute"] = state["mute"] or (self._hold_answer is not None and self._hold_answer in seen)
                if self._hold is not None and self._hold in seen:
                    self._held += 1
                    while self._hold is not None:
                        self._lock.wait()
                    self._held -= 1
            if swallow:
                state["answers"] = False  # nothing of what Redis says from here on arrives
            try:
                server.sendall(data)
            except OSError:
                break
            if swallow:
                state["lost"].wait(10)  # Redis has done it: its answer is thrown away below
                with self._lock:
                    self.swallowed += 1
                break
        shut(client)
        shut(server)

    def _down(self, client, server, state):
        while True:
            data = receive(server)
            if not data:
                break
            if not state["answers"]:
                state["lost"].set()
                continue
            with self._lock:
                while (self._frozen and state["copies"]) or (state["mute"] and self._hold_answer is not None):
                    self._lock.wait()
                state["mute"] = False
            try:
                client.sendall(data)
            except OSError:
                break
        shut(client)
        shut(server)


def receive(sock):
    try:
        return sock.recv(65536)
    except OSError:
        return b""


def shut(sock):
    for act in (lambda: sock.shutdown(socket.SHUT_RDWR), sock.close):
        try:
            act()
        except OSError:
            pass
