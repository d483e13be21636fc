import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer import supervisor
from support.training import pod_environment

START = "import sys; from finetune_trainer.supervisor import supervise; "
SUPERVISE = START + "sys.exit(supervise([sys.executable, '-c', sys.argv[1]]))"
SUBREAPER = "import ctypes; ctypes.CDLL(None).prctl(36, 1); " + SUPERVISE
RELEASE = "import os, signal, time; signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM}); "
REPORT = (
    "import json, os, sys; "
    "open(os.environ['FINETUNE_REPORT_FILE'], 'w').write(json.dumps({report!r})); "
    "sys.exit({code})"
)


def start(child: str, folder: Path, program: str = SUPERVISE) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, child],
        env=pod_environment() | {"TERMINATION_LOG": str(folder / "words"), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )


def run(child: str, folder: Path, program: str = SUPERVISE) -> int:
    with start(child, folder, program) as process:
        return process.wait(20)


def words_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "words").read_text()))


@pytest.mark.parametrize(
    ("child", "want_code", "want_reason", "want_words"),
    [
        pytest.param(
            REPORT.format(report={"code": 0, "reason": "Succeeded", "message": "Done."}, code=0),
            0,
            "Succeeded",
            "Done.",
            id="succeeded: its own report",
        ),
        pytest.param(
            REPORT.format(report={"code": 65, "reason": "DataInvalid", "message": "Bad."}, code=65),
            65,
            "DataInvalid",
            "Bad.",
            id="failed with a report: code and report are kept",
        ),
        pytest.param(
            "raise SystemExit(1)",
            70,
            "TrainingFailed",
            "code 1 and no report",
            id="crashed without a report: internal",
        ),
        pytest.param(
            "import os; os.kill(os.getpid(), 9)",
            137,
            "OutOfMemory",
            "raise spec.kubernetes.resources.limits.memory",
            id="killed: out of memory, and what to raise",
        ),
        pytest.param(
            "import os; os.kill(os.getpid(), 11)",
            139,
            "TrainingFailed",
            "SIGSEGV",
            id="segmentation fault: the signal by name",
        ),
    ],
)
def test_every_end_leaves_last_words(
    tmp_path: Path, child: str, want_code: int, want_reason: str, want_words: str
) -> None:
    assert run(child, tmp_path) == want_code

    assert words_of(tmp_path)["code"] == want_code
    assert words_of(tmp_path)["reason"] == want_reason
    assert want_words in words_of(tmp_path)["message"]


@pytest.mark.parametrize(
    ("child", "want_code", "want_reason"),
    [
        pytest.param(
            "import os, signal, time; signal.signal(15, lambda *_: os._exit(75)); "
            "signal.pthread_sigmask(signal.SIG_UNBLOCK, {15}); print('up', flush=True); "
            "time.sleep(60)",
            75,
            "Preempted",
            id="a child that answers: its own code",
        ),
        pytest.param(
            RELEASE + "print('up', flush=True); time.sleep(60)",
            75,
            "Preempted",
            id="a child that dies of it: preempted",
        ),
    ],
)
def test_sigterm_reaches_the_child(
    tmp_path: Path, child: str, want_code: int, want_reason: str
) -> None:
    with start(child, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"

        process.send_signal(signal.SIGTERM)

        assert process.wait(20) == want_code
    assert words_of(tmp_path)["reason"] == want_reason


def test_orphans_do_not_stay_as_zombies(tmp_path: Path) -> None:
    child = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    orphan = os.fork()\n"
        "    os._exit(0) if orphan else time.sleep(0.2)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "children = f'/proc/{os.getppid()}/task/{os.getppid()}/children'\n"
        "deadline = time.monotonic() + 10\n"
        "adopted = False\n"
        "while time.monotonic() < deadline:\n"
        "    count = len(open(children).read().split())\n"
        "    adopted = adopted or count == 2\n"
        "    if adopted and count == 1:\n"
        "        os._exit(75)\n"
        "    time.sleep(0.01)\n"
        "os._exit(1)\n"
    )
    run(child, tmp_path, SUBREAPER)

    assert "code 75" in words_of(tmp_path)["message"]


def test_a_long_report_is_shortened_and_stays_json() -> None:
    resolved = {f"setting{i}": {"value": "x", "reason": "y" * 90} for i in range(40)}
    words = {"code": 65, "reason": "DataInvalid", "message": "z" * 900, "resolved": resolved}

    text = supervisor.shortened(words)

    assert len(text) <= 4096
    assert json.loads(text) == {key: words[key] for key in ("code", "reason", "message")}


def test_a_message_of_many_bytes_is_cut() -> None:
    text = supervisor.shortened({"code": 65, "reason": "DataInvalid", "message": "\u9b5a" * 1500})

    assert len(text) <= 4096
    assert json.loads(text)["message"] == "\u9b5a" * 500


def test_the_supervisor_imports_nothing_heavy() -> None:
    program = "import sys, finetune_trainer.supervisor; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", program],
        env=pod_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert not {"pydantic", "torch", "subprocess", "asyncio"} & set(modules)


def test_a_missing_termination_log_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERMINATION_LOG", str(tmp_path / "missing" / "words"))

    supervisor.leave({"code": 0, "reason": "Succeeded", "message": "Done."})

    assert not os.listdir(tmp_path)
