"""Reads HTTP answers: an object, the lines of a stream, when to come back. Knows no request."""

import json
from collections.abc import AsyncIterator

import aiohttp

from finetune_operator.adapters.refusals import Json

_LINE_BUFFER = 1 << 20


async def answer_of(response: aiohttp.ClientResponse) -> Json:
    """The body as an object; a proxy's HTML becomes an empty one."""
    raw = await response.read()
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: aiohttp's own iteration stops at 128 kB."""
    rest = b""
    async for chunk in content.iter_chunked(_LINE_BUFFER):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line


def retry_after(response: aiohttp.ClientResponse) -> float:
    """The seconds that the server asks to wait; 1 if it does not say."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 1.0
