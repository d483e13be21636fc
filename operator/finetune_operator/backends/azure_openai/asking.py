"""Sends one request and reads its answer: outcomes become values of ours, and are counted.

Must not know what is asked or what a refusal means.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import openai

from finetune_operator.backends.azure_openai.answers import answer
from finetune_operator.core.errors import OperatorError

T = TypeVar("T")
Count = Callable[[str, str], None]
"""Takes the operation and the outcome of each request."""


class Raw(Protocol):
    """An answer of the client library, as it came."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""

    @property
    def text(self) -> str:
        """The body."""


class Refused(Exception):
    """The service answered with an error status."""

    def __init__(self, error: openai.APIStatusError) -> None:
        super().__init__(error.status_code)
        self.answer = answer(error)


class Unanswered(Exception):
    """No answer, or none that can be read; its cause says why."""


async def ask(
    operation: str,
    request: Callable[[], Awaitable[Raw]],
    parse: Callable[[Any], T],
    *,
    timeout: float,
    count: Count,
    decode: Callable[[str], Any] = json.loads,
) -> T:
    """The parsed answer, after at most `timeout` seconds in all.

    `decode` makes of the body's text what `parse` takes; ValueError if it cannot.

    Raises:
        Refused: the service said no.
        Unanswered: it said nothing of use.
        OperatorError: there was nothing to authenticate with, or the gate was shut.
    """
    outcome = "none"
    try:
        async with asyncio.timeout(timeout):
            raw = await request()
        outcome = str(raw.status_code)
        return parse(decode(raw.text))
    except openai.APIStatusError as error:
        outcome = str(error.status_code)
        raise Refused(error) from None
    except OperatorError:
        outcome = "unsent"
        raise
    except (TimeoutError, openai.APIConnectionError, ValueError) as error:
        raise Unanswered from error
    finally:
        count(operation, outcome)
