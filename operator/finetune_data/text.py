"""What a string of a row may hold, wherever in the row it stands.

Knows characters; must not know of messages or tools.
"""

import re
from typing import Any

from finetune_data.problems import RowProblem

MAX_DEPTH = 100
"""Lists and objects within each other; what renders and writes them recurses."""

# Tab, newline and carriage return are text; the rest of C0 breaks tokenizers or terminals.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(text: str, where: str) -> str:
    """The text; RowProblem if it holds what is none."""
    if text.isprintable():
        return text
    if found := _CONTROL.search(text):
        raise RowProblem(f"{where} holds the control character U+{ord(found[0]):04X}; remove it")
    if has_surrogate(text):
        raise RowProblem(f"{where} holds half of a surrogate pair, which is no text; remove it")
    return text


def has_surrogate(text: str) -> bool:
    """Whether half a surrogate pair stands in the text, which no tokenizer takes."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def check_texts(value: Any, where: str) -> None:
    """Look at every key and string of a JSON value; RowProblem for the first that is no text."""
    waiting = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, str):
            clean(item, where)
        elif isinstance(item, list | dict):
            if depth > MAX_DEPTH:
                raise RowProblem(f"{where} is nested too deeply; flatten it")
            inner = [*item, *item.values()] if isinstance(item, dict) else item
            waiting += [(each, depth + 1) for each in inner]
