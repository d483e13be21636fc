"""Runs this project's programs as processes of their own, forked from one that has imported them.

What runs is the `main` that `python -m` runs, in its main thread, with its own
environment, output and exit code; only the two seconds of imports are spared, which count when it
is started a hundred times. Must not know what the programs do.
"""

import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

PROGRAMS = ("finetune_operator.__main__", "finetune_operator.prepare.__main__")
_PRELOADED = [*PROGRAMS, "finetune_operator.prepare.upload"]
_PR_SET_PDEATHSIG = 1


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


_CONTEXT = _context()
_LOCK = threading.Lock()
"""An exit code can be read once: two threads that ask at the same time would lose it."""


class Forked:
    """One process; it ends with the tests, however they end."""

    def __init__(
        self, program: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        """Start `program`, one of PROGRAMS; what it prints is appended to `log`."""
        self._process: ForkServerProcess = _CONTEXT.Process(
            target=_be, args=(program, list(arguments), dict(environment), str(log))
        )
        with _LOCK:
            self._process.start()
        self._pid = self._process.pid or 0
        self._exit_code: int | None = None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number if one ended it."""
        if self._exit_code is None:
            with _LOCK:
                self._exit_code = self._process.exitcode
        return self._exit_code

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.exit_code is None:
            os.kill(self._pid, number)


def _be(program: str, arguments: list[str], environment: dict[str, str], log: str) -> None:
    """In the new process."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with open(log, "ab", buffering=0) as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    sys.exit(importlib.import_module(program).main())
