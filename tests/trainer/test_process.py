import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer import ownership, process
from finetune_trainer.stop import Stop
from finetune_trainer.story import Story
from support.chat_rows import numbered_rows, write_jsonl
from support.training import config, data_file, pod_environment

pytestmark = pytest.mark.torch

RUN = (
    "import json, pathlib, sys\n"
    "from finetune_trainer import process, stop, story\n"
    "report = process.run(pathlib.Path(sys.argv[1]), story.Story(), stop.Stop(lambda: None))\n"
    "print(json.dumps([report.code, report.reason, report.message, 'torch' in sys.modules]))\n"
)


def run(task: dict[str, Any], folder: Path) -> Any:
    """Code, reason, message, and whether torch was imported for it."""
    (folder / "config.json").write_text(json.dumps(task))
    ended = subprocess.run(
        [sys.executable, "-c", RUN, str(folder / "config.json")],
        env=pod_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("changes", "want_code", "want_reason", "want_message"),
    [
        pytest.param(
            {"epochs": 1, "maxSteps": 5}, 78, "ConfigInvalid", "remove one", id="both durations"
        ),
        pytest.param(
            {"batchSize": 0},
            78,
            "ConfigInvalid",
            "give at least 1 in a new FineTuneJob",
            id="a batch of nothing",
        ),
        pytest.param({"model": None}, 78, "ConfigInvalid", "model", id="a missing field"),
        pytest.param(
            {"outputDir": "/proc/out"}, 78, "ConfigInvalid", "output volume", id="no output folder"
        ),
        pytest.param(
            {"model": {"kind": "file", "path": "/nowhere/model"}},
            78,
            "ModelUnavailable",
            "org/tiny: the path does not exist",
            id="a model that is not there",
        ),
    ],
)
def test_a_bad_config_is_told_before_torch_is_imported(
    tmp_path: Path, changes: dict[str, Any], want_code: int, want_reason: str, want_message: str
) -> None:
    task = config(tmp_path, tmp_path / "model", **changes)

    code, reason, message, heavy = run(task, tmp_path)

    assert (code, reason, heavy) == (want_code, want_reason, False)
    assert want_message in message


def test_changed_data_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "train.jsonl", numbered_rows(3))
    task = config(tmp_path, tmp_path / "model", training=data_file(data, sha256="0" * 64))

    code, reason, message, heavy = run(task, tmp_path)

    assert (code, reason, heavy) == (65, "DataChanged", False)
    assert message.startswith("ConfigMap train.jsonl has changed since it was checked")


def test_a_bad_row_is_named_by_its_line(tmp_path: Path) -> None:
    rows: list[Any] = [*numbered_rows(36), '{"messages": "secret"}']
    task = config(tmp_path, tmp_path / "model")
    write_jsonl(tmp_path / "train.jsonl", rows)

    code, reason, message, heavy = run(task, tmp_path)

    assert (code, reason, heavy) == (65, "DataInvalid", False)
    assert "line 37" in message
    assert "secret" not in message


class FullStreamError(Exception):
    """As torch.save's: the cause is only in its words."""


def no_space(_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_space_wrapped(_: object) -> None:
    raise FullStreamError("I/O error: No space left on device (os error 28)")


def out_of_gpu_memory(_: object) -> None:
    raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")


def surprise(_: object) -> None:
    raise KeyError("a row's content")


@pytest.mark.parametrize(
    ("failure", "want_code", "want_reason", "want_message"),
    [
        pytest.param(no_space, 73, "DiskFull", "output volume is full", id="disk full"),
        pytest.param(no_space_wrapped, 73, "DiskFull", "output volume", id="disk full, wrapped"),
        pytest.param(
            out_of_gpu_memory, 72, "GpuOutOfMemory", "lower microBatchSize",
            id="GPU memory",
        ),
        pytest.param(
            surprise, 70, "TrainingFailed", "unexpected KeyError", id="a bug: its type, no content"
        ),
    ],
)  # fmt: skip
def test_failures_become_exit_codes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Any,
    want_code: int,
    want_reason: str,
    want_message: str,
) -> None:
    from finetune_trainer.recipes import sft

    monkeypatch.setattr(sft, "run", failure)
    (tmp_path / "model").mkdir()
    (tmp_path / "out").mkdir()
    ownership.take(tmp_path / "out", "team/sums", "")
    (tmp_path / "out" / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config(tmp_path, tmp_path / "model")))

    report = process.run(file, Story(), Stop(lambda: None))

    assert (report.code, report.reason) == (want_code, want_reason)
    assert want_message in report.message
    assert "content" not in report.message
    torn = (tmp_path / "out" / "checkpoints" / "checkpoint-3").exists()
    assert torn == (want_code != 73)


def test_an_unreadable_config_is_told(tmp_path: Path) -> None:
    report = process.run(tmp_path / "missing.json", Story(), Stop(lambda: None))

    assert (report.code, report.reason) == (78, "ConfigInvalid")
    assert "No such file" in report.message
