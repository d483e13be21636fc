"""Estimates tokens where no tokenizer can be had: the hosted models' is downloaded at run time.

From the bytes of the text, so that it serves every script. Knows rows; must not know of
models.
"""

import json

from finetune_data.messages import Message
from finetune_data.problems import MAX_BAD_ROWS_SHOWN
from finetune_data.rows import Row

BYTES_PER_TOKEN = 3.8
"""Of o200k_base, in the data sets of examples/: 3.0 (arithmetic) to 4.7 (English prose)."""
TOKENS_PER_MESSAGE = 4


class TokenEstimate:
    """Adds up estimates of rows. English is met within a quarter; pictures are left out."""

    def __init__(self, limit: int | None) -> None:
        """`limit`: the most tokens of a row that are trained on, if that is known."""
        self.limit = limit
        self.total = 0
        self.longest = 0
        self.over_limit = 0
        self.over_lines: list[int] = []
        """The first rows over the limit, at most MAX_BAD_ROWS_SHOWN."""

    def add(self, row: Row) -> None:
        """Take one row."""
        said, tools = row.said(), row.asked().tools
        size = sum(map(_bytes, said)) + (_size(json.dumps(tools)) if tools else 0)
        tokens = round(size / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE * len(said)
        self.total += tokens
        self.longest = max(self.longest, tokens)
        if self.limit is not None and tokens > self.limit:
            self.over_limit += 1
            if len(self.over_lines) < MAX_BAD_ROWS_SHOWN:
                self.over_lines.append(row.line)


def _bytes(message: Message) -> int:
    content = message["content"]
    texts = (
        [content]
        if isinstance(content, str)
        else [part["text"] for part in content if part["type"] == "text"]
    )
    if "tool_calls" in message:
        texts.append(json.dumps([call["function"] for call in message["tool_calls"]]))
    return sum(map(_size, texts))


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
