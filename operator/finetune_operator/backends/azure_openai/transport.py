"""Holds a request's body back until the last moment at which it may still be sent.

Knows nothing of fine-tuning: it lets one request pass a gate and remembers whether it did.
"""

from collections.abc import AsyncIterator, Callable

import httpx2


class GatedTransport(httpx2.AsyncBaseTransport):
    """Sends requests whose bodies pass `gate` first; what it raises ends the request unsent.

    A server cannot act before it has the body. The gate is called when the connection stands and
    the headers are out: between it and the socket there is no await, so a lease that was long
    enough at the gate was long enough when the bytes left.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, gate: Callable[[], None]) -> None:
        self._inner = inner
        self._gate = gate
        self.opened = False
        """Whether a body has passed: then the request may have been carried out."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request, its body behind the gate."""
        request.stream = _GatedBody(await request.aread(), self._open)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    def _open(self) -> None:
        self._gate()
        self.opened = True


class _GatedBody(httpx2.AsyncByteStream):
    """All bytes in one piece, after the gate."""

    def __init__(self, content: bytes, gate: Callable[[], None]) -> None:
        self._content, self._gate = content, gate

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._gate()
        yield self._content
