"""An HTTPS endpoint that grades, as a user would run one.

Must not know who calls it.
"""

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.certificates import ServerCertificate


class GraderEndpoint(http.server.ThreadingHTTPServer):
    """Answers every call with `answer` and keeps what it was sent."""

    def __init__(self, tls: ServerCertificate) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls.certificate, tls.key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server_address[1]}/grade"
        self.status = 200
        self.answer = b'{"score": 0.5}'
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: GraderEndpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))
        self.server.headers.append(dict(self.headers))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def grader_endpoint(tls: ServerCertificate) -> Iterator[GraderEndpoint]:
    """Serve until the end of the block."""
    with GraderEndpoint(tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
