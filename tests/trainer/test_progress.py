import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finetune_api.pods import ProgressUpdate
from finetune_trainer import progress
from finetune_trainer.progress import Progress


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
    (folder / "token").write_text("secret\n")
    return {
        progress.URL_VARIABLE: f"http://127.0.0.1:{server.server_port}/status",
        progress.TOKEN_VARIABLE: str(folder / "token"),
    }


def test_the_last_figures_always_arrive(tmp_path: Path) -> None:
    with receiver() as server:
        sender = Progress(environment(server, tmp_path))
        for step in range(50):
            sender.post(step, 90.4, {"step": step, "loss": 0.5, "checkpointStep": None})
        sender.close()

        newest = server.updates[-1].trainer_status
        assert newest.progress_percentage == 49
        assert newest.estimated_remaining_seconds == 90
        assert {metric.name: metric.value for metric in newest.metrics} == {
            "step": "49",
            "loss": "0.5",
        }
        assert len(server.updates) <= 2  # the first at once, then one every five seconds
        assert set(server.tokens) == {"Bearer secret"}


def test_a_hanging_endpoint_does_not_hold_training_up(tmp_path: Path) -> None:
    with receiver() as server:
        server.hang.clear()
        sender = Progress(environment(server, tmp_path))
        started = time.monotonic()
        for step in range(1000):
            sender.post(step // 10, None, {"step": step})
        assert time.monotonic() - started < 5  # one request alone would take 20
        server.hang.set()
        sender.close()


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({}, id="nobody listens: nothing is sent"),
        pytest.param({progress.URL_VARIABLE: "http://127.0.0.1:9/"}, id="connection refused"),
        pytest.param({progress.URL_VARIABLE: "nonsense"}, id="not a URL"),
        pytest.param(
            {progress.URL_VARIABLE: "http://127.0.0.1:9/", progress.TOKEN_VARIABLE: "/missing"},
            id="no token file",
        ),
    ],
)
def test_losing_the_endpoint_is_only_logged(
    variables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    sender = Progress(variables)
    sender.post(1, 1.0, {"step": 1})
    sender.close()

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == (["progress-lost"] if variables else [])
