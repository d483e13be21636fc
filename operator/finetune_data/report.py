"""Checks a whole file in one pass: digest, counts, bad rows, duplicates; and makes warnings of it.

Memory is bounded whatever the file's size. Must not know of jobs, pods or services.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_api.pods import BadRow
from finetune_api.status import DataSetReport
from finetune_data.chat import ChatRow
from finetune_data.comparison import Comparison
from finetune_data.estimate import TokenEstimate
from finetune_data.lines import JsonLines
from finetune_data.problems import MAX_BAD_ROWS_SHOWN, RowProblem, describe, named
from finetune_data.rows import Parser, Row, scan
from finetune_data.tokens import TokenCounter

FEW_EXAMPLES = 50
"""Below this a fine-tuned model seldom differs from its base."""


@dataclass(kw_only=True)
class FileCheck:
    """What one file holds. Complete once `check_file` returned it."""

    sha256: str = ""
    size: int = 0
    examples: int = 0
    """Usable rows."""
    bad_rows: list[BadRow] = field(default_factory=list)
    """The first bad rows, at most MAX_BAD_ROWS_SHOWN."""
    bad_total: int = 0
    drop: bool = False
    """Whether rows that cannot be used are left out, and not bad."""
    dropped: int = 0
    dropped_rows: list[BadRow] = field(default_factory=list)
    """The first rows left out, at most MAX_BAD_ROWS_SHOWN."""
    unread_keys: int = 0
    """Rows with keys that nothing reads."""
    first_unread_line: int | None = None
    rows: Comparison = field(default_factory=Comparison, repr=False)
    tokens: TokenCounter | TokenEstimate | None = field(default=None, repr=False)

    def report(self, warnings: list[str]) -> DataSetReport:
        """The part that goes into status."""
        return DataSetReport(
            sha256=self.sha256,
            bytes=self.size,
            examples=self.examples,
            tokens=self.tokens.total if self.tokens else None,
            longest=self.tokens.longest if self.tokens else None,
            tokens_estimated=isinstance(self.tokens, TokenEstimate) or None,
            dropped=self.dropped or None,
            warnings=warnings or None,
        )


def check_file(
    path: Path,
    parse: Parser[Any],
    *,
    tokens: TokenCounter | TokenEstimate | None = None,
    drop: bool = False,
    progress: Callable[[int], None] | None = None,
) -> FileCheck:
    """Check every row of a file.

    Args:
        path: The file.
        parse: Reads a row of the format that is expected.
        tokens: Counts chat rows that are usable; those that a template refuses are bad ones.
        drop: Leave out what cannot be used. A row that is only too long is bad nevertheless.
        progress: Told the bytes read so far, now and then.
    """
    lines = JsonLines(path, progress)
    check = FileCheck(tokens=tokens, drop=drop)
    for item in scan(lines, parse):
        _take(check, item)
    _complete(check, lines)
    return check


def check_split(
    path: Path,
    parse: Parser[Any],
    holds_out: Callable[[Row], bool],
    *,
    tokens: tuple[TokenCounter | TokenEstimate | None, TokenCounter | TokenEstimate | None],
    drop: bool = False,
    progress: Callable[[int], None] | None = None,
) -> tuple[FileCheck, FileCheck]:
    """Check a file of which some rows are held out; what is no row counts as one of training.

    The lines that are told, the digest and the size are those of the whole file.
    """
    lines = JsonLines(path, progress)
    training, validation = (FileCheck(tokens=each, drop=drop) for each in tokens)
    for item in scan(lines, parse):
        held_out = not isinstance(item, BadRow) and holds_out(item)
        _take(validation if held_out else training, item)
    _complete(training, lines)
    _complete(validation, lines)
    return training, validation


def _complete(check: FileCheck, lines: JsonLines) -> None:
    if isinstance(check.tokens, TokenCounter):
        check.tokens.flush()
        _take_unanswered(check, check.tokens)
    check.sha256, check.size = lines.sha256, lines.size


def _counted(tokens: TokenCounter | TokenEstimate | None, row: Row) -> Row | BadRow:
    """The row, unless the model's template refuses it. Only chat rows are trained by templates."""
    match tokens, row:
        case TokenEstimate(), _:
            tokens.add(row)
        case TokenCounter(), ChatRow():
            try:
                tokens.add(row)
            except RowProblem as problem:
                return BadRow(line=row.line, problem=str(problem))
    return row


