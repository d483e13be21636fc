import json
import signal
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.checkpoints import Checkpoints
from support.chat_rows import numbered_rows, write_jsonl
from support.training import Ended, config, data_file, events, losses, run_pod, train_here

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


STEPS = 18


def long_task(folder: Path, model: Path, **changes: Any) -> dict[str, Any]:
    """18 steps in 6 epochs, a checkpoint after each: time enough to be interrupted."""
    return config(folder, model, epochs=6, checkpointEverySeconds=0, learningRate=0.01, **changes)


def at_step(step: int) -> Any:
    return lambda line: line["event"] == "step" and line["step"] >= step


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Ended:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return run_pod(long_task(folder, tiny_model) | {"checkpointEverySeconds": 300}, folder)


@pytest.mark.parametrize(
    ("send", "want_code"),
    [
        pytest.param(signal.SIGTERM, 75, id="SIGTERM: saved at the end of the step"),
        pytest.param(signal.SIGKILL, -9, id="SIGKILL: from the newest complete checkpoint"),
    ],
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    tmp_path: Path, tiny_model: Path, uninterrupted: Ended, send: signal.Signals, want_code: int
) -> None:
    task = long_task(tmp_path, tiny_model)
    first = run_pod(task, tmp_path, when=at_step(7), send=send)
    assert first.code == want_code
    if send == signal.SIGTERM:
        assert first.report["reason"] == "Preempted"
        assert first.report["checkpoint"]["step"] == first.report["step"]

    second = run_pod(task, tmp_path)

    assert second.code == 0, second.errors
    resumed = second.report["resumedFrom"]
    assert 6 <= resumed < STEPS
    want = losses(uninterrupted.log)
    assert losses(second.log) == {step: want[step] for step in range(resumed + 1, STEPS + 1)}
    assert second.report["metrics"] == uninterrupted.report["metrics"]


def test_sigterm_before_the_first_step_is_a_pre_emption_too(
    tmp_path: Path, tiny_model: Path
) -> None:
    ended = run_pod(
        config(tmp_path, tiny_model), tmp_path, when=lambda line: line["event"] == "plan"
    )

    assert (ended.code, ended.report["message"]) == (
        75,
        "Stopped on request before the first step.",
    )


def test_a_finished_training_is_not_repeated(uninterrupted: Ended) -> None:
    folder = uninterrupted.folder
    task = json.loads((folder / "config.json").read_text())

    second = run_pod(task | {"attempt": 2}, folder)

    assert second.code == 0
    assert second.report == uninterrupted.report
    assert events(second.log, "finished-before")
    assert not events(second.log, "step")


def test_a_result_of_another_job_is_replaced(tmp_path: Path, tiny_model: Path) -> None:
    train_here(config(tmp_path, tiny_model, jobUid="old"))
    before = (tmp_path / "out/result/.complete").read_text()

    story = train_here(config(tmp_path, tiny_model, jobUid="new"))

    assert story.resumed_from is None
    assert (tmp_path / "out/result/.complete").read_text() != before


def test_at_the_last_step_nothing_more_is_trained(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = write_jsonl(tmp_path / "held-out.jsonl", numbered_rows(3))
    task = config(tmp_path, tiny_model, validation=data_file(held_out), learningRate=0.01)
    first = train_here(task)
    capsys.readouterr()

    second = train_here(task)

    assert not losses(capsys.readouterr().out)
    assert (second.step, second.resumed_from) == (3, 3)
    assert second.metrics == first.metrics


def test_a_resumed_run_keeps_what_was_decided(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train_here(config(tmp_path, tiny_model, packing="Never", microBatchSize=2))

    second = train_here(config(tmp_path, tiny_model, packing="Always", microBatchSize=4))

    assert second.resolved == first.resolved


def checkpoint(folder: Path, step: int, fingerprint: str = "ours") -> Checkpoints:
    """A small complete checkpoint."""
    store = Checkpoints(folder, fingerprint, keep=2)
    path = store.path(step)
    path.mkdir(parents=True)
    (path / "weights").write_text("w" * step)
    store.complete(step, {})
    return store


@pytest.mark.parametrize(
    ("spoil", "want_log"),
    [
        pytest.param(lambda path: (path / ".complete").unlink(), "torn", id="no manifest"),
        pytest.param(
            lambda path: (path / "weights").write_text("w"), "torn", id="a file that is too short"
        ),
        pytest.param(lambda path: (path / "weights").unlink(), "torn", id="a file missing"),
        pytest.param(
            lambda path: (path / ".complete").write_text("{"), "torn", id="a torn manifest"
        ),
        pytest.param(
            lambda path: (path / ".complete").write_text(
                (path / ".complete").read_text().replace("ours", "theirs")
            ),
            "another training",
            id="another training's",
        ),
    ],
)
def test_only_a_complete_checkpoint_of_this_training_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, want_log: str
) -> None:
    store = checkpoint(tmp_path, 5)
    checkpoint(tmp_path, 10)
    spoil(store.path(10))

    newest = store.newest()

    assert newest is not None
    assert newest.step == 5
    assert want_log in capsys.readouterr().out


def test_the_newest_complete_ones_are_kept(tmp_path: Path) -> None:
    for step in (5, 10):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-7").mkdir()

    store = checkpoint(tmp_path, 15)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-15"]
    newest = store.newest()
    assert newest is not None
    assert json.loads((newest.path / ".complete").read_text())["step"] == 15
