"""Rows of reinforcement training: `messages` that end with the user, and members for graders.

Checks one by one. Must not know where the file came from or who trains on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune_data.chat import check_form
from finetune_data.graders.checking import lacks
from finetune_data.graders.templates import Placeholder
from finetune_data.messages import (
    Message,
    check_answers,
    check_images,
    check_messages,
    has_unread_keys,
)
from finetune_data.problems import RowProblem
from finetune_data.rows import Asked, Json
from finetune_data.text import check_texts
from finetune_data.tools import tool_names

_CHAT_KEYS = frozenset({"messages", "tools", "parallel_tool_calls"})


@dataclass(frozen=True, kw_only=True)
class PromptRow:
    """One checked row, its messages in the form that chat templates take."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None
    item: Json
    """What graders know as `item`: everything beside messages and tools."""
    line: int
    unread_keys: bool = False

    def asked(self) -> Asked:
        """The prompt."""
        return Asked(self.messages, self.tools)

    def answered(self) -> object:
        """What graders know."""
        return self.item

    def said(self) -> list[Message]:
        """The prompt."""
        return self.messages


def parse_prompt(
    row: Json, line: int, *, members: Sequence[Placeholder] = (), images: bool = False
) -> PromptRow:
    """The prompt row that an object is; RowProblem if it cannot be used.

    Args:
        row: The object of one line.
        line: Its number, from 1.
        members: What the grader reads of every row.
        images: Whether pictures can be trained on (at the hosted service only).
    """
    check_form(row)
    if "messages" not in row:
        raise RowProblem("the row has no `messages`; write them as a list that ends with the user")
    messages = check_messages(row["messages"], tool_names(row), images=images, developer=True)
    if messages[-1]["role"] != "user":
        raise RowProblem("the last message must be the user's: the model answers in training")
    check_answers(messages)
    check_images(messages)
    item = item_of(row)
    check_texts(item, "the row")
    if missing := lacks(members, item):
        raise RowProblem(
            f"the grader reads {str(missing)[:100]}, which the row does not have; add it"
        )
    return PromptRow(
        messages=messages,
        tools=row.get("tools"),
        item=item,
        line=line,
        unread_keys=has_unread_keys(row["messages"]),
    )


def item_of(row: Json) -> Json:
    """What graders know of a row."""
    return {key: value for key, value in row.items() if key not in _CHAT_KEYS}
