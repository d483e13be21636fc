"""Turns chat rows into token ids with labels: loss on what the assistant says, and nothing else.

Works with any chat template, by rendering the conversation up to each assistant turn; a template
for which that does not add up is refused by name. Knows tokenizers; must not know of training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune_data.chat import ChatRow
from finetune_data.messages import trained
from finetune_trainer.errors import TrainerError, bad_config, bad_data

IGNORED = -100
"""The label of a token without loss, by torch's convention."""

MAX_LINES_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row as tokens; `labels` are the ids that carry loss, else IGNORED."""

    input_ids: list[int]
    labels: list[int]
    line: int

    @property
    def supervised(self) -> int:
        """Tokens that carry loss."""
        return sum(label != IGNORED for label in self.labels)

    def cut(self, length: int) -> "Example":
        """The example without what lies beyond `length` tokens."""
        return Example(
            input_ids=self.input_ids[:length], labels=self.labels[:length], line=self.line
        )


class Renderer:
    """A model's chat template, asked in the ways that training needs."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is a transformers tokenizer; it must know its characters' positions."""
        if not tokenizer.is_fast:
            raise bad_config(
                "The model has no fast tokenizer: use a model with tokenizer.json in a new"
                " FineTuneJob."
            )
        if tokenizer.chat_template is None:
            raise bad_config(
                "The model has no chat template: use an instruct or chat model in a new"
                " FineTuneJob."
            )
        self._tokenizer = tokenizer

    def example(self, row: ChatRow) -> Example:
        """The row with its labels, uncut."""
        text = self._text(row, len(row.messages))
        self._check_tools(row, text)
        spans = [self._span(row, text, index) for index in _trained_turns(row)]
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        marks = [_inside(start, end, spans) for start, end in offsets]
        # The first token is predicted from nothing.
        marks[0] = False
        labels = [token if mark else IGNORED for token, mark in zip(ids, marks, strict=True)]
        return Example(input_ids=ids, labels=labels, line=row.line)

    def _span(self, row: ChatRow, text: str, index: int) -> tuple[int, int]:
        """The characters of one assistant turn, its end-of-turn token included."""
        before = self._text(row, index, prompt=True)
        after = self._text(row, index + 1)
        if not after.startswith(before):
            raise self._refusal(row, "does not continue its own prompt with the answer")
        if not text.startswith(after):
            raise self._refusal(row, "renders an answer differently once more turns follow")
        return len(before), len(after)

    def _text(self, row: ChatRow, turns: int, *, prompt: bool = False, bare: bool = False) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    _without_weights(row.messages[:turns], bare=bare),
                    tools=None if bare else row.tools,
                    add_generation_prompt=prompt,
                    tokenize=False,
                )
            )
        except Exception as error:  # a template is a program of the model's: anything may come
            raise self._refusal(row, "cannot render the row") from error

    def _check_tools(self, row: ChatRow, text: str) -> None:
        """A template that leaves tools or calls out would train answers without their cause."""
        calls = any(message.get("tool_calls") for message in row.messages)
        if not (row.tools or calls):
            return
        try:
            bare = self._text(row, len(row.messages), bare=True)
        except TrainerError:  # it misses them, so it reads them
            return
        if text == bare:
            raise self._refusal(row, "leaves out tools and tool calls")

    def _refusal(self, row: ChatRow, why: str) -> Exception:
        return bad_data(
            f"The model's chat template {why} (line {row.line}): "
            "use a model whose template supports such rows in a new FineTuneJob, or change the "
            "rows and ask for a retry."
        )


def _trained_turns(row: ChatRow) -> list[int]:
    return [index for index, message in enumerate(row.messages) if trained(message)]


def _without_weights(messages: Sequence[dict[str, Any]], *, bare: bool) -> list[dict[str, Any]]:
    unread = {"weight", "tool_calls"} if bare else {"weight"}
    return [
        {key: value for key, value in message.items() if key not in unread} for message in messages
    ]


def _inside(start: int, end: int, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a token touches a span: one across its start belongs to the answer."""
    return any(start < span_end and end > span_start for span_start, span_end in spans)


def cut_all(examples: Sequence[Example], length: int, display: str) -> tuple[list[Example], int]:
    """Cut every example at `length` tokens and count the ones that were longer.

    A row that is left without an answer to learn is refused by its line.
    """
    cut = [example.cut(length) for example in examples]
    empty = [example.line for example in cut if not example.supervised]
    if empty:
        lines = ", ".join(str(line) for line in empty[:MAX_LINES_NAMED])
        more = f" and {len(empty) - MAX_LINES_NAMED} more" if len(empty) > MAX_LINES_NAMED else ""
        raise bad_data(
            f"{display}: no answer is left of line {lines}{more} within {length} tokens: "
            "raise hyperparameters.maxSequenceLength in a new FineTuneJob, or shorten or remove "
            "these rows and ask for a retry."
        )
    return cut, sum(len(example.input_ids) > length for example in examples)
