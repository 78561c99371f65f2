"""rawserver.py - an HTTP server that misbehaves: each route writes the bytes of its answer itself.

    s = RawServer()
    s.routes["/garbage"] = lambda link: link.send(b"\\x00\\x01\\x02")
    s.routes["/token"] = answer(200, b'{"access_token": "..."}', content_type="application/json")

A route gets a Link with the whole request read, one thread per socket; when it returns, the socket
is closed, unless it returned KEEP: then the next request of that socket is read. The server works
in threads of the test's own process and ends with the rig: rig.things.append(server).
"""
import socket
import ssl
import struct
import threading
import time

KEEP = "keep"
REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 429: "Too Many Requests"}


def http(status, body=b"", *lines, **headers):
    """A whole answer; headers as keywords, content_type="..."; lines: header lines as they are."""
    text = [f"HTTP/1.1 {status} {REASONS.get(status, 'Whatever')}"]
    headers = {"content_length": len(body), "connection": "close", **headers}
    text += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()
             if value is not None]
    return "\r\n".join([*text, *lines, "", ""]).encode() + body


def answer(status, body=b"", *lines, **headers):
    """A route that gives this answer."""
    return lambda link: link.send(http(status, body, *lines, **headers))


class Link:
    """One request and the socket it came on."""

    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.left = b""  # bytes of the next request

    def read_request(self):
        """False when the client closed instead."""
        data = self.left
        while b"\r\n\r\n" not in data:
            more = self.sock.recv(65536)
            if not more:
                return False
            data += more
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ", 2)
        self.path = self.target.partition("?")[0]
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        want = int(self.headers.get("content-length", 0))
        while len(self.body) < want:
            more = self.sock.recv(65536)
            if not more:
                return False
            self.body += more
        self.body, self.left = self.body[:want], self.body[want:]
        return True

    @property
    def token(self):
        """The access token that came along, as bytes."""
        return self.headers.get("authorization", "").removeprefix("Bearer ").encode()

    def send(self, data):
        self.sock.sendall(data)

    def flood(self, piece, limit=1 << 28):
        """Send the piece over and over, until the client has had enough or the test ends."""
        sent = 0
        while sent < limit and not self.server.ending.is_set():
            self.sock.sendall(piece)
            sent += len(piece)

    def drip(self, piece, every=0.05, limit_s=30):
        """The piece again and again, slowly."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end and not self.server.ending.wait(every):
            self.sock.sendall(piece)

    def reset(self):
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class RawServer:
    name = "raw"

    def __init__(self, certificate=None, host="127.0.0.1"):
        """certificate: (certificate, key) files; then it speaks TLS."""
        self.tls = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*certificate)
        self.routes = {}
        self.requests = []  # every request whose head and body came whole
        self.ending = threading.Event()
        self._links = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((host, 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.base = f"{'https' if self.tls else 'http'}://{host}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def count(self, path):
        return sum(r.path == path for r in self.requests)

    def end(self):
        self.ending.set()
        self._listener.close()
        with self._lock:
            links = list(self._links)
        for sock in links:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def tail(self, count=20):
        last = [f"  {r.method} {r.target[:100]}" for r in self.requests[-count:]]
        return "\n".join([f"---- raw server on port {self.port}: {len(self.requests)} requests",
                          *last])

    # ---- inside ------------------------------------------------------------------------------

    def _accept(self):
        while not self.ending.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with self._lock:
            self._links.add(sock)
        try:
            if self.tls:
                sock.settimeout(20)
                sock = self.tls.wrap_socket(sock, server_side=True)
            goes_on = KEEP
            link = Link(self, sock)
            while goes_on == KEEP and link.read_request():
                seen = Link(self, None)
                seen.__dict__.update(link.__dict__, sock=None)
                self.requests.append(seen)
                route = self.routes.get(link.path, answer(404))
                goes_on = route(link)
        except (OSError, ValueError):  # the client went away, as it may
            pass
        finally:
            with self._lock:
                self._links = {s for s in self._links if s.fileno() not in (-1, sock.fileno())}
            sock.close()
