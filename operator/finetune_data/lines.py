"""Reads a JSON Lines file once, line by line, and knows its digest and size at the end.

Knows bytes only; what a line must contain is decided elsewhere.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_LINE_BYTES = 32 * 1024 * 1024
"""A longer line is not kept in memory; no row that can be trained on comes near."""

PROGRESS_BYTES = 16 * 1024 * 1024
"""How often progress is told."""

_BOM = b"\xef\xbb\xbf"
_BLOCK = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line by its number (from 1). `content` is None if it is longer than MAX_LINE_BYTES."""

    number: int
    content: bytes | None


class JsonLines:
    """The lines of one file. `sha256` and `size` are complete once every line was read."""

    def __init__(self, path: Path, progress: Callable[[int], None] | None = None) -> None:
        self._path = path
        self._progress = progress
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The digest of what was read so far, in lower-case hexadecimal."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Line]:
        told = 0
        with self._path.open("rb", buffering=_BLOCK) as file:
            number = 0
            while block := self._read(file.readline(MAX_LINE_BYTES + 1)):
                number += 1
                kept: bytes | None = block
                while len(block) > MAX_LINE_BYTES and not block.endswith(b"\n"):
                    kept = None
                    block = self._read(file.readline(MAX_LINE_BYTES + 1))
                yield Line(number=number, content=_text(kept, number))
                if self._progress and self.size - told >= PROGRESS_BYTES:
                    told = self.size
                    self._progress(told)

    def _read(self, block: bytes) -> bytes:
        self._digest.update(block)
        self.size += len(block)
        return block


def _text(line: bytes | None, number: int) -> bytes | None:
    """The line without its end and, at the start of the file, without a byte order mark."""
    if line is None:
        return None
    return (line.removeprefix(_BOM) if number == 1 else line).strip()


def sha256_of(path: Path) -> str:
    """The digest of a file, in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
