"""smallserver.py - an HTTP server of a test's own: one function answers everything.

    with SmallServer(lambda asked: (200, {"Content-Type": "text/plain"}, b"hello")) as s:
        s.base                # http://127.0.0.1:PORT
        s.asked[0].target     # to the letter: doubled slashes, queries
"""
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Asked:
    """One request: method, target, headers (names in lower case), body."""

    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body


class SmallServer:
    def __init__(self, answer):
        """answer(Asked) -> (status, headers, body)"""
        self.asked = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"answer": staticmethod(answer), "asked": self.asked}))
        self._http.daemon_threads = True
        self.host = f"127.0.0.1:{self._http.server_port}"
        self.base = f"http://{self.host}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def end(self):
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def serve(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        target = self.requestline.split()[1]  # self.path has its slashes tidied
        asked = Asked(self.command, target, {k.lower(): v for k, v in self.headers.items()}, body)
        self.asked.append(asked)
        status, headers, body = self.answer(asked)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def log_message(self, *_):
        pass
