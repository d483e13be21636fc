"""Takes what a trainer posts, as the operator's endpoint would, and keeps it."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune_api.pods import ProgressUpdate
from finetune_trainer import progress


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what is posted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.updates: list[ProgressUpdate] = []
        self.tokens: list[str | None] = []
        self.hang = threading.Event()
        self.hang.set()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.updates.append(ProgressUpdate.model_validate_json(body))
        self.server.tokens.append(self.headers["Authorization"])
        self.server.hang.wait(20)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A server on this machine."""
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.hang.set()
            server.shutdown()
            thread.join()


def environment(server: Receiver, folder: Path) -> dict[str, str]:
    """What tells a trainer about it."""
    (folder / "token").write_text("secret\n")
    return {
        progress.URL_VARIABLE: f"http://127.0.0.1:{server.server_port}/status",
        progress.TOKEN_VARIABLE: str(folder / "token"),
    }
