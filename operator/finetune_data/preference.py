"""Rows of preference training (DPO): an `input` and two answers, one of them preferred.

Checks one by one. Must not know where the file came from or who trains on it.
"""

from dataclasses import dataclass
from typing import Any

from finetune_data.chat import check_form
from finetune_data.messages import (
    Message,
    check_answers,
    check_images,
    check_messages,
    has_unread_keys,
)
from finetune_data.problems import RowProblem
from finetune_data.rows import Asked, Json
from finetune_data.tools import tool_names

_ROW_KEYS = frozenset({"input", "preferred_output", "non_preferred_output"})
_INPUT_KEYS = frozenset({"messages", "tools", "parallel_tool_calls"})
_OUTPUT_ROLES = frozenset({"assistant", "tool"})
_OTHER_FORMATS = {
    "messages": "the row is one of supervised training; write `input`, `preferred_output` and"
    " `non_preferred_output`",
    "chosen": "write `input`, `preferred_output` and `non_preferred_output` instead of `chosen`",
}


@dataclass(frozen=True, kw_only=True)
class PreferenceRow:
    """One checked row, its messages in the form that chat templates take."""

    messages: list[Message]
    """What both answers answer."""
    tools: list[dict[str, Any]] | None
    preferred: list[Message]
    non_preferred: list[Message]
    line: int
    unread_keys: bool = False

    def asked(self) -> Asked:
        """The input."""
        return Asked(self.messages, self.tools)

    def answered(self) -> object:
        """Both outputs."""
        return [self.preferred, self.non_preferred]

    def said(self) -> list[Message]:
        """The input and both outputs."""
        return [*self.messages, *self.preferred, *self.non_preferred]


def parse_preference(row: Json, line: int, *, images: bool = False) -> PreferenceRow:
    """The preference row that an object is; RowProblem if it cannot be used.

    `images`: whether pictures can be trained on (at the hosted service only).
    """
    asked = row.get("input")
    if not isinstance(asked, dict):
        hints = (hint for key, hint in _OTHER_FORMATS.items() if key in row)
        raise RowProblem(next(hints, "the row has no `input`; write it with its `messages`"))
    check_form(asked)
    if "messages" not in asked:
        raise RowProblem("`input` has no `messages`; write them as a list")
    names = tool_names(asked)
    messages = check_messages(asked["messages"], names, images=images)
    if not any(message["role"] == "user" for message in messages):
        raise RowProblem("`input` has no user message; add one")
    if messages[-1]["role"] == "assistant":
        raise RowProblem("`input` must not end with an assistant message: move it to both outputs")
    check_images(messages)
    preferred, non_preferred = (
        _output(row, key, messages, names) for key in ("preferred_output", "non_preferred_output")
    )
    if preferred == non_preferred:
        raise RowProblem("both outputs are the same, so none is preferred; remove the row")
    return PreferenceRow(
        messages=messages,
        tools=asked.get("tools"),
        preferred=preferred,
        non_preferred=non_preferred,
        line=line,
        unread_keys=not row.keys() <= _ROW_KEYS
        or not asked.keys() <= _INPUT_KEYS
        or any(
            has_unread_keys(part)
            for part in (asked["messages"], row["preferred_output"], row["non_preferred_output"])
        ),
    )


def _output(row: Json, key: str, messages: list[Message], names: frozenset[str]) -> list[Message]:
    if key not in row:
        raise RowProblem(f"the row has no `{key}`; write it as a list of messages")
    output = check_messages(row[key], names, images=False, name=f"`{key}`")
    roles = {message["role"] for message in output}
    if not roles <= _OUTPUT_ROLES:
        raise RowProblem(f"`{key}` may hold assistant and tool messages only; move the others")
    if "assistant" not in roles:
        raise RowProblem(f"`{key}` has no assistant message; add one")
    check_answers([*messages, *output])
    return output
