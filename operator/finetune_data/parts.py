"""Writes the rows that are used into files of their own: what is uploaded holds nothing else.

Knows lines; must not know why a row goes where.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from finetune_data.lines import JsonLines
from finetune_data.problems import RowProblem
from finetune_data.rows import Parser, R, json_object


def write_rows(path: Path, parse: Parser[R], target: Callable[[R], BinaryIO]) -> None:
    """Copy the usable rows of a file, as they are spelt and in order, each to its target."""
    for line in JsonLines(path):
        try:
            row = parse(json_object(line), line.number)
        except RowProblem:
            continue
        target(row).write((line.content or b"") + b"\n")
