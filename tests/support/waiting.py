"""Waiting with a deadline. Knows nothing of what is waited for."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

IN_TIME = 120.0
"""For what has no deadline of its own: long enough for a machine with other work."""

_SHORTEST_S, _LONGEST_S = 0.05, 0.5
_OF_WHAT_PASSED = 0.05


class TooLate(AssertionError):
    """What was waited for did not happen in time."""


def wait_for(
    look: Callable[[], T | None],
    what: str,
    *,
    within: float = IN_TIME,
    told: Callable[[], object] = str,
) -> T:
    """What `look` returns as soon as it is neither None nor False; TooLate, with `told()`.

    Pauses grow with the wait: what takes minutes is not looked at twenty times a second.
    """
    began = time.monotonic()
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        passed = time.monotonic() - began
        if passed > within:
            raise TooLate(f"not within {within:g} s: {what}\n{told()}")
        time.sleep(min(max(passed * _OF_WHAT_PASSED, _SHORTEST_S), _LONGEST_S))
