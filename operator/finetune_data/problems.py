"""What is wrong with a row, a file, a source or a tokenizer: sentences that never quote the data.

Knows neither formats nor files nor networks.
"""

from collections.abc import Sequence

from finetune_api.pods import BadRow

MAX_FILE_BYTES = 512 * 1024 * 1024
"""Of a data file that is downloaded."""
MAX_BAD_ROWS_SHOWN = 10
_MISTAKES_TOLD = 3
"""Each at most 200 characters: a message of status takes 1024."""


class RowProblem(Exception):
    """One sentence (≤ 200 characters) that says what is wrong with a row and what to do."""


class DataError(Exception):
    """A file with rows that cannot be used.

    Attributes:
        bad_rows: The first of them, at most MAX_BAD_ROWS_SHOWN.
        total: How many there are.
    """

    def __init__(self, bad_rows: Sequence[BadRow], total: int) -> None:
        self.bad_rows = tuple(bad_rows[:MAX_BAD_ROWS_SHOWN])
        self.total = total
        super().__init__(describe(self.bad_rows, total))


class SourceError(Exception):
    """A source that could not be read: one sentence without credentials or query strings.

    Attributes:
        transient: Worth another try later, as against a setting that the user must change.
    """

    def __init__(self, message: str, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


def check_size(where: str, size: int, limit: int) -> None:
    """SourceError for a file that is too large."""
    if size > limit:
        raise SourceError(
            f"the file at {where} is larger than {limit // 2**20} MiB; split it", False
        )


class TokenizerError(Exception):
    """A model without a tokenizer or chat template that can be used: one sentence."""


def describe(bad_rows: Sequence[BadRow], total: int) -> str:
    """A sentence for people: how many rows are bad, which, and the first different mistakes."""
    first_of: dict[str, int] = {}
    for row in bad_rows:
        first_of.setdefault(row.problem, row.line)
    mistakes = [f"line {line}: {problem}" for problem, line in first_of.items()]
    reading = "; ".join(mistakes[:_MISTAKES_TOLD])
    if total == 1:
        return f"1 row cannot be used; {reading}"
    lines = named([row.line for row in bad_rows], total)
    return f"{total} rows cannot be used ({lines}); {reading}"


def named(lines: Sequence[int], total: int) -> str:
    """The first of so many lines, in words."""
    if total == 1:
        return f"line {lines[0]}"
    more = f" and {total - len(lines)} more" if total > len(lines) else ""
    return f"lines {', '.join(map(str, lines))}{more}"


def sequence_too_long(asked: int, limit: int) -> str:
    """The sentence about rows that may be longer than the model reads."""
    return f"maxSequenceLength is {asked}, but the model reads at most {limit} tokens: lower it."
