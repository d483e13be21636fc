"""Turns what the client library raises into what the tables in core know.

Reads a status, a code, a message and the seconds of Retry-After; nothing else of an answer.
"""

import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import openai

from finetune_operator.core.azure_errors import unreachable
from finetune_operator.core.azure_refusals import Answer
from finetune_operator.core.errors import Transient

_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


def answer(error: openai.APIStatusError) -> Answer:
    """The refusal in the words of the tables."""
    body = error.body
    if isinstance(body, Mapping):
        code, message = str(body.get("code") or ""), str(body.get("message") or "")
    else:
        code, message = "", _plain(body)
    return Answer(
        status=error.status_code,
        code=code,
        message=message,
        retry_after=_retry_after(error.response.headers),
    )


def no_connection(error: BaseException, host: str) -> Transient | None:
    """The error for a request that never left; None if it may have."""
    causes = list(_causes(error))
    if not any(isinstance(cause, _NEVER_SENT) for cause in causes):
        return None
    return unreachable(
        host,
        untrusted=any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes),
        unknown_host=any(isinstance(cause, socket.gaierror) for cause in causes),
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _plain(body: object) -> str:
    """A body that is no JSON: a gateway's page says nothing in its markup."""
    return body if isinstance(body, str) and not body.lstrip().startswith("<") else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: given as milliseconds, seconds or a date."""
    milliseconds, text = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds is not None:
            return float(milliseconds) / 1000
        return None if text is None else float(text)
    except ValueError:
        return _until(text or "")


def _until(date: str) -> float | None:
    try:
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
