"""Turns chat rows into token ids with labels: loss on what the assistant says, and nothing else.

Where an answer stands in the text is told by finetune_data, by the same words as the prepare pod's.
Knows transformers' tokenizers; must not know of training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from finetune_data.chat import ChatRow
from finetune_data.messages import Message
from finetune_data.problems import RowProblem
from finetune_data.rendering import carry_loss, render
from finetune_data.templates import refusal
from finetune_trainer.errors import bad_config, bad_data

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
    """A model's tokenizer and chat template, asked in the ways that training needs."""

    def __init__(self, tokenizer: Any, now: datetime | None = None) -> None:
        """`tokenizer` is a transformers tokenizer; it must know its characters' positions.

        `now` is what templates that show the date take for it; absent: today's.
        """
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
        self._now = now or datetime.now(UTC)

    def examples(
        self, rows: Sequence[ChatRow], display: str, *, drop: bool = False
    ) -> list[Example]:
        """Every row of a file, uncut; TrainerError names the line of one that cannot be used.

        `drop`: leave such rows out instead.
        """
        made = []
        for row in rows:
            try:
                made.append(self.example(row))
            except RowProblem as problem:
                if drop:
                    continue
                raise bad_data(f"{display}: line {row.line}: {problem}.") from problem
        return made

    def example(self, row: ChatRow) -> Example:
        """The row with its labels, uncut; RowProblem if the template does not serve it."""
        rendered = render(row, self.template)
        encoded = self._tokenizer(
            rendered.text, add_special_tokens=False, return_offsets_mapping=True
        )
        ids = encoded["input_ids"]
        marks = carry_loss(encoded["offset_mapping"], rendered.answers)
        labels = [token if mark else IGNORED for token, mark in zip(ids, marks, strict=True)]
        return Example(input_ids=ids, labels=labels, line=row.line)

    def template(
        self, messages: Sequence[Message], tools: list[dict[str, Any]] | None, *, prompt: bool
    ) -> str:
        """A `finetune_data.rendering.Template`."""
        source = self._tokenizer.get_chat_template(tools=tools)
        try:
            _set_date(source, self._now)
            return str(
                self._tokenizer.apply_chat_template(
                    list(messages), tools=tools, add_generation_prompt=prompt, tokenize=False
                )
            )
        except Exception as error:  # a template is a program of the model's: anything may come
            raise refusal(error, source) from error


def _set_date(source: str, now: datetime) -> None:
    """A training that is resumed after midnight must see the rows that it began with.

    transformers compiles a template once, and makes plain data of every function it is given.
    """
    from transformers.utils.chat_template_utils import _compile_jinja_template

    _compile_jinja_template(source).environment.globals["strftime_now"] = now.strftime


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
