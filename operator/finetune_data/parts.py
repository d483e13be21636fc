"""Writes the rows that are used into files of their own: what is uploaded holds nothing else.

Knows lines; must not know why a row is on its side.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune_data.lines import JsonLines
from finetune_data.problems import RowProblem
from finetune_data.rows import Parser, Row, json_object


def write_parts(
    path: Path,
    parse: Parser[Any],
    holds_out: Callable[[Row], bool],
    training: Path,
    validation: Path,
) -> None:
    """Copy the usable rows of a file as they are spelt, in order, to one side each."""
    with training.open("wb") as kept, validation.open("wb") as held_out:
        for line in JsonLines(path):
            try:
                row = parse(json_object(line), line.number)
            except RowProblem:
                continue
            (held_out if holds_out(row) else kept).write((line.content or b"") + b"\n")
