"""Chat rows of supervised training: one JSON object per line with `messages` and maybe `tools`.

Reads and checks them one by one. Must not know where the file came from or who trains on it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from finetune_api.pods import BadRow
from finetune_data.lines import MAX_LINE_BYTES, JsonLines, Line
from finetune_data.messages import MESSAGE_KEYS, Message, check_messages
from finetune_data.problems import MAX_BAD_ROWS_SHOWN, DataError, RowProblem
from finetune_data.tools import tool_names

__all__ = ["ChatRow", "DataError", "read_rows", "scan"]

_ROW_KEYS = frozenset({"messages", "tools", "parallel_tool_calls"})
_OLD_KEYS = frozenset({"functions", "function_call"})
_OTHER_FORMATS = {
    "preferred_output": "a row of preference training; supervised training takes `messages`",
    "prompt": "write `messages` with a user and an assistant message instead of `prompt`",
    "text": "write `messages` with a user and an assistant message instead of `text`",
    "conversations": "write `messages` with `role` and `content` instead of `conversations`",
}


@dataclass(frozen=True, kw_only=True)
class ChatRow:
    """One checked row.

    `messages` and `tools` have the form that chat templates take: `content` is a string (also
    where it was null or a list of texts) and the `arguments` of calls are objects. An assistant
    message with `weight` 0 carries no loss.
    """

    messages: list[Message]
    tools: list[dict[str, Any]] | None
    line: int
    unread_keys: bool = False
    """The row has keys that nothing reads: misspelt ones, perhaps."""


def read_rows(path: Path) -> list[ChatRow]:
    """Every row of a file; DataError if a single one cannot be used."""
    rows: list[ChatRow] = []
    bad: list[BadRow] = []
    total = 0
    for item in scan(JsonLines(path)):
        if isinstance(item, ChatRow):
            rows.append(item)
            continue
        total += 1
        if len(bad) < MAX_BAD_ROWS_SHOWN:
            bad.append(item)
    if bad:
        raise DataError(bad, total)
    return rows


def scan(lines: JsonLines, *, images: bool = False) -> Iterator[ChatRow | BadRow]:
    """Each row of a file in turn, usable or not; holds one row in memory.

    Empty lines at the end are no rows. `images`: whether pictures can be trained on.
    """
    last = 0
    for line in lines:
        if line.content == b"":
            continue
        for skipped in range(last + 1, line.number):
            yield BadRow(line=skipped, problem="the line is empty; remove it")
        last = line.number
        yield _row(line, images=images)
    if not last:
        yield BadRow(line=1, problem="the file is empty; write one JSON object per line")


def _row(line: Line, *, images: bool) -> ChatRow | BadRow:
    try:
        return parse_row(line, images=images)
    except RowProblem as problem:
        return BadRow(line=line.number, problem=str(problem))


def parse_row(line: Line, *, images: bool) -> ChatRow:
    """The row that a line holds; RowProblem if it cannot be used."""
    row = _json_object(line)
    if _OLD_KEYS & row.keys():
        raise RowProblem("the row has the old `functions` form; write `tools` and `tool_calls`")
    if "messages" not in row:
        hints = (hint for key, hint in _OTHER_FORMATS.items() if key in row)
        raise RowProblem(next(hints, "the row has no `messages`; write them as a list"))
    if not isinstance(row.get("parallel_tool_calls", True), bool):
        raise RowProblem("`parallel_tool_calls` must be true or false")
    names = tool_names(row)
    return ChatRow(
        messages=check_messages(row["messages"], names, images=images),
        tools=row.get("tools"),
        line=line.number,
        unread_keys=_has_unread_keys(row),
    )


def _has_unread_keys(row: dict[str, Any]) -> bool:
    return not row.keys() <= _ROW_KEYS or any(
        not message.keys() <= MESSAGE_KEYS for message in row["messages"]
    )


def _json_object(line: Line) -> dict[str, Any]:
    if line.content is None:
        limit = MAX_LINE_BYTES // (1024 * 1024)
        raise RowProblem(f"the line is longer than {limit} MiB; shorten or split the row")
    try:
        value = json.loads(line.content.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise RowProblem("the line is not UTF-8 text; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise RowProblem(_not_json(line.content, error)) from None
    except RecursionError:
        raise RowProblem("the row is nested too deeply; flatten it") from None
    except ValueError:
        raise RowProblem("the line holds a number that JSON cannot carry; correct it") from None
    if not isinstance(value, dict):
        raise RowProblem("the line is not a JSON object; write one object in braces per line")
    return value


def _not_json(content: bytes, error: json.JSONDecodeError) -> str:
    if content in (b"{", b"["):
        return "the file is spread over lines; write each row as one object on one line"
    # The parser's own words name a position, never what stands there.
    return f"the line is not JSON ({error.msg}, column {error.colno}); correct it"


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError
