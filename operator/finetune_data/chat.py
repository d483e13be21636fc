"""Chat rows of supervised training: one JSON object per line with `messages` and maybe `tools`.

Checks one by one. Must not know where the file came from or who trains on it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_data.messages import (
    Message,
    check_answers,
    check_images,
    check_messages,
    has_unread_keys,
    trained,
)
from finetune_data.problems import DataError, RowProblem
from finetune_data.rows import Asked, Json, read_rows
from finetune_data.tools import tool_names

__all__ = ["ChatRow", "DataError", "parse_chat", "read_chat_rows"]

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

    def asked(self) -> Asked:
        """Everything before the last message."""
        return Asked(self.messages[:-1], self.tools)

    def answered(self) -> object:
        """The last message."""
        return self.messages[-1]

    def said(self) -> list[Message]:
        """All of them."""
        return self.messages


def read_chat_rows(path: Path) -> list[ChatRow]:
    """Every row of a file without images; DataError if a single one cannot be used."""
    return read_rows(path, parse_chat)


def parse_chat(row: Json, line: int, *, images: bool = False) -> ChatRow:
    """The chat row that an object is; RowProblem if it cannot be used.

    `images`: whether pictures can be trained on (at the hosted service only).
    """
    check_form(row)
    if "messages" not in row:
        hints = (hint for key, hint in _OTHER_FORMATS.items() if key in row)
        raise RowProblem(next(hints, "the row has no `messages`; write them as a list"))
    messages = check_messages(row["messages"], tool_names(row), images=images)
    _check_turns(messages)
    check_answers(messages)
    check_images(messages)
    return ChatRow(
        messages=messages,
        tools=row.get("tools"),
        line=line,
        unread_keys=not row.keys() <= _ROW_KEYS or has_unread_keys(row["messages"]),
    )


def check_form(row: Json) -> None:
    """RowProblem for what no format's tools may look like."""
    if _OLD_KEYS & row.keys():
        raise RowProblem("the row has the old `functions` form; write `tools` and `tool_calls`")
    if not isinstance(row.get("parallel_tool_calls", True), bool):
        raise RowProblem("`parallel_tool_calls` must be true or false")


def _check_turns(messages: list[Message]) -> None:
    roles = [message["role"] for message in messages]
    for needed in ("user", "assistant"):
        if needed not in roles:
            raise RowProblem(f"the row has no {needed} message; add one")
    if roles[-1] != "assistant":
        raise RowProblem("the last message must be the assistant's; move or add its answer")
    if not any(trained(message) for message in messages):
        raise RowProblem("every assistant message has `weight` 0, so nothing would be trained")
