"""Locks between test processes: training runs stay few, and who disturbs the site has it alone."""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from support.waiting import wait_for

_SLOTS = 2
_A_SLOT_WITHIN_S = 900.0


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield


@contextmanager
def undisturbed(folder: Path) -> Iterator[None]:
    """Nobody restarts the operator meanwhile."""
    with ExitStack() as stack:
        with _locked(folder / "gate", fcntl.LOCK_EX):  # who disturbs waits here, and is next
            stack.enter_context(_locked(folder / "site", fcntl.LOCK_SH))
        yield


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else uses the site meanwhile."""
    with _locked(folder / "gate", fcntl.LOCK_EX), _locked(folder / "site", fcntl.LOCK_EX):
        yield


@contextmanager
def slot(folder: Path) -> Iterator[None]:
    """One of the slots for training runs: as many as two cores bear."""
    with ExitStack() as stack:
        wait_for(
            lambda: any(_taken(stack, folder / f"slot-{n}") for n in range(_SLOTS)),
            "a slot for a training run",
            within=_A_SLOT_WITHIN_S,
        )
        yield


def _taken(stack: ExitStack, path: Path) -> bool:
    with suppress(BlockingIOError):
        stack.enter_context(_locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB))
        return True
    return False
