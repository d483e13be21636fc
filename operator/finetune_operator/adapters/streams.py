"""How long ago each watch of an HTTP session brought anything, bookmarks included.

For watches that someone else reads (kopf's): bookmarks never reach its handlers. It must not know
what is watched.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp


@dataclass
class _Stream:
    content: aiohttp.StreamReader
    bytes_seen: int
    changed_at: float


class WatchMonitor:
    """A middleware of an aiohttp session that remembers its open watches."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._streams: dict[str, _Stream] = {}
        self._since = clock()

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send the request; if it is a watch, remember its stream by the path."""
        response = await handler(request)
        if "watch" in request.url.query:
            # Opening a stream proves nothing: a reconnect must not look like news.
            known = self._streams.get(request.url.path)
            since = known.changed_at if known else self._clock()
            self._streams[request.url.path] = _Stream(response.content, 0, since)
        return response

    @property
    def opened(self) -> int:
        """How many different watches were ever opened."""
        return len(self._streams)

    def age(self) -> float:
        """Seconds since the stream that is silent for longest brought anything.

        Without any stream: since this monitor was made.
        """
        if not self._streams:
            return self._clock() - self._since
        return max(self._age(stream) for stream in self._streams.values())

    def _age(self, stream: _Stream) -> float:
        if stream.content.total_bytes != stream.bytes_seen:
            stream.bytes_seen = stream.content.total_bytes
            stream.changed_at = self._clock()
        return self._clock() - stream.changed_at
