"""Compares the rows of a file with each other: twins, contradictions, near and dominant ones.

Memory is bounded whatever the file's size. Knows rows; must not know where they stand.
"""

import json
from array import array
from collections import Counter
from hashlib import blake2b
from zlib import crc32

from finetune_data.chat import ChatRow
from finetune_data.likeness import Sketches
from finetune_data.rows import Asked, Row

MAX_REMEMBERED_ROWS = 500_000
"""Rows beyond are not compared: 230 bytes each is what it costs, and as many while comparing."""

_MAX_ANSWERS = 100
_MANY_ROWS = 20
_DOMINANT = 1 / 3

_encode = json.JSONEncoder(sort_keys=True).encode


class Comparison:
    """What is known of the rows that were added."""

    def __init__(self) -> None:
        self.duplicates = 0
        """Rows that train the same as an earlier one."""
        self.contradictions = 0
        """Chat rows that ask what an earlier one asks, and answer differently."""
        self.fingerprints: set[int] = set()
        self._sketches = Sketches()
        """Of rows that ask something new."""
        self._sketched = array("Q")
        """Their fingerprints."""
        self._prompts: set[int] = set()
        self._answers: Counter[int] = Counter()
        self._answered = 0

    def add(self, row: Row) -> None:
        """Take one row."""
        asked, answer = row.asked(), _encode(row.answered())
        prompt, whole = _digests(asked, answer)
        if isinstance(row, ChatRow):
            self._count_answer(answer)
        if whole in self.fingerprints:
            self.duplicates += 1
            return
        if len(self.fingerprints) < MAX_REMEMBERED_ROWS:
            self.fingerprints.add(whole)
        if prompt not in self._prompts:
            if len(self._prompts) < MAX_REMEMBERED_ROWS:
                self._prompts.add(prompt)
            self._sketch(whole, asked, answer)
        elif isinstance(row, ChatRow):
            self.contradictions += 1

    def _sketch(self, whole: int, asked: Asked, answer: str) -> None:
        """System prompts are the same everywhere; pictures cannot be compared."""
        contents = [each["content"] for each in asked.messages if each["role"] != "system"]
        if len(self._sketched) < MAX_REMEMBERED_ROWS and all(
            isinstance(content, str) for content in contents
        ):
            self._sketched.append(whole)
            self._sketches.add("\n".join(contents), answer)

    def _count_answer(self, answer: str) -> None:
        """Rare answers make room for others; a frequent one loses less than a hundredth."""
        self._answered += 1
        self._answers[crc32(answer.encode())] += 1
        if len(self._answers) > _MAX_ANSWERS:
            self._answers = Counter(
                {each: count - 1 for each, count in self._answers.items() if count > 1}
            )

    def near_duplicates(self) -> int:
        """How many rows are nearly the same as an earlier one, and not quite."""
        return sum(self._sketches.near(self._sketches))

    def near(self, others: "Comparison") -> int:
        """How many rows are nearly the same as one of `others`, and not quite."""
        marks = self._sketches.near(others._sketches)
        return sum(
            mark and whole not in others.fingerprints
            for mark, whole in zip(marks, self._sketched, strict=True)
        )

    def dominant(self) -> float | None:
        """The part of many rows that one answer makes up, if that is more than a third."""
        if self._answered < _MANY_ROWS:
            return None
        share = max(self._answers.values(), default=0) / self._answered
        return share if share > _DOMINANT else None


def fingerprint_of(row: Row) -> int:
    """64 bits of a row's content: equal for rows that train the same, whatever their spelling."""
    return _digests(row.asked(), _encode(row.answered()))[1]


def _digests(asked: Asked, answer: str) -> tuple[int, int]:
    """Of what is asked, and of the whole row."""
    digest = blake2b(_encode(asked).encode(), digest_size=8)
    prompt = digest.digest()
    digest.update(answer.encode())
    return _number(prompt), _number(digest.digest())


def _number(digest: bytes) -> int:
    return int.from_bytes(digest)
