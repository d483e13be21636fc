"""Starts the hub server as a process of its own, over a folder of repositories."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_EMULATORS = Path(__file__).parents[1] / "emulators"
_STOP_SECONDS = 5


class Hub:
    """A real process on a free port of 127.0.0.1; `url` goes into HF_ENDPOINT."""

    def __init__(self, root: Path, options: Sequence[str] = ()) -> None:
        """Serve `root`, which holds models/ORG/NAME and datasets/ORG/NAME."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hub", f"--root={root}", "--port=0", *options],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(_EMULATORS)},
        )
        self.url = self._wait_until_ready()

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _wait_until_ready(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        if not line.startswith("listening on "):
            self.stop()
            raise RuntimeError("the hub server did not start; its standard error says why")
        return line.removeprefix("listening on ").strip()
