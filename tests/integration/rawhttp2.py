"""rawhttp2.py - an HTTP/2 server over TLS that writes the frames of its answers itself.

    s = RawHttp2(ca.issue("h2"))
    s.routes["whole"] = head(200, 5) + data(b"whole") + reset(INTERNAL_ERROR)

A request is known by its body, whose first word names the route: headers are compressed, bodies are
not. A route is the frames of the answer (RFC 9113 section 6), sent as soon as the first bytes of the
body are there, so before the end of a long one. A reset leaves only once the client has answered a
PING: some libcurls (7.88) forget what they read together with a reset. No window ever grows: of a
body longer than WINDOW the rest never comes. Whoever asks for HTTP/1.1 instead gets 200 for anything.
"""
import socket
import ssl
import struct
import threading

DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INTERNAL_ERROR, CANCEL = 2, 8
WINDOW = 65535  # of a stream, to begin with
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def head(status, length=None, end=False):
    """HEADERS: literal fields without indexing (RFC 7541 section 6.2.2), names of the static table."""
    block = b"\x08\x03%d" % status
    if length is not None:
        text = b"%d" % length
        block += b"\x0f\x0d" + bytes([len(text)]) + text
    return [(HEADERS, END_HEADERS | (END_STREAM if end else 0), block)]


def data(body, end=False):
    return [(DATA, END_STREAM if end else 0, body)]


def reset(code):
    return [(RST_STREAM, 0, struct.pack(">I", code))]


class RawHttp2:
    def __init__(self, certificate):
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(*certificate)
        self.tls.set_alpn_protocols(["h2", "http/1.1"])
        self.routes = {}
        self.requests = []  # (protocol, first word of the body)
        self._links = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = "127.0.0.1:%d" % self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self):
        self._listener.close()
        for sock in self._links:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def tail(self, count=20):
        return f"---- raw HTTP/2 server on {self.host}: {self.requests[-count:]}"

    # ---- inside ------------------------------------------------------------------------------

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            sock.settimeout(20)
            sock = self.tls.wrap_socket(sock, server_side=True)
            self._links.append(sock)
            incoming = sock.makefile("rb")
            if sock.selected_alpn_protocol() != "h2":
                while self._serve_http1(sock, incoming):
                    pass
                return
            assert incoming.read(len(PREFACE)) == PREFACE
            sock.sendall(frame(SETTINGS, 0, 0, b""))
            answered = {}  # stream: the reset that is still to come
            while self._serve_frame(sock, incoming, answered):
                pass
        except (OSError, ValueError):  # the client went away, as it may
            pass
        finally:
            sock.close()

    def _serve_http1(self, sock, incoming):
        length = 0
        while (line := incoming.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split()[1])
        if line:
            self.requests.append(("http/1.1", incoming.read(length).split()[0].decode()))
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        return line != b""

    def _serve_frame(self, sock, incoming, answered):
        start = incoming.read(9)
        if len(start) < 9:
            return False
        length = int.from_bytes(start[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", start[3:])
        payload = incoming.read(length)
        if kind == SETTINGS and not flags & ACK:
            sock.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and flags & ACK:
            sock.sendall(answered[int.from_bytes(payload, "big")])
        elif kind == DATA and payload and stream not in answered:
            name = payload.split()[0].decode()
            self.requests.append(("h2", name))
            frames = [(k, frame(k, f, stream, p)) for k, f, p in self.routes[name]]
            answered[stream] = b"".join(f for k, f in frames if k == RST_STREAM)
            sock.sendall(b"".join(f for k, f in frames if k != RST_STREAM)
                         + frame(PING, 0, 0, stream.to_bytes(8, "big")))
        return True
