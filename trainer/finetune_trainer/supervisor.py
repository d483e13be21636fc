"""PID 1 of the training container: starts the trainer, forwards SIGTERM, leaves the last words.

Standard library only, so that it is up in milliseconds. Must not know what training is.

    python -m finetune_trainer.supervisor [CONFIG]
"""

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from finetune_api.constants import CONFIG_FILE, TERMINATION_LIMIT_BYTES, TERMINATION_LOG
from finetune_api.reasons import ExitCode, Reason
from finetune_trainer import cgroup

REPORT_FILE_VARIABLE = "FINETUNE_REPORT_FILE"
"""Tells the trainer where to leave its report."""

Words = dict[str, Any]
"""A TrainerReport as JSON; pydantic would cost more than all of the supervisor."""


class Supervisor:
    """One child and the signals meant for it."""

    def __init__(self) -> None:
        self.stop_requested = False
        self._child: int | None = None

    def install(self) -> None:
        """Take SIGTERM, which PID 1 would not notice otherwise; held back until `run`."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        signal.signal(signal.SIGTERM, self._forward)

    def run(self, command: list[str], environment: dict[str, str]) -> int:
        """Run the child to its end and return its exit code, negative for a signal.

        The child starts with SIGTERM held back, and releases it once it can answer.
        """
        self._child = os.posix_spawn(command[0], command, environment)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return self._wait(self._child)

    def _forward(self, number: int, _frame: object) -> None:
        self.stop_requested = True
        if self._child is not None:
            with suppress(ProcessLookupError):  # it ended this very moment
                os.kill(self._child, number)

    def _wait(self, child: int) -> int:
        while True:
            # Any child: orphans end up with PID 1, and would stay as zombies.
            pid, status = os.waitpid(-1, 0)
            if pid == child:
                self._child = None
                return os.waitstatus_to_exitcode(status)


def last_words(status: int, report: Words | None, *, stop_requested: bool) -> Words:
    """The report of a child that ended with `status`: its own, or one from here."""
    if report is not None and report.get("code") == status:
        return report
    if status == -signal.SIGKILL:
        return _words(ExitCode.KILLED, Reason.OUT_OF_MEMORY, _memory_sentence(), report)
    if stop_requested and status in (-signal.SIGTERM, ExitCode.PREEMPTED):
        return _words(ExitCode.PREEMPTED, Reason.PREEMPTED, "Stopped on request.", report)
    if status < 0:
        name = signal.Signals(-status).name
        message = f"The training process died of {name}; its log says more."
        return _words(128 - status, Reason.TRAINING_FAILED, message, report)
    message = f"The training process ended with code {status} and no report; its log says more."
    return _words(ExitCode.INTERNAL, Reason.TRAINING_FAILED, message, report)


def _words(code: int, reason: Reason, message: str, report: Words | None) -> Words:
    return {**(report or {}), "code": int(code), "reason": reason.value, "message": message}


def _memory_sentence() -> str:
    limit = cgroup.memory_limit()
    size = f" of {limit >> 20} MiB" if limit else ""
    return (
        f"The training process was killed, most likely at the container's memory limit{size}: "
        "raise spec.kubernetes.resources.limits.memory, then ask for a retry."
    )


def shortened(words: Words) -> bytes:
    """The words as JSON that the kubelet keeps whole; what people miss least goes first."""
    for drop in ((), ("resolved",), ("resolved", "data", "metrics")):
        text = _encoded({key: value for key, value in words.items() if key not in drop})
        if len(text) <= TERMINATION_LIMIT_BYTES:
            return text
    core = {"code": words["code"], "reason": words["reason"], "message": words["message"][:500]}
    return _encoded(core)


def _encoded(words: Words) -> bytes:
    return json.dumps(words, separators=(",", ":"), ensure_ascii=False).encode()


def read_report(path: Path) -> Words | None:
    """What the child left; None if it left nothing whole."""
    try:
        report = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None


def main(arguments: list[str]) -> int:
    """Run the trainer and return the exit code of the container."""
    config = arguments[0] if arguments else CONFIG_FILE
    return supervise([sys.executable, "-m", "finetune_trainer", config])


def supervise(command: list[str]) -> int:
    """Run a command to its end, leave its last words and return its exit code."""
    supervisor = Supervisor()
    supervisor.install()
    report_file = Path(os.environ.get("TMPDIR", "/tmp")) / f"finetune-report-{os.getpid()}.json"
    report_file.unlink(missing_ok=True)
    status = supervisor.run(command, {**os.environ, REPORT_FILE_VARIABLE: str(report_file)})
    report = read_report(report_file)
    report_file.unlink(missing_ok=True)
    words = last_words(status, report, stop_requested=supervisor.stop_requested)
    leave(words)
    return int(words["code"])


def leave(words: Words) -> None:
    """Write the termination message; its loss must not change the exit code."""
    text = shortened(words)
    try:
        Path(os.environ.get("TERMINATION_LOG", TERMINATION_LOG)).write_bytes(text)
    except OSError as error:
        print(f"The termination message could not be written: {error}", file=sys.stderr)
    print(json.dumps({"event": "exit", "code": words["code"], "message": words["message"]}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
