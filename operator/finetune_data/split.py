"""Holds out a part of the training rows for validation, the same rows wherever it is asked.

By content and seed: the order of the file does not matter, and equal rows stay together. Both the
prepare pod and the trainer ask here. Knows rows; must not know of files or jobs.
"""

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

from finetune_api.pods import Split
from finetune_data.comparison import fingerprint_of
from finetune_data.rows import R, Row

_BITS = 16
"""Places that rows fall on: few enough to count, and one in 65,536 rows is close enough."""


class Splitter:
    """Decides for each row, once every row was counted. Memory does not depend on their number."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._counts = array("Q", bytes(8 << _BITS))
        self._end: int | None = None

    def count(self, row: Row) -> None:
        """Take notice of one row."""
        self._counts[self._place(row)] += 1

    def holds_out(self, row: Row) -> bool:
        """Whether the row is one of validation."""
        if self._end is None:
            self._end = self._first_place_kept()
        return self._place(row) < self._end

    def _place(self, row: Row) -> int:
        seed = self._split.seed.to_bytes(8)
        content = fingerprint_of(row).to_bytes(8)
        return int.from_bytes(blake2b(content, digest_size=_BITS // 8, salt=seed).digest())

    def _first_place_kept(self) -> int:
        """Behind the places that hold the part asked for, or at least as many rows as asked for."""
        sums = list(accumulate(self._counts))
        wanted = max(self._split.at_least, round(sums[-1] * self._split.percent / 100))
        return next((place + 1 for place, rows in enumerate(sums) if rows >= wanted), len(sums))


def split_rows(rows: Sequence[R], split: Split) -> tuple[list[R], list[R]]:
    """Rows to train on, and rows held out."""
    splitter = Splitter(split)
    for row in rows:
        splitter.count(row)
    held_out = [splitter.holds_out(row) for row in rows]
    return (
        [row for row, out in zip(rows, held_out, strict=True) if not out],
        [row for row, out in zip(rows, held_out, strict=True) if out],
    )
