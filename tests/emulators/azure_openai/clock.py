"""The service's own time, which can run faster than ours, stand still, or be moved forward.

Must not know what is timed by it. Everything that a real client measures with its own clock
(token life, delays, list lag) stays in real seconds and does not belong here.
"""

import time
from collections.abc import Callable


class ServiceClock:
    """Unix time as the emulated service sees it."""

    def __init__(
        self,
        speed: float,
        *,
        wall: Callable[[], float] = time.time,
        tick: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start at the wall's time and run `speed` service seconds per real second."""
        self._tick = tick
        self._anchor_service = wall()
        self._anchor_tick = tick()
        self._speed = speed

    @property
    def speed(self) -> float:
        """Service seconds per real second."""
        return self._speed

    def now(self) -> float:
        """Service time, in Unix seconds."""
        return self._anchor_service + (self._tick() - self._anchor_tick) * self._speed

    def run_at(self, speed: float) -> None:
        """Change the speed from now on; what has passed stays passed."""
        self._anchor_service, self._anchor_tick = self.now(), self._tick()
        self._speed = speed

    def advance(self, seconds: float) -> None:
        """Let `seconds` of service time pass at once."""
        self._anchor_service += seconds
