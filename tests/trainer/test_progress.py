import json
import time
from pathlib import Path

import pytest

from finetune_api.status import Resolved
from finetune_trainer import progress
from finetune_trainer.progress import Progress
from support.progress_receiver import environment, receiver


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


def test_figures_stay_until_others_are_told_and_the_percentage_never_falls(tmp_path: Path) -> None:
    with receiver() as server:
        sender = Progress(environment(server, tmp_path))
        sender.post(40, 9.0, {"step": 4, "loss": 0.5})
        sender.post(30, None, {"rowsScored": 0})
        sender.add({"rowsScored": 8})
        sender.add({"rowsScored": None, "checkpointStep": 4})
        sender.close()

    newest = server.updates[-1].trainer_status
    assert (newest.progress_percentage, newest.estimated_remaining_seconds) == (40, None)
    assert {metric.name: metric.value for metric in newest.metrics} == {
        "step": "4",
        "loss": "0.5",
        "checkpointStep": "4",
    }


def test_what_was_decided_goes_along_with_all_that_follows(tmp_path: Path) -> None:
    decided = {"dtype": Resolved(value="float32", reason="weights are trained")}
    with receiver() as server:
        sender = Progress(environment(server, tmp_path))
        sender.settle(decided)
        sender.post(40, None, {"step": 4})
        sender.close()

    newest = server.updates[-1]
    assert newest.resolved == decided
    assert newest.trainer_status.progress_percentage == 40


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
    ("variables", "want_problem"),
    [
        pytest.param({}, None, id="nobody listens: nothing is sent"),
        pytest.param(
            {progress.URL_VARIABLE: "http://127.0.0.1:9/"},
            "URLError: <urlopen error [Errno 111] Connection refused>",
            id="connection refused",
        ),
        pytest.param(
            {progress.URL_VARIABLE: "nonsense"},
            "ValueError: unknown url type: 'nonsense'",
            id="not a URL",
        ),
        pytest.param(
            {progress.URL_VARIABLE: "http://127.0.0.1:9/", progress.TOKEN_VARIABLE: "/missing"},
            "FileNotFoundError: [Errno 2] No such file or directory: '/missing'",
            id="no token file",
        ),
    ],
)
def test_losing_the_endpoint_is_only_logged_with_its_cause(
    variables: dict[str, str], want_problem: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    sender = Progress(variables)
    sender.post(1, 1.0, {"step": 1})
    sender.close()

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    lost = [(line["event"], line["problem"]) for line in lines]
    assert lost == ([("progress-lost", want_problem)] if want_problem else [])
