"""Starts programs, remembers their pids and ends exactly those.

A pid is kept together with the time its process began: after a reboot the same number
may belong to somebody else's process, which must not be ended.
"""

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.settings import ClusterError

_POLL_S = 0.05
_LAST_LINES = 3


@dataclass(frozen=True, kw_only=True)
class _Started:
    """What is kept about a process: enough to know it again."""

    pid: int
    start_time: int | None
    digest: str

    @property
    def running(self) -> bool:
        return self.start_time is not None and _start_time(self.pid) == self.start_time


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program to start.

    Attributes:
        name: unique in its cluster; names the log and the pid file.
        argv: the command line, its first item an absolute path or a name on the PATH.
        depends_on: files that the program reads once, at its start.
    """

    name: str
    argv: tuple[str, ...]
    depends_on: tuple[Path, ...] = ()

    def digest(self) -> str:
        """Changes whenever a running process of this program is out of date."""
        digest = hashlib.sha256("\0".join(self.argv).encode())
        for path in self.depends_on:
            digest.update(path.read_bytes())
        return digest.hexdigest()


class Processes:
    """The processes of one run folder."""

    def __init__(self, folder: Path, *, detached: bool) -> None:
        """Manage the processes of `folder`.

        Args:
            folder: where logs and pids are kept.
            detached: whether they go on when this process ends. If not, the kernel
                kills them, whatever way this process ends.
        """
        self._logs = folder / "logs"
        self._pids = folder / "pids"
        self._detached = detached
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def ensure(self, program: Program) -> bool:
        """Start `program` unless it runs just so; tell whether it was started."""
        started = self._started(program.name)
        if started and started.running and started.digest == program.digest():
            return False
        self.stop([program.name])
        self._start(program)
        return True

    def alive(self, name: str) -> bool:
        """Whether the process started under `name` still runs."""
        return self.pid(name) is not None

    def pid(self, name: str) -> int | None:
        """The pid of the process started under `name`, if it still runs."""
        started = self._started(name)
        return started.pid if started and started.running else None

    def names(self) -> list[str]:
        """Every name that was started and not stopped, running or not."""
        return sorted(path.stem for path in self._pids.glob("*.json"))

    def stop(self, names: Iterable[str], *, grace_s: float = 10.0) -> None:
        """End the named processes together, by force when `grace_s` has passed."""
        pids = {name: pid for name in names if (pid := self.pid(name))}
        for pid in pids.values():
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while (running := [n for n in pids if self.alive(n)]) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        for name in running:
            os.kill(pids[name], signal.SIGKILL)
        for name in names:
            if child := self._children.pop(name, None):
                child.wait()
            self._record(name).unlink(missing_ok=True)

    def wait(self, name: str, ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait until `ready`, by this process and no other that answers in its place.

        Raises:
            ClusterError: when the process `name` ends or the time is over; quotes its log.
        """
        deadline = time.monotonic() + timeout_s
        while not (ready() and self.alive(name)):
            ended = not self.alive(name)
            if ended or time.monotonic() > deadline:
                happened = "ended" if ended else f"was not ready after {timeout_s:.0f} s"
                raise ClusterError(f"{name} {happened}; {self._last_words(name)}")
            time.sleep(_POLL_S)

    def _start(self, program: Program) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._pids.mkdir(parents=True, exist_ok=True)
        argv = program.argv
        if not self._detached:
            argv = ("setpriv", "--pdeathsig", "SIGKILL", *argv)
        with self._log(program.name).open("ab") as log:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=self._detached,
                cwd="/",
            )
        self._children[program.name] = child
        started = _Started(
            pid=child.pid, start_time=_start_time(child.pid), digest=program.digest()
        )
        self._record(program.name).write_text(json.dumps(asdict(started)))

    def _started(self, name: str) -> _Started | None:
        record = self._record(name)
        return _Started(**json.loads(record.read_text())) if record.exists() else None

    def _record(self, name: str) -> Path:
        return self._pids / f"{name}.json"

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _last_words(self, name: str) -> str:
        log = self._log(name)
        lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return f"the end of {log} says: " + " | ".join(lines)


def _start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of process `pid`; None if it ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may hold spaces; the state follows it.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(rest[18])
