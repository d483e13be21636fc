"""Reads a JSON Lines file row by row, whatever the format of its rows.

Knows lines and JSON objects; what a row must hold, its format's parser says.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar

from finetune_api.pods import BadRow
from finetune_data.lines import MAX_LINE_BYTES, JsonLines, Line
from finetune_data.problems import MAX_BAD_ROWS_SHOWN, DataError, RowProblem

Json = dict[str, Any]


class Asked(NamedTuple):
    """Messages, and the tools that may be called."""

    messages: list[Json]
    tools: list[Json] | None


class Row(Protocol):
    """What every format's rows have."""

    @property
    def line(self) -> int:
        """Where it stands, from 1."""
        ...

    @property
    def unread_keys(self) -> bool:
        """Whether it has keys that nothing reads: misspelt ones, perhaps."""
        ...

    def asked(self) -> Asked:
        """What the model is given: with `answered`, equal for rows that train the same."""
        ...

    def answered(self) -> object:
        """What it learns to make of it, as JSON."""
        ...

    def said(self) -> list[Json]:
        """Every message whose tokens count."""
        ...


R = TypeVar("R", bound=Row)
Parser = Callable[[Json, int], R]
"""From the JSON object of a line, and the line's number, to a row; RowProblem if it is none."""


def read_rows(path: Path, parse: Parser[R]) -> list[R]:
    """Every row of a file; DataError if a single one cannot be used."""
    rows: list[R] = []
    bad: list[BadRow] = []
    total = 0
    for item in scan(JsonLines(path), parse):
        if not isinstance(item, BadRow):
            rows.append(item)
            continue
        total += 1
        if len(bad) < MAX_BAD_ROWS_SHOWN:
            bad.append(item)
    if bad:
        raise DataError(bad, total)
    return rows


def usable_rows(path: Path, parse: Parser[R]) -> list[R]:
    """Every row of a file that can be used."""
    return [item for item in scan(JsonLines(path), parse) if not isinstance(item, BadRow)]


def scan(lines: JsonLines, parse: Parser[R]) -> Iterator[R | BadRow]:
    """Each row of a file in turn, usable or not; holds one row in memory.

    Empty lines at the end are no rows.
    """
    last = 0
    for line in lines:
        if line.content == b"":
            continue
        for skipped in range(last + 1, line.number):
            yield BadRow(line=skipped, problem="the line is empty; remove it")
        last = line.number
        try:
            yield parse(json_object(line), line.number)
        except RowProblem as problem:
            yield BadRow(line=line.number, problem=str(problem))
    if not last:
        yield BadRow(line=1, problem="the file is empty; write one JSON object per line")


def json_object(line: Line) -> Json:
    """The JSON object that a line holds; RowProblem if it holds none."""
    if line.content is None:
        limit = MAX_LINE_BYTES // (1024 * 1024)
        raise RowProblem(f"the line is longer than {limit} MiB; shorten or split the row")
    try:
        value = _DECODER.decode(line.content.decode())
    except UnicodeDecodeError:
        raise RowProblem("the line is not UTF-8 text; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise RowProblem(_not_json(line.content, error)) from None
    except RecursionError:
        raise RowProblem("the row is nested too deeply; flatten it") from None
    except ValueError:
        raise RowProblem("the line holds a number that JSON cannot carry; correct it") from None
    if not isinstance(value, dict):
        raise RowProblem("the line is not a JSON object; write one object in braces per line")
    return value


def _not_json(content: bytes, error: json.JSONDecodeError) -> str:
    if content in (b"{", b"["):
        return "the file is spread over lines; write each row as one object on one line"
    # The parser's own words name a position, never what stands there.
    return f"the line is not JSON ({error.msg}, column {error.colno}); correct it"


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
