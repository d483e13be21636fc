"""The work queue: each key once, one at a time, now or later, with back-off after errors.

It must not know kopf, the API server, or what is done for a key.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from finetune_operator.core.errors import Conflict, OperatorError, Transient

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

_FIRST_DELAY = 1.0
_LONGEST_DELAY = 300.0
_CONFLICT_DELAY = 0.1


def back_off(failures: int, *, first: float = _FIRST_DELAY, jitter: float = 0.0) -> float:
    """Seconds to wait after so many failures in a row; `jitter` in [0, 1) adds up to a half."""
    longest = min(first * 2.0 ** (min(failures, 32) - 1), _LONGEST_DELAY)
    return longest * (1 + jitter / 2)


class QueueClosed(Exception):
    """No more keys are given out: the worker ends."""


class WorkQueue(Generic[K]):
    """Keys that wait for a worker, and keys that wait for their time."""

    def __init__(self) -> None:
        self._ready: deque[K] = deque()
        self._ahead: deque[K] = deque()  # served before _ready
        self._waiting: set[K] = set()  # what is in either
        self._running: set[K] = set()
        self._again: set[K] = set()  # changed while it ran
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._available = asyncio.Semaphore(0)
        self._closed = False

    def __len__(self) -> int:
        """How many keys wait for a worker."""
        return len(self._waiting)

    def add(self, key: K, *, ahead: bool = False) -> None:
        """Have the key looked at as soon as a worker is free, once however often this is called.

        `ahead` lets it pass those that wait already, in the order in which such keys came.
        """
        self._cancel_timer(key)
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            (self._ahead if ahead else self._ready).append(key)
            self._available.release()

    def add_after(self, key: K, seconds: float) -> None:
        """Have the key looked at after so many seconds, or earlier if that was asked for."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= due:
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_at(due, self._ring, key)

    def _ring(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def take(self) -> K:
        """Wait for a key; nobody else gets it until `done`.

        Raises:
            QueueClosed: there will be no more.
        """
        await self._available.acquire()
        if self._closed:
            self._available.release()  # for the next worker that waits
            raise QueueClosed
        key = (self._ahead or self._ready).popleft()
        self._waiting.discard(key)
        self._running.add(key)
        return key

    def close(self) -> None:
        """Give out no more keys; those being worked on are not disturbed."""
        self._closed = True
        self._available.release()

    def done(self, key: K) -> None:
        """Give the key back; if it changed meanwhile, it is looked at again."""
        self._running.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def succeeded(self, key: K) -> None:
        """Start the back-off anew at the next failure."""
        self._failures.pop(key, None)

    def failed(
        self,
        key: K,
        *,
        at_least: float = 0.0,
        at_most: float | None = None,
        first: float = _FIRST_DELAY,
    ) -> float:
        """Look again later, and later still with each failure in a row; returns the seconds.

        `at_most`, where it lies ahead, wins over all else.
        """
        self._failures[key] = failures = self._failures.get(key, 0) + 1
        delay = max(at_least, back_off(failures, first=first, jitter=random.random()))
        if at_most is not None and at_most > 0:
            delay = min(delay, at_most)
        self.add_after(key, delay)
        return delay


async def work(
    queue: WorkQueue[K],
    reconcile: Callable[[K], Awaitable[float | None]],
    *,
    named: Callable[[K], AbstractContextManager[None]],
    finished: Callable[[str], None],
) -> None:
    """One worker: takes keys until the queue closes, and decides when each is looked at again.

    `named` makes log lines name the key; `finished` is told the result: success, conflict,
    transient, error or bug.
    """
    while True:
        try:
            key = await queue.take()
        except QueueClosed:
            return
        try:
            with named(key):
                finished(await _work_once(queue, reconcile, key))
        finally:
            queue.done(key)


async def _work_once(
    queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[float | None]], key: K
) -> str:
    try:
        again = await reconcile(key)
    except Conflict:
        queue.failed(key, first=_CONFLICT_DELAY)
        return "conflict"
    except Transient as e:
        delay = queue.failed(key, at_least=e.retry_after, at_most=e.turn)
        logger.warning("Reconcile failed for now: %s; next look in %.0f s", e, delay)
        return "transient"
    except OperatorError as e:
        delay = queue.failed(key, at_most=e.turn)
        logger.error("Reconcile failed: %s; next look in %.0f s", e, delay)
        return "error"
    except Exception:
        delay = queue.failed(key)
        logger.exception("Reconcile crashed; next look in %.0f s", delay)
        return "bug"
    queue.succeeded(key)
    if again is not None:
        queue.add_after(key, again)
    return "success"
