"""Counts tokens with a model's own tokenizer and chat template, without transformers.

Knows no weights and no files of rows.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from finetune_data.chat import ChatRow
from finetune_data.problems import MAX_BAD_ROWS_SHOWN, TokenizerError
from finetune_data.rendering import RenderedRow, render
from finetune_data.templates import ChatTemplate, read_text, templates_of

MAX_TOKENIZER_BYTES = 256 * 1024 * 1024


class ChatTokenizer:
    """A model's tokenizer and template, from its folder."""

    def __init__(self, folder: Path, now: datetime | None = None) -> None:
        """Read the folder; TokenizerError if something is missing or broken.

        `now` is what templates that show the date take for it; absent: today's.
        """
        self._tokenizer = _load_tokenizer(folder / "tokenizer.json")
        settings = _settings(folder)
        self.max_positions = _max_positions(folder)
        """The most tokens that the model reads; None if it does not say."""
        self.template = ChatTemplate(
            templates_of(folder, settings), _special_tokens(settings), now or datetime.now(UTC)
        )

    def render(self, row: ChatRow) -> RenderedRow:
        """The row as the text that is trained on; RowProblem if the template refuses it."""
        return render(row, self.template)

    def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    def encode(self, text: str) -> Encoding:
        """The tokens of a text with the characters that they stand for: a third slower."""
        return self._tokenizer.encode(text, add_special_tokens=False)


def _load_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise TokenizerError("the model has no tokenizer.json; use a model with a fast tokenizer")
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise TokenizerError("the model's tokenizer.json is too large to be one")
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower class
        raise TokenizerError("the model's tokenizer.json is broken; download it anew") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json over special_tokens_map.json, which older models have besides."""
    merged: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        merged |= _json_object(folder / name)
    return merged


def _json_object(path: Path) -> dict[str, Any]:
    """What a file of the model's holds; nothing if there is no such file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(read_text(path))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise TokenizerError(f"the model's {path.name} is not a JSON object")
    return found


def _max_positions(folder: Path) -> int | None:
    """As the trainer reads it: models that also see pictures keep it with those of their text."""
    config = _json_object(folder / "config.json")
    text = config.get("text_config")
    limit = (text if isinstance(text, dict) else config).get("max_position_embeddings")
    return limit if isinstance(limit, int) else None


def _special_tokens(settings: dict[str, Any]) -> dict[str, str]:
    """bos_token and its like, as the template's variables: strings, or objects with content."""
    tokens = {}
    for key, value in settings.items():
        text = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(text, str):
            tokens[key] = text
    return tokens


class TokenCounter:
    """Adds up the tokens of rows, in batches whose text is bounded: so is their memory.

    A row whose template refuses it raises RowProblem from `add` and counts nothing.
    """

    BATCH_CHARACTERS = 256 * 1024
    LONG = 4
    """With more characters for each token of the limit, a row is likely to be cut."""

    def __init__(self, tokenizer: ChatTokenizer, limit: int) -> None:
        """Rows are cut after `limit` tokens."""
        self._tokenizer = tokenizer
        self.limit = limit
        self._batch: list[RenderedRow] = []
        self._characters = 0
        self.total = 0
        self.longest = 0
        self.over_limit = 0
        self.unanswered = 0
        """Rows of which no answer is left once they are cut at the limit."""
        self.unanswered_lines: list[int] = []
        """The first of them, at most MAX_BAD_ROWS_SHOWN."""

    def add(self, row: ChatRow) -> None:
        """Take one row."""
        rendered = self._tokenizer.render(row)
        if len(rendered.text) > self.LONG * self.limit:
            self._count_long(rendered)
            return
        self._batch.append(rendered)
        self._characters += len(rendered.text)
        if self._characters >= self.BATCH_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        """Count what is still waiting."""
        counts = self._tokenizer.count([row.text for row in self._batch])
        for row, tokens in zip(self._batch, counts, strict=True):
            if tokens > self.limit:
                self._count_long(row)
            else:
                self._note(tokens)
        self._batch.clear()
        self._characters = 0

    def _note(self, tokens: int) -> None:
        self.total += tokens
        self.longest = max(self.longest, tokens)

    def _count_long(self, row: RenderedRow) -> None:
        """Count a row of which some may be cut: that is, look where its answers begin."""
        encoding = self._tokenizer.encode(row.text)
        self._note(len(encoding))
        if len(encoding) <= self.limit:
            return
        self.over_limit += 1
        start, end = row.answers[0]
        first = next(filter(None, map(encoding.char_to_token, range(start, end))), self.limit)
        if first >= self.limit:
            self.unanswered += 1
            self.unanswered_lines = sorted([*self.unanswered_lines, row.line])[:MAX_BAD_ROWS_SHOWN]
