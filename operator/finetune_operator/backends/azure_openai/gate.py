"""Holds a request's body back until the last moment at which it may still be sent.

Knows nothing of fine-tuning: it lets a request pass, and remembers whether it did.
"""

from collections.abc import AsyncIterator, Callable

import httpx2


class Gate:
    """A request hook: bodies go out only after `check`; what it raises ends the request unsent.

    A server cannot act before it has the body. The check is made when the connection stands and
    the headers are out: between it and the socket there is no await, so a lease that was long
    enough at the gate was long enough when the bytes left.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self.passed = False
        """Whether a body went through: then the request may have been carried out."""

    async def __call__(self, request: httpx2.Request) -> None:
        """Put the request's body behind the gate."""
        request.stream = _Body(await request.aread(), self._pass)

    def _pass(self) -> None:
        self._check()
        self.passed = True


class _Body(httpx2.AsyncByteStream):
    """All bytes in one piece, after the gate."""

    def __init__(self, content: bytes, gate: Callable[[], None]) -> None:
        self._content, self._gate = content, gate

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._gate()
        yield self._content