def _take(check: FileCheck, item: Row | BadRow) -> None:
    if not isinstance(item, BadRow):
        item = _counted(check.tokens, item)
    if not isinstance(item, BadRow):
        _take_good(check, item)
        return
    if check.drop:
        check.dropped += 1
        shown = check.dropped_rows
    else:
        check.bad_total += 1
        shown = check.bad_rows
    if len(shown) < MAX_BAD_ROWS_SHOWN:
        shown.append(item)


def _take_unanswered(check: FileCheck, tokens: TokenCounter) -> None:
    """Rows that seemed usable until they were counted."""
    problem = (
        f"no answer is left within {tokens.limit} tokens: raise hyperparameters.maxSequenceLength, "
        "or shorten or remove the row"
    )
    found = [BadRow(line=line, problem=problem) for line in tokens.unanswered_lines]
    check.bad_rows = sorted([*check.bad_rows, *found], key=lambda bad: bad.line)
    del check.bad_rows[MAX_BAD_ROWS_SHOWN:]
    check.bad_total += tokens.unanswered
    check.examples -= tokens.unanswered


def _take_good(check: FileCheck, row: Row) -> None:
    check.examples += 1
    if row.unread_keys:
        check.unread_keys += 1
        check.first_unread_line = check.first_unread_line or row.line
    check.rows.add(row)


def training_warnings(check: FileCheck, *, has_validation: bool) -> list[str]:
    """Sentences about training data that can be used but may disappoint."""
    warnings = _warnings(check)
    if check.examples < FEW_EXAMPLES:
        warnings.append(
            f"{_rows(check.examples)} only: from about {FEW_EXAMPLES} on a model begins to change"
        )
    if not has_validation:
        warnings.append("no validation data: nothing will show whether the model only memorises")
    return warnings


def validation_warnings(check: FileCheck, training: FileCheck) -> list[str]:
    """Sentences about validation data, seen beside the training data."""
    warnings = _warnings(check)
    if overlap := len(check.rows.fingerprints & training.rows.fingerprints):
        warnings.append(
            f"{_rows(overlap)} of the validation data also in the training data: "
            "the validation loss will look better than it is"
        )
    if near := check.rows.near(training.rows):
        warnings.append(
            f"{_rows(near)} of the validation data nearly the same as one of the training data: "
            "remove or replace them, or the validation loss will look better than it is"
        )
    return warnings


def _warnings(check: FileCheck) -> list[str]:
    warnings = []
    if check.dropped:
        warnings.append(f"left out: {describe(check.dropped_rows, check.dropped)}")
    rows = check.rows
    if rows.duplicates:
        warnings.append(
            f"{_rows(rows.duplicates)} equal to an earlier one: remove them, unless more weight is"
            " meant"
        )
    if near := rows.near_duplicates():
        warnings.append(
            f"{_rows(near)} nearly the same as an earlier one: remove them, or vary them more"
        )
    if rows.contradictions:
        warnings.append(
            f"{_rows(rows.contradictions)} with the prompt of an earlier one and another answer:"
            " keep the best answer of each, unless variety is meant"
        )
    if share := rows.dominant():
        warnings.append(
            f"one answer makes up {share:.0%} of the rows: the model may give it always; add rows"
            " with other answers"
        )
    if check.unread_keys:
        warnings.append(
            f"{_rows(check.unread_keys)} with keys that nothing reads, line "
            f"{check.first_unread_line} first; check their spelling"
        )
    if isinstance(check.tokens, TokenEstimate):
        if check.tokens.over_limit:
            warnings.append(
                f"{_rows(check.tokens.over_limit)} longer than the {check.tokens.limit} tokens that"
                " the service trains on, by estimate"
                f" ({named(check.tokens.over_lines, check.tokens.over_limit)}):"
                " shorten or split them, or they are cut"
            )
    elif check.tokens and check.tokens.over_limit:
        warnings.append(
            f"{_rows(check.tokens.over_limit)} longer than {check.tokens.limit} tokens are cut; "
            "to keep them whole, raise hyperparameters.maxSequenceLength in a new FineTuneJob"
        )
    return warnings


def _rows(number: int) -> str:
    return f"{number} row{'' if number == 1 else 's'}"
