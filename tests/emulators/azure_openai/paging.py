"""Reads `after` and `limit` from a query.

Must not know what is listed.
"""

from dataclasses import dataclass

from aiohttp import web

from azure_openai.errors import invalid


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """Which part of a list is wanted."""

    after: str | None
    limit: int


def read_page(request: web.Request, *, default: int, maximum: int) -> PageQuery:
    """The wanted part; refuses a limit that is no number or out of range."""
    text = request.query.get("limit", str(default))
    if not text.isdecimal() or not 1 <= int(text) <= maximum:
        raise invalid(f"'limit' must be a number from 1 to {maximum}.", param="limit")
    return PageQuery(after=request.query.get("after"), limit=int(text))
