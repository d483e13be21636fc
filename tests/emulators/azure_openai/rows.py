"""What a JSONL file contains, as far as the service cares: rows, tokens, a digest, what is wrong.

Pure. Must not know of files' ids or jobs. Messages name lines, never their content.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from azure_openai.methods import Method
from finetune_data.chat import parse_chat
from finetune_data.graders.templates import Placeholder
from finetune_data.preference import parse_preference
from finetune_data.problems import RowProblem
from finetune_data.prompts import parse_prompt
from finetune_data.rows import Parser, Row

MINIMUM_ROWS = 10
_CHARACTERS_PER_TOKEN = 4
_OVERHEAD_PER_MESSAGE = 4
_BOM = b"\xef\xbb\xbf"
_OUTPUTS = ("preferred_output", "non_preferred_output")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One file, read once.

    `content_tokens` counts the text alone, `tokens` the frame around each message too.
    `file_problem` makes the file end as `error`, whatever it is to be used for.
    """

    rows: int
    tokens: int
    content_tokens: int
    digest: str
    file_problem: str | None


def read_dataset(content: bytes) -> Dataset:
    """Count and check the rows of `content`."""
    rows: list[dict[str, Any]] = []
    file_problem: str | None = None
    for number, line in _lines(content):
        row = _parse(line)
        if row is None:
            file_problem = file_problem or f"line {number} is not a JSON object"
            continue
        rows.append(row)
    if file_problem is None and len(rows) < MINIMUM_ROWS:
        file_problem = f"the file has {len(rows)} examples, at least {MINIMUM_ROWS} are required"
    texts = [text for row in rows for text in _texts(row)]
    content_tokens = sum(tokens(text) for text in texts)
    return Dataset(
        rows=len(rows),
        tokens=content_tokens + _OVERHEAD_PER_MESSAGE * len(texts),
        content_tokens=content_tokens,
        digest=hashlib.sha256(content).hexdigest(),
        file_problem=file_problem,
    )


@lru_cache(maxsize=8)
def row_problem(content: bytes, method: Method, members: tuple[Placeholder, ...]) -> str | None:
    """What is wrong with the first row of a good file that a method cannot train on.

    `members`: what graders read of every row.
    """
    parse = _parser(method, members)
    for number, row in each_row(content):
        try:
            parse(row, number)
        except RowProblem as problem:
            return f"line {number}: {problem}"
    return None


def _parser(method: Method, members: tuple[Placeholder, ...]) -> Parser[Row]:
    match method:
        case "supervised":
            return partial(parse_chat, images=True)
        case "dpo":
            return partial(parse_preference, images=True)
        case "reinforcement":
            return partial(parse_prompt, members=members, images=True)


def each_row(content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a good file by their lines."""
    return ((number, json.loads(line)) for number, line in _lines(content))


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(content.removeprefix(_BOM).splitlines(), start=1):
        if line.strip():
            yield number, line


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _texts(row: dict[str, Any]) -> list[str]:
    """One text per message; a row of another format counts as a single text."""
    asked = row.get("input")
    asking = asked if isinstance(asked, dict) else row
    texts = [_text(message) for message in _list(asking.get("messages"))]
    texts += [_text(message) for key in _OUTPUTS for message in _list(row.get(key))]
    return texts or [json.dumps(row)]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) and content else json.dumps(message)


def tokens(text: str) -> int:
    """How many tokens a text is taken for."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)
