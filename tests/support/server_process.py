"""A server of ours as a process of its own, which says on its first line where it listens."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_EMULATORS = Path(__file__).parents[1] / "emulators"
_STOP_SECONDS = 5
_LISTENS = "listening on "


def end(process: subprocess.Popen[bytes], *, within: float) -> None:
    """Ask a process to end, and end it if it has not after so many seconds."""
    process.terminate()
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class ServerProcess:
    """`python -m program`, from the start of the block until its end."""

    def __init__(self, program: str, options: Sequence[str], log: Path) -> None:
        """Start it on any free port and return when it listens; what it says goes to `log`."""
        roots = [str(_EMULATORS), *filter(None, [os.environ.get("PYTHONPATH")])]
        with log.open("wb") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", program, "--port=0", *options],
                stdout=subprocess.PIPE,
                stderr=sink,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
            )
        assert self._process.stdout is not None
        self._said = self._process.stdout
        line = self._said.readline().decode()
        if not line.startswith(_LISTENS):
            self.stop()
            raise RuntimeError(f"{program} did not start: {log.read_text()}")
        self.url = line.removeprefix(_LISTENS).strip()

    def stop(self) -> None:
        """End the process."""
        end(self._process, within=_STOP_SECONDS)
        self._said.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
