"""What graders reach beyond their own arithmetic: a judge, an endpoint, a python sandbox.

The judge is built in and no model; endpoint and python are real. Must not know of requests.
"""

import asyncio
import json
import math
import re
import ssl
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp

from azure_openai import catalogue, rows
from finetune_api.graders import SimilarityMetric
from finetune_data.graders.grading import GraderFailedError, GradingError, Judgement
from finetune_data.graders.similarity import similarity

_SANDBOX = Path(__file__).with_name("sandbox.py")
_ENDPOINT_SECONDS = 30
_RANGE = re.compile(r"score from (\S+) to (\S+)\.")


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The way out of the grading of one sample."""

    answer: str
    item: Mapping[str, Any]
    python_seconds: float
    endpoint_ca: Path | None = None
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    """What to send along, by the endpoint's URL."""

    async def ask(
        self, model: str, messages: list[dict[str, str]], params: Mapping[str, Any]
    ) -> Judgement:
        """Judge by likeness: the closest text of the item decides, whatever the messages ask."""
        if not catalogue.judges(model):
            message = f"The model '{model}' does not exist or cannot grade."
            raise GraderFailedError(GradingError.MODEL_SERVER, message)
        text = json.dumps({"result": self._score(messages[0]["content"])})
        asked = sum(rows.tokens(message["content"]) for message in messages)
        return Judgement(text=text, prompt_tokens=asked, completion_tokens=rows.tokens(text))

    def _score(self, instruction: str) -> float:
        asked = _RANGE.search(instruction)
        low, high = (float(asked[1]), float(asked[2])) if asked else (0.0, 1.0)
        alike = [
            similarity(SimilarityMetric.FUZZY_MATCH, self.answer, text)
            for text in _texts(self.item)
        ]
        return low + (high - low) * max(alike, default=0.0)

    async def post(self, url: str, body: Mapping[str, Any], rate_limit: int | None) -> Any:
        """Call an endpoint once, so that no rate can be exceeded."""
        tls = ssl.create_default_context(cafile=self.endpoint_ca)
        timeout = aiohttp.ClientTimeout(total=_ENDPOINT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    url,
                    json=dict(body),
                    ssl=tls,
                    headers=dict(self.headers.get(url, {})),
                    allow_redirects=False,
                ) as reply,
            ):
                reply.raise_for_status()
                return json.loads(await reply.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"The endpoint could not be reached: {type(error).__name__}."
            raise GraderFailedError(GradingError.OTHER, message) from error
        except ValueError as error:
            message = "The endpoint did not answer with JSON."
            raise GraderFailedError(GradingError.UNRESPONSIVE_REWARD, message) from error

    async def run_python(
        self, source: str, sample: Mapping[str, Any], item: Mapping[str, Any]
    ) -> float:
        """Run the source in a process that has given up what it can."""
        order = {
            "source": source,
            "sample": dict(sample),
            "item": dict(item),
            "seconds": math.ceil(self.python_seconds),
        }
        answer = await _run(json.dumps(order).encode(), self.python_seconds)
        if "error" in answer:
            raise GraderFailedError(GradingError.PYTHON_RUNTIME, answer["error"])
        return float(answer["reward"])


async def _run(order: bytes, seconds: float) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        str(_SANDBOX),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        cwd="/",
    )
    try:
        async with asyncio.timeout(seconds):
            told, _ = await process.communicate(order)
    except TimeoutError as error:
        message = f"The grader took longer than {seconds:g} seconds."
        raise GraderFailedError(GradingError.PYTHON_SERVER, message) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not told:
        message = f"The grader's process ended with {process.returncode}."
        raise GraderFailedError(GradingError.PYTHON_SERVER, message)
    answer: dict[str, Any] = json.loads(told)
    return answer


def _texts(value: Any) -> Iterator[str]:
    """Every string and number of an item, however deep."""
    match value:
        case Mapping():
            for part in value.values():
                yield from _texts(part)
        case list():
            for part in value:
                yield from _texts(part)
        case str():
            yield value
        case int() | float():
            yield json.dumps(value)
