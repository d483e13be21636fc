"""Who asked for what, when: the request log and its counts.

Must not know what the requests mean. Times are real seconds, because requests per minute are
the client's minutes. Bodies and headers are never kept.
"""

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

_KEPT = 5000


@dataclass(frozen=True, kw_only=True)
class Request:
    """One line of the log."""

    at: float
    method: str
    path: str
    status: int


class TrafficLog:
    """Counts for ever, lines for the last few thousand requests."""

    def __init__(self) -> None:
        """Start counting now."""
        self._since = time.time()
        self._counts: Counter[str] = Counter()
        self._lines: deque[Request] = deque(maxlen=_KEPT)

    def note(self, request: web.Request, status: int) -> None:
        """Count a request under its route, so that ids do not make a count each."""
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        self._counts[f"{request.method} {route}"] += 1
        self._lines.append(
            Request(at=time.time(), method=request.method, path=request.path_qs, status=status)
        )

    def report(self) -> dict[str, Any]:
        """Everything since the start, as JSON."""
        return {
            "since": self._since,
            "seconds": time.time() - self._since,
            "total": self._counts.total(),
            "counts": dict(self._counts),
            "log": [asdict(line) for line in self._lines],
        }
