"""SIGTERM: leave at once, except while training, where the step is finished and saved first.

Standard library only. Must not know what is saved or how.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stop:
    """Whether the pod was asked to stop.

    Attributes:
        requested: SIGTERM came.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        """`leave` ends the process with its last words; everything on disk stays complete."""
        self.requested = False
        self._leave = leave
        self._deferred = False

    def install(self) -> None:
        """Take SIGTERM, and release one that the supervisor held back."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Until the end of the block, only note the request; then leave if there was one."""
        self._deferred = True
        yield
        self._deferred = False
        if self.requested:
            self._leave()

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.requested = True
        if not self._deferred:
            self._leave()
