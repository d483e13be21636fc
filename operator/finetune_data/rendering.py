"""A row as the text that is trained on, and which characters of it are answers that carry loss.

Works with any chat template, by rendering the conversation up to each answer; a template for which
that does not add up is refused. Prepare pods and trainer both ask here, each with a renderer of its
own, so that what the one accepts the other can train on. Must not know who renders, nor tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from finetune_data.chat import ChatRow
from finetune_data.messages import Message, trained
from finetune_data.problems import RowProblem
from finetune_data.text import has_surrogate

MAX_TEXT_BYTES = 2 * 1024 * 1024
"""Tokenizers take up to 350 bytes of memory for each: more would not fit into a prepare pod."""

Span = tuple[int, int]
"""The first character and the one behind the last."""

_OTHER_MODEL = "use another model, or change the rows"


class Template(Protocol):
    """A model's chat template."""

    def __call__(
        self, messages: Sequence[Message], tools: list[dict[str, Any]] | None, *, prompt: bool
    ) -> str:
        """The text, up to where an answer is asked for if `prompt`; RowProblem if it refuses."""


@dataclass(frozen=True, kw_only=True)
class RenderedRow:
    """One row; `answers` are in order, each with its end of turn."""

    line: int
    text: str
    answers: tuple[Span, ...]


def render(row: ChatRow, template: Template) -> RenderedRow:
    """The row through the template; RowProblem if the template does not serve it."""
    messages = _without(row.messages, "weight")
    text = template(messages, row.tools, prompt=False)
    _check_text(text)
    if row.tools and _leaves_tools_out(messages, text, template):
        raise _unfit("leaves out tools and tool calls")
    turns = _Turns(messages=messages, tools=row.tools, text=text, template=template)
    learnt = [index for index, message in enumerate(row.messages) if trained(message)]
    return RenderedRow(
        line=row.line, text=text, answers=tuple(turns.answer(index) for index in learnt)
    )


def carry_loss(offsets: Sequence[Span], answers: Sequence[Span]) -> list[bool]:
    """Which tokens carry loss, by the characters that each stands for.

    A token across the start of an answer belongs to it. The first is predicted from nothing.
    """
    marks = [
        any(start < answer_end and end > answer_start for answer_start, answer_end in answers)
        for start, end in offsets
    ]
    return [False, *marks[1:]]


def _without(messages: Sequence[Message], *keys: str) -> list[Message]:
    return [{key: value for key, value in m.items() if key not in keys} for m in messages]


def _check_text(text: str) -> None:
    if has_surrogate(text):
        raise _unfit("writes what is no text")
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise RowProblem(
            f"the row is a text of more than {MAX_TEXT_BYTES >> 20} MiB; shorten or split it"
        )


def _leaves_tools_out(messages: Sequence[Message], text: str, template: Template) -> bool:
    """Answers would be trained without their cause. Calls have tools that declare them."""
    try:
        return text == template(_without(messages, "tool_calls"), None, prompt=False)
    except RowProblem:  # it misses them, so it reads them
        return False


def _unfit(why: str) -> RowProblem:
    return RowProblem(f"the model's chat template {why}: {_OTHER_MODEL}")


@dataclass(frozen=True, kw_only=True)
class _Turns:
    """The turns of one row, and the whole of it as `text`."""

    messages: Sequence[Message]
    tools: list[dict[str, Any]] | None
    text: str
    template: Template

    def answer(self, index: int) -> Span:
        """Where the answer in a message stands."""
        until = self._until(index + 1)
        if not self.text.startswith(until):
            raise _unfit("renders an answer differently once more turns follow")
        start = self._start(index, until) if index else self._opening(until)
        if start == len(until):
            raise _unfit("writes nothing of an answer")
        return start, len(until)

    def _until(self, count: int) -> str:
        """The first so many messages."""
        if count == len(self.messages):
            return self.text
        return self.template(self.messages[:count], self.tools, prompt=False)

    def _start(self, index: int, until: str) -> int:
        asked = self.template(self.messages[:index], self.tools, prompt=True)
        if not until.startswith(asked):
            raise _unfit("does not continue its own prompt with the answer")
        return len(asked)

    def _opening(self, until: str) -> int:
        """Where an answer begins that opens the row: nothing can be rendered before it.

        It follows the words that ask for an answer, as they stand behind the first question.
        """
        count = 1 + next(i for i, each in enumerate(self.messages) if each["role"] == "user")
        question = self._until(count)
        asked = self.template(self.messages[:count], self.tools, prompt=True)
        words = asked.removeprefix(question) if asked.startswith(question) else ""
        if not words.strip() or words not in until:
            raise RowProblem(
                "the model's chat template does not show where an answer begins that opens the"
                " row: begin it with a user message"
            )
        return until.index(words) + len(words)
