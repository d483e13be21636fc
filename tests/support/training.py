"""Runs the trainer on something tiny: in this process, or as the pod does, under the supervisor."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_api.pods import TrainerConfig
from support.chat_rows import numbered_rows, write_jsonl

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]


def config(folder: Path, base: Path, /, **changes: Any) -> Json:
    """A task on 12 rows, three steps an epoch; `changes` by their camelCase names."""
    data = write_jsonl(folder / "train.jsonl", numbered_rows(12))
    task = {
        "job": "team/sums",
        "created": "2026-03-09T10:00:00Z",
        "attempt": 1,
        "model": {"kind": "file", "path": str(base)},
        "modelDisplay": "org/tiny",
        "batchSize": 4,
        "epochs": 1,
        "training": data_file(data),
        "outputDir": str(folder / "out"),
    } | changes
    return {key: value for key, value in task.items() if value is not None}


def data_file(path: Path, **more: Any) -> Json:
    """A mounted file as the operator names it."""
    return {
        "source": {"kind": "file", "path": str(path)},
        "display": f"ConfigMap {path.name}",
    } | more


MACHINE = {"device": "cpu", "name": "2 CPU cores", "memory_bytes": 8 << 30, "fast_bf16": False}


def train_here(task: Json, **machine: Any) -> Any:
    """Run a task in this process, in float32 unless the machine is another; what it did."""
    from finetune_trainer import config as configs
    from finetune_trainer import data, settled
    from finetune_trainer.checkpoints import Checkpoints
    from finetune_trainer.hardware import Hardware
    from finetune_trainer.progress import Progress
    from finetune_trainer.recipes import sft
    from finetune_trainer.stop import Stop
    from finetune_trainer.story import Story
    from finetune_trainer.task import Task

    parsed = TrainerConfig.model_validate(task)
    output = Path(parsed.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    rows = data.load(parsed, output.parent / "scratch")
    fingerprint = configs.fingerprint(parsed, {name: file.sha256 for name, file in rows.items()})
    story = Story()
    checkpoints = Checkpoints(output / "checkpoints", fingerprint, parsed.checkpoint_keep)
    checkpoint = checkpoints.newest()
    before = checkpoint.resolved if checkpoint else settled.recall(output, fingerprint)
    sft.run(
        Task(
            config=parsed,
            base=data.base_model(parsed, output.parent / "scratch", before),
            training=rows["training"],
            validation=rows.get("validation"),
            hardware=Hardware(**(MACHINE | machine)),
            output=output,
            fingerprint=fingerprint,
            checkpoints=checkpoints,
            checkpoint=checkpoint,
            before=before,
            story=story,
            stop=Stop(lambda: None),
            progress=Progress({}),
        )
    )
    return story


def events(text: str, name: str) -> list[Json]:
    """The log lines of one kind."""
    lines = (json.loads(line) for line in text.splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == name]


def losses(text: str) -> dict[int, float]:
    """The loss of every step in a log."""
    return {line["step"]: line["loss"] for line in events(text, "step")}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a container leaves behind."""

    code: int
    report: Json
    log: str
    errors: str
    folder: Path


def run_pod(
    task: Json,
    folder: Path,
    *,
    when: Callable[[Json], bool] | None = None,
    send: signal.Signals = signal.SIGTERM,
    environment: dict[str, str] | None = None,
) -> Ended:
    """Run a task under the supervisor; at the first log line that is `when`, signal it.

    SIGKILL goes to the whole container, other signals to PID 1, as the kubelet sends them.
    """
    file = folder / "config.json"
    file.write_text(json.dumps(task))
    words = folder / "termination-log"
    words.unlink(missing_ok=True)
    with subprocess.Popen(
        [sys.executable, "-m", "finetune_trainer.supervisor", str(file)],
        env=pod_environment() | {"TERMINATION_LOG": str(words)} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        log = "".join(_until_end(process, when, send))
        _, errors = process.communicate()
    report = json.loads(words.read_text()) if words.exists() else {}
    return Ended(code=process.returncode, report=report, log=log, errors=errors, folder=folder)


def pod_environment() -> dict[str, str]:
    """The environment of the container: the source roots, and no surprises from this shell."""
    paths = os.pathsep.join(str(ROOT / name) for name in ("operator", "trainer"))
    return os.environ | {"PYTHONPATH": paths}


def _until_end(
    process: subprocess.Popen[str], when: Callable[[Json], bool] | None, send: signal.Signals
) -> Iterator[str]:
    waiting = when
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        if waiting and line.startswith("{") and waiting(json.loads(line)):
            waiting = None
            if send == signal.SIGKILL:
                os.killpg(process.pid, send)
            else:
                process.send_signal(send)
