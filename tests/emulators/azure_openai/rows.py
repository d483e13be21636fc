"""What a JSONL file contains, as far as the service cares: rows, tokens, a digest, what is wrong.

Pure. Must not know of files' ids or jobs. Messages name lines, never their content.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

MINIMUM_ROWS = 10
_CHARACTERS_PER_TOKEN = 4
_OVERHEAD_PER_MESSAGE = 4


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One file, read once.

    `content_tokens` counts the text alone, `tokens` the frame around each message too.
    `file_problem` makes the file end as `error`; `chat_problem` fails a supervised job.
    """

    rows: int
    tokens: int
    content_tokens: int
    digest: str
    file_problem: str | None
    chat_problem: str | None


def read_dataset(content: bytes) -> Dataset:
    """Count and check the rows of `content`."""
    rows: list[dict[str, Any]] = []
    file_problem: str | None = None
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        row = _parse(line)
        if row is None:
            file_problem = file_problem or f"line {number} is not a JSON object"
            continue
        rows.append(row)
    if file_problem is None and len(rows) < MINIMUM_ROWS:
        file_problem = f"the file has {len(rows)} examples, at least {MINIMUM_ROWS} are required"
    texts = [text for row in rows for text in _texts(row)]
    content_tokens = sum(_tokens(text) for text in texts)
    return Dataset(
        rows=len(rows),
        tokens=content_tokens + _OVERHEAD_PER_MESSAGE * len(texts),
        content_tokens=content_tokens,
        digest=hashlib.sha256(content).hexdigest(),
        file_problem=file_problem,
        chat_problem=_chat_problem(rows),
    )


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _texts(row: dict[str, Any]) -> list[str]:
    """One text per message; a row of another format counts as a single text."""
    messages = row.get("messages")
    if not isinstance(messages, list):
        return [json.dumps(row)]
    return [
        json.dumps(message) if not _content(message) else _content(message) for message in messages
    ]


def _content(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else ""


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def _chat_problem(rows: list[dict[str, Any]]) -> str | None:
    for number, row in enumerate(rows, start=1):
        if not _is_chat(row.get("messages")):
            return f"example {number} needs 'messages' with a user turn and a last assistant turn"
    return None


def _is_chat(messages: Any) -> bool:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return False
    roles = [message.get("role") for message in messages]
    return "user" in roles and roles[-1] == "assistant"
