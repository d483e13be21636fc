"""Builders of chat rows, valid unless told otherwise, and of files with them."""

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from finetune_data.chat import parse_chat
from finetune_data.lines import JsonLines
from finetune_data.rows import scan

Json = dict[str, Any]


def system(content: Any = "Answer briefly.") -> Json:
    return {"role": "system", "content": content}


def user(content: Any = "What is 6 times 7?", **more: Any) -> Json:
    return {"role": "user", "content": content, **more}


def assistant(content: Any = "42", **more: Any) -> Json:
    return {"role": "assistant", "content": content, **more}


def tool_call(
    call_id: Any = "call_1",
    name: Any = "price",
    arguments: Any = '{"symbol": "BAC"}',
    **more: Any,
) -> Json:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
        **more,
    }


def calling(*calls: Json) -> Json:
    return {"role": "assistant", "tool_calls": list(calls or (tool_call(),))}


def answer(call_id: Any = "call_1", content: Any = "37.10") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def tool(name: Any = "price", **more: Any) -> Json:
    function = {
        "name": name,
        "description": "The price of a share",
        "parameters": {"type": "object", "properties": {"symbol": {"type": "string"}}},
        **more,
    }
    return {"type": "function", "function": function}


def row(*messages: Any, **more: Any) -> Json:
    return {"messages": list(messages or (system(), user(), assistant())), **more}


def image(url: str = "https://example.test/cat.png", **more: Any) -> Json:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def text(value: Any = "What is this?") -> Json:
    return {"type": "text", "text": value}


def nested(depth: int) -> Json:
    """An object in an object, so many times."""
    value: Json = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def numbered_rows(count: int) -> list[Json]:
    """Rows that are all different."""
    return [row(user(f"What is {i} plus 1?"), assistant(str(i + 1))) for i in range(count)]


def write_jsonl(path: Path, rows: Iterable[Json | str | bytes]) -> Path:
    """A file with a line for each row; text and bytes are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for item in rows:
            file.write(_line(item) + b"\n")
    return path


def _line(item: Json | str | bytes) -> bytes:
    if isinstance(item, bytes):
        return item
    return (item if isinstance(item, str) else json.dumps(item)).encode()


def read_one(tmp_path: Path, line: Any, *, images: bool = False) -> Any:
    """What the scan of a file with this one line yields."""
    path = write_jsonl(tmp_path / "data.jsonl", [line])
    (item,) = scan(JsonLines(path), partial(parse_chat, images=images))
    return item
