"""Whole files: which lines are rows, how bad ones are counted, what a file's report says."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from finetune_api.pods import BadRow
from finetune_data import lines
from finetune_data.chat import DataError, parse_chat, read_chat_rows
from finetune_data.lines import JsonLines, sha256_of
from finetune_data.report import check_file, training_warnings, validation_warnings
from support.chat_rows import assistant, numbered_rows, row, user, write_jsonl

EXAMPLES = Path(__file__).parents[3] / "examples" / "data"
BOM = b"\xef\xbb\xbf"
GOOD = json.dumps(row())


@pytest.mark.parametrize(
    ("name", "want_rows"),
    [
        pytest.param("gsm8k-sft/train", 449, id="mathematics, training"),
        pytest.param("gsm8k-sft/validation", 50, id="mathematics, validation"),
        pytest.param("stock-toolcall-sft/train", 86, id="tool calls, training"),
        pytest.param("stock-toolcall-sft/validation", 10, id="tool calls, validation"),
    ],
)
def test_example_data_is_in_order(name: str, want_rows: int) -> None:
    assert len(read_chat_rows(EXAMPLES / f"{name}.jsonl")) == want_rows


@pytest.mark.parametrize(
    ("content", "want_lines"),
    [
        pytest.param(f"{GOOD}\n{GOOD}\n".encode(), [1, 2], id="plain"),
        pytest.param(f"{GOOD}\n{GOOD}".encode(), [1, 2], id="no line end at the end"),
        pytest.param(BOM + f"{GOOD}\n{GOOD}\n".encode(), [1, 2], id="a byte order mark"),
        pytest.param(f"{GOOD}\r\n{GOOD}\r\n".encode(), [1, 2], id="line ends of Windows"),
        pytest.param(f"{GOOD}\n{GOOD}\n\n  \n\n".encode(), [1, 2], id="empty lines at the end"),
        pytest.param(f" {GOOD}\t\n".encode(), [1], id="blanks around a row"),
        pytest.param(
            json.dumps(row(user("a\u2028b\x85c"), assistant()), ensure_ascii=False).encode(),
            [1],
            id="characters that only some call line ends",
        ),
    ],
)
def test_rows_are_found(tmp_path: Path, content: bytes, want_lines: list[int]) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)

    assert [found.line for found in read_chat_rows(path)] == want_lines


@pytest.mark.parametrize(
    ("content", "want"),
    [
        pytest.param(b"", [(1, "the file is empty")], id="empty"),
        pytest.param(b"\n\n", [(1, "the file is empty")], id="empty lines only"),
        pytest.param(BOM, [(1, "the file is empty")], id="a byte order mark only"),
        pytest.param(f"{GOOD}\n\n\n{GOOD}\n".encode(), [(2, "line is empty"), (3, "line is empty")],
                     id="empty lines in between"),
        pytest.param(f"[\n{GOOD}\n]\n".encode(),
                     [(1, "spread over lines"), (3, "not JSON")], id="a JSON list"),
        pytest.param(f"{GOOD}\n{BOM.decode()}{GOOD}".encode(), [(2, "not JSON")],
                     id="two files glued together, each with a byte order mark"),
    ],
)  # fmt: skip
def test_lines_that_are_no_rows(
    tmp_path: Path, content: bytes, want: list[tuple[int, str]]
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)

    with pytest.raises(DataError) as caught:
        read_chat_rows(path)

    found = caught.value.bad_rows
    assert [bad.line for bad in found] == [line for line, _ in want]
    for bad, (_, words) in zip(found, want, strict=True):
        assert words in bad.problem


def test_row_37_of_50_is_broken(tmp_path: Path) -> None:
    rows: list[Any] = numbered_rows(50)
    rows[36] = json.dumps(rows[36])[:-7]
    path = write_jsonl(tmp_path / "data.jsonl", rows)

    with pytest.raises(DataError) as caught:
        read_chat_rows(path)

    assert caught.value.total == 1
    assert [bad.line for bad in caught.value.bad_rows] == [37]
    assert str(caught.value).startswith("1 row cannot be used; line 37: the line is not JSON (")


def test_all_bad_rows_are_counted_and_ten_are_named(tmp_path: Path) -> None:
    rows: list[Any] = numbered_rows(40)
    for line in range(2, 41, 2):
        rows[line - 1] = row(user())
    path = write_jsonl(tmp_path / "data.jsonl", rows)

    with pytest.raises(DataError) as caught:
        read_chat_rows(path)

    assert caught.value.total == 20
    assert [bad.line for bad in caught.value.bad_rows] == list(range(2, 21, 2))
    assert str(caught.value) == (
        "20 rows cannot be used (lines 2, 4, 6, 8, 10, 12, 14, 16, 18, 20 and 10 more); "
        "line 2: the row has no assistant message; add one"
    )


def test_three_different_mistakes_are_told_each_once(tmp_path: Path) -> None:
    twice, other, third, fourth = row(user()), "{", b"\xff", ""
    path = write_jsonl(tmp_path / "data.jsonl", [twice, twice, other, third, fourth, GOOD])

    with pytest.raises(DataError) as caught:
        read_chat_rows(path)

    said = str(caught.value)
    assert said.startswith("5 rows cannot be used (lines 1, 2, 3, 4, 5); line 1: ")
    assert re.findall(r"; line (\d+): ", said) == ["1", "3", "4"]


def test_a_line_of_no_end_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1000)
    exact = json.dumps(row(user(), assistant("x"))).encode()
    exact += b" " * (1000 - len(exact))
    path = write_jsonl(tmp_path / "data.jsonl", [exact, b"y" * 5000, GOOD])

    read = list(JsonLines(path))

    assert [(line.number, line.content is None) for line in read] == [
        (1, False),
        (2, True),
        (3, False),
    ]


def test_digest_and_size_are_those_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(BOM + f"{GOOD}\r\n{GOOD}\n\n".encode())

    check = check_file(path, parse_chat)

    assert check.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == sha256_of(path)
    assert check.size == path.stat().st_size
    assert check.examples == 2


def test_progress_is_told_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PROGRESS_BYTES", 1000)
    path = write_jsonl(tmp_path / "data.jsonl", [GOOD] * 100)
    told: list[int] = []

    check_file(path, parse_chat, progress=told.append)

    assert len(told) > 5
    assert told == sorted(told)
    assert told[-1] <= path.stat().st_size


def test_rows_equal_but_for_their_spelling_are_duplicates(tmp_path: Path) -> None:
    spelled = {
        "messages": [
            {"content": "What is 6 times 7?", "role": "user"},
            {"content": [{"type": "text", "text": "42"}], "role": "assistant"},
        ]
    }
    path = write_jsonl(
        tmp_path / "data.jsonl", [row(user(), assistant()), spelled, row(user("?"), assistant())]
    )

    assert check_file(path, parse_chat).rows.duplicates == 1


def test_bad_rows_do_not_hide_each_other(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", ["x"] * 12 + [GOOD])

    check = check_file(path, parse_chat)

    assert (check.bad_total, len(check.bad_rows), check.examples) == (12, 10, 1)
    assert isinstance(check.bad_rows[0], BadRow)


@pytest.mark.parametrize(
    ("rows", "has_validation", "want"),
    [
        pytest.param(numbered_rows(60), True, [], id="nothing to say"),
        pytest.param(numbered_rows(49), True, ["49 rows only: from about 50 on"], id="few rows"),
        pytest.param(numbered_rows(60), False, ["no validation data"], id="no validation data"),
        pytest.param(
            numbered_rows(60) + numbered_rows(3),
            True,
            ["3 rows equal to an earlier one"],
            id="twins",
        ),
        pytest.param(
            [
                *numbered_rows(60),
                row(user(), assistant(wieght=0)),
                row(user("a"), assistant("b"), sourse="web"),
            ],
            True,
            ["2 rows with keys that nothing reads, line 61 first"],
            id="misspelt keys",
        ),
    ],
)  # fmt: skip
def test_warnings_about_training_data(
    tmp_path: Path, rows: list[Any], has_validation: bool, want: list[str]
) -> None:
    check = check_file(write_jsonl(tmp_path / "data.jsonl", rows), parse_chat)

    got = training_warnings(check, has_validation=has_validation)

    assert len(got) == len(want)
    for sentence, words in zip(got, want, strict=True):
        assert words in sentence


def test_rows_of_both_files_are_told(tmp_path: Path) -> None:
    training = check_file(write_jsonl(tmp_path / "train.jsonl", numbered_rows(60)), parse_chat)
    validation = check_file(
        write_jsonl(tmp_path / "validation.jsonl", numbered_rows(5)), parse_chat
    )

    (warning,) = validation_warnings(validation, training)

    assert warning.startswith("5 rows of the validation data also in the training data")
