"""Which rows are nearly the same: sketches of their texts, compared without keeping any text.

A row is two texts, what is asked and what is answered. Each becomes eight minima of hashes over its
pieces, of three words or so; blanks, punctuation and case are left out. Texts are cut wherever
certain bytes stand, in any script: so a change concerns the piece that it is in, and no other.
Knows texts; must not know of formats or files.
"""

from array import array
from collections.abc import Iterator
from zlib import crc32

_MINIMA = 8
_SKETCH = 2 * _MINIMA
_BAND = 4
_NEAR = 0.75
_FEW_PIECES = 8
"""A text with fewer is compared as a whole."""

_NOT_WORDS = bytes(code for code in range(128) if not chr(code).isalnum())
_CUT = b"\n"
# Every fourteenth letter of English, and one byte of sixteen beyond ASCII.
_CUTS = b"CGWcgw\x87\x97\xa7\xb7"
_LOWER = bytes(range(256)).lower().translate(bytes.maketrans(_CUTS, _CUT * len(_CUTS)))

_SLOT = (1 << 22) - 1
_NOTHING = (1 << 32) - 1


class Sketches:
    """The sketches of rows, in order: 64 bytes each, and 230 more while they are compared."""

    def __init__(self) -> None:
        self._values = array("I")

    def __len__(self) -> int:
        return len(self._values) // _SKETCH

    def add(self, asked: str, answered: str) -> None:
        """Take one row."""
        self._values.extend(_minima(asked))
        self._values.extend(_minima(answered))

    def near(self, others: "Sketches") -> bytearray:
        """A mark for each row that is nearly the same as one of `others`, or as an earlier one.

        Near are rows of whose minima three in four agree, which estimates how many pieces their
        texts share. Of rows with a hundred words, most are found that differ in up to three words,
        one in seven of those that differ in eight, and none that differ in twenty or more. Short
        texts, below some 40 words, must be the same but for case, blanks and punctuation. What
        stands in more than one of twenty rows (in more than 4 of few rows, in more than 50 of
        many) is taken for a form that is filled in and does not count; nor does a row of which
        less than half is left.
        """
        forms = b""
        marks = bytearray(len(self))
        for number in range(_SKETCH // _BAND):  # one index in memory at a time
            first: dict[bytes, int] = {}
            for index, band in enumerate(others.bands(number)):
                first.setdefault(band, index)
            for index, band in enumerate(self.bands(number)):
                found = first.get(band)
                if found is None or marks[index] or (self is others and found == index):
                    continue
                forms = forms or others.forms()  # most files need none
                telling = [
                    mine == its
                    for mine, its in zip(self.row(index), others.row(found), strict=True)
                    if not (forms[mine & _SLOT] or forms[its & _SLOT])
                ]
                marks[index] = len(telling) >= _MINIMA and sum(telling) >= _NEAR * len(telling)
        return marks

    def forms(self) -> bytes:
        """For the lower bits of each value, whether it stands in too many rows to tell anything."""
        limit = max(4, min(50, len(self) // 20))
        counts = bytearray(_SLOT + 1)
        for slot in map(_SLOT.__and__, self._values):
            if counts[slot] <= limit:
                counts[slot] += 1
        counts[_NOTHING & _SLOT] = limit + 1
        return bytes(counts.translate(bytes(count > limit for count in range(256))))

    def bands(self, number: int) -> Iterator[bytes]:
        """The same four values of each row."""
        start = number * _BAND * self._values.itemsize
        step, size = _SKETCH * self._values.itemsize, _BAND * self._values.itemsize
        values = self._values.tobytes()
        return (values[at : at + size] for at in range(start, len(values), step))

    def row(self, index: int) -> "array[int]":
        """The values of one row."""
        return self._values[index * _SKETCH : (index + 1) * _SKETCH]


def _minima(text: str) -> list[int]:
    """The smallest hash of each residue. Half a surrogate pair is a text like any other here."""
    normal = text.encode("utf-8", "surrogatepass").translate(_LOWER, _NOT_WORDS)
    pieces = normal.split(_CUT)
    if len(pieces) < _FEW_PIECES:
        return [crc32(normal, residue) for residue in range(_MINIMA)]
    minima = [_NOTHING] * _MINIMA
    for value in map(crc32, pieces):
        residue = value % _MINIMA
        if value < minima[residue]:
            minima[residue] = value
    return minima
