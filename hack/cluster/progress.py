"""Tells the user what runs, how far it is and how long it took.

Stages may run side by side. It writes whole lines, never control characters, so that a
log of continuous integration reads like the terminal.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_LINE_EVERY_S = 5.0


@dataclass(kw_only=True)
class Stage:
    """One running stage; `note` is shown behind its name."""

    name: str
    started: float = field(default_factory=time.monotonic)
    note: str = ""

    @property
    def seconds(self) -> float:
        """How long the stage has been running."""
        return time.monotonic() - self.started


class Progress:
    """Prints a line when a stage ends and, in between, one every few seconds."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._running: list[Stage] = []
        self._ended = threading.Event()
        self._reporter = threading.Thread(target=self._report, daemon=True)

    def __enter__(self) -> Self:
        self._reporter.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._reporter.join()

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Announce that `name` runs until the block ends."""
        stage = Stage(name=name)
        self._running.append(stage)
        try:
            yield stage
        finally:
            self._running.remove(stage)
        self.say(f"{name}: done in {stage.seconds:.1f} s")

    def say(self, text: str) -> None:
        """Print one line with the time since the start in front."""
        elapsed = time.monotonic() - self._started
        print(f"[{elapsed:6.1f} s] {text}", file=sys.stderr, flush=True)

    def _report(self) -> None:
        while not self._ended.wait(_LINE_EVERY_S):
            running = [
                f"{stage.name} ({stage.note + ', ' if stage.note else ''}{stage.seconds:.0f} s)"
                for stage in list(self._running)
            ]
            if running:
                self.say("… " + " · ".join(running))
