"""Keeps two runs of these tools from doing the same work at the same time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.settings import cache_folder


@contextmanager
def only_one(name: str) -> Iterator[None]:
    """Wait until no other process of this user is inside a block of this name."""
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
