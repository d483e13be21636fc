import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from finetune_api.pods import ProgressUpdate
from finetune_trainer.checkpoints import Checkpoints
from finetune_trainer.errors import TrainerError
from support.chat_rows import numbered_rows, write_jsonl
from support.progress_receiver import environment, receiver
from support.tiny_model import make_model
from support.training import Ended, config, data_file, events, losses, run_pod, train_here

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


STEPS = 18
DROPOUT = {"dropout": 0.25}


def long_task(folder: Path, model: Path, **changes: Any) -> dict[str, Any]:
    """18 steps in 6 epochs, a checkpoint after each: time enough to be interrupted."""
    return config(folder, model, epochs=6, checkpointEverySeconds=0, learningRate=0.01, **changes)


def at_step(step: int) -> Any:
    return lambda line: line["event"] == "step" and line["step"] >= step


def run_through(folder: Path, model: Path, **changes: Any) -> Ended:
    """The same without an interruption, and with one checkpoint, at its end."""
    task = long_task(folder, model, **changes) | {"checkpointEverySeconds": 300}
    return run_pod(task, folder)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Ended:
    return run_through(tmp_path_factory.mktemp("uninterrupted"), tiny_model)


@pytest.fixture(scope="module")
def with_dropout(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Ended:
    return run_through(tmp_path_factory.mktemp("dropout"), tiny_model, lora=DROPOUT)


@pytest.mark.parametrize(
    ("send", "want_code", "through", "changes"),
    [
        pytest.param(
            signal.SIGTERM, 75, "uninterrupted", {}, id="SIGTERM: saved at the end of the step"
        ),
        pytest.param(
            signal.SIGKILL, -9, "uninterrupted", {}, id="SIGKILL: from the newest checkpoint"
        ),
        pytest.param(
            signal.SIGTERM, 75, "with_dropout", {"lora": DROPOUT},
            id="dropout: the same units are dropped",
        ),
    ],
)  # fmt: skip
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    tmp_path: Path,
    tiny_model: Path,
    request: pytest.FixtureRequest,
    send: signal.Signals,
    want_code: int,
    through: str,
    changes: dict[str, Any],
) -> None:
    whole: Ended = request.getfixturevalue(through)
    task = long_task(tmp_path, tiny_model, **changes)
    first = run_pod(task, tmp_path, when=at_step(7), send=send)
    assert first.code == want_code
    if send == signal.SIGTERM:
        assert first.report["reason"] == "Preempted"
        assert first.report["checkpoint"]["step"] == first.report["step"]

    second = run_pod(task, tmp_path)

    assert second.code == 0, second.errors
    resumed = second.report["resumedFrom"]
    assert 6 <= resumed < STEPS
    want = losses(whole.log)
    assert losses(second.log) == {step: want[step] for step in range(resumed + 1, STEPS + 1)}
    assert second.report["metrics"] == whole.report["metrics"]


def with_validation(folder: Path, model: Path) -> dict[str, Any]:
    held_out = write_jsonl(folder / "held-out.jsonl", numbered_rows(3))
    return config(folder, model, validation=data_file(held_out), learningRate=0.01)


@pytest.mark.parametrize(
    ("event", "step", "want"),
    [
        pytest.param("plan", None, "before the first step.", id="while the model is loaded"),
        pytest.param("scoring", 0, "before the first step.", id="while the base is scored"),
        pytest.param("scoring", 3, "at step 3; step 3 is saved.", id="while the result is scored"),
    ],
)
def test_sigterm_outside_training_is_a_pre_emption_too(
    tmp_path: Path, tiny_model: Path, event: str, step: int | None, want: str
) -> None:
    task = with_validation(tmp_path, tiny_model)

    ended = run_pod(
        task,
        tmp_path,
        when=lambda line: line["event"] == event and line.get("step") == step,
    )

    assert (ended.code, ended.report["message"]) == (75, f"Stopped on request {want}")


@pytest.mark.parametrize(
    "length",
    [
        pytest.param({}, id="a length in epochs"),
        pytest.param({"epochs": None, "maxSteps": STEPS}, id="a length in steps"),
    ],
)
def test_progress_is_told_from_the_start(
    tmp_path: Path, tiny_model: Path, length: dict[str, Any]
) -> None:
    """Before anything is loaded, and after a restart from where the checkpoint is."""
    task = long_task(tmp_path, tiny_model) | length
    with receiver() as server:
        told = environment(server, tmp_path)
        ended = run_pod(task, tmp_path, when=at_step(2), environment=told)
        before, server.updates = server.updates, []
        run_pod(task, tmp_path, environment=told)
        after = server.updates
    saved = ended.report["checkpoint"]["step"]

    assert before[0].trainer_status.progress_percentage == 0
    assert figures(before[0]) == {}
    # The pause is told with the checkpoint that it left.
    assert figures(before[-1])["checkpointStep"] == str(saved)
    assert figures(after[0]) == {"step": str(saved), "totalSteps": str(STEPS)}
    percents = [update.trainer_status.progress_percentage or 0 for update in after]
    assert percents[0] == saved * 100 // STEPS
    assert percents == sorted(percents)
    assert percents[-1] == 100


def figures(update: ProgressUpdate) -> dict[str, str]:
    return {metric.name: metric.value for metric in update.trainer_status.metrics}


def test_a_finished_training_is_not_repeated(uninterrupted: Ended) -> None:
    folder = uninterrupted.folder
    task = json.loads((folder / "config.json").read_text())

    second = run_pod(task | {"attempt": 2}, folder)

    assert second.code == 0
    assert second.report == uninterrupted.report
    assert events(second.log, "finished-before")
    assert not events(second.log, "step")


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


def test_other_weights_than_at_the_start_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    base = shutil.copytree(tiny_model, tmp_path / "base")
    task = config(tmp_path, base)
    train_here(task)
    make_model(base, seed=1)

    with pytest.raises(TrainerError, match="org/tiny holds other weights"):
        train_here(task)


def test_what_was_decided_outlives_a_pod_without_a_checkpoint(
    tmp_path: Path, tiny_model: Path
) -> None:
    first = train_here(config(tmp_path, tiny_model, packing="Never", microBatchSize=2))
    shutil.rmtree(tmp_path / "out" / "checkpoints")

    second = train_here(config(tmp_path, tiny_model, packing="Always", microBatchSize=4))
    other = train_here(config(tmp_path, tiny_model, jobUid="another", microBatchSize=4))

    assert second.resumed_from is None
    assert second.resolved == first.resolved
    assert other.resolved["microBatchSize"].value == "4"


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
