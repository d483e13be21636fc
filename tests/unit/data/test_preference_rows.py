"""Rows of preference training: which are taken, and what is said of the others."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from finetune_api.pods import BadRow
from finetune_data.lines import JsonLines
from finetune_data.preference import PreferenceRow, parse_preference
from finetune_data.report import check_file
from finetune_data.rows import read_rows, scan
from support.chat_rows import (
    answer,
    assistant,
    calling,
    image,
    row,
    system,
    text,
    tool,
    user,
    write_jsonl,
)

EXAMPLES = Path(__file__).parents[3] / "examples" / "data"
PREFERRED, OTHER = "preferred_output", "non_preferred_output"

Json = dict[str, Any]


def a_pair(*messages: Json, tools: Any = None, **changed: Any) -> Json:
    """A row that prefers 42 to 41."""
    asked: Json = {"messages": list(messages or (system(), user()))}
    if tools is not None:
        asked["tools"] = tools
    pair = {"input": asked, PREFERRED: [assistant("42")], OTHER: [assistant("41")]} | changed
    return {key: value for key, value in pair.items() if value is not None}


def read_one(tmp_path: Path, line: Any, *, images: bool = False) -> Any:
    """What the scan of a file with this one line yields."""
    path = write_jsonl(tmp_path / "data.jsonl", [line])
    (item,) = scan(JsonLines(path), partial(parse_preference, images=images))
    return item


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(a_pair(), id="two answers"),
        pytest.param(a_pair(user(), assistant("6"), user("And 7?")), id="a conversation before"),
        pytest.param(
            a_pair(user(), calling(), answer(), tools=[tool()]), id="the answer follows a tool's"
        ),
        pytest.param(
            a_pair(tools=[tool()], **{PREFERRED: [calling()]}), id="a call is preferred to words"
        ),
        pytest.param(
            a_pair(tools=[tool()], **{PREFERRED: [calling(), answer(), assistant()]}),
            id="a call, its answer and the last word",
        ),
    ],
)
def test_rows_that_can_be_trained_on(tmp_path: Path, line: Json) -> None:
    assert isinstance(read_one(tmp_path, line), PreferenceRow)


@pytest.mark.parametrize(
    ("line", "want"),
    [
        pytest.param(row(), "one of supervised training", id="a chat row"),
        pytest.param({"prompt": "a", "chosen": "b"}, "instead of `chosen`", id="TRL's columns"),
        pytest.param({}, "no `input`", id="nothing"),
        pytest.param(a_pair(input={}), "`input` has no `messages`", id="no messages"),
        pytest.param(a_pair(system()), "no user message", id="nobody asks"),
        pytest.param(a_pair(user(), assistant()), "must not end with an assistant", id="answered"),
        pytest.param(a_pair(**{PREFERRED: None}), "no `preferred_output`", id="one answer"),
        pytest.param(
            a_pair(**{OTHER: "41"}), "`non_preferred_output` must be a list", id="an answer as text"
        ),
        pytest.param(a_pair(**{OTHER: []}), "must be a list", id="an empty answer"),
        pytest.param(
            a_pair(**{OTHER: [assistant(), user()]}), "assistant and tool messages only", id="user"
        ),
        pytest.param(
            a_pair(**{OTHER: [assistant("42")]}), "both outputs are the same", id="no preference"
        ),
        pytest.param(
            a_pair(**{PREFERRED: [assistant("")]}),
            "`preferred_output`, message 1 is an empty answer",
            id="an empty text",
        ),
        pytest.param(
            a_pair(**{PREFERRED: [calling()]}), "the row declares none", id="a call without tools"
        ),
        pytest.param(
            a_pair(user(), calling(), tools=[tool()], **{PREFERRED: [answer(), assistant()]}),
            "must not end with an assistant",
            id="the call is in the input",
        ),
        pytest.param(a_pair(user([text(), image()])), "`azureOpenAI` only", id="an image"),
    ],
)
def test_rows_that_cannot(tmp_path: Path, line: Json, want: str) -> None:
    got = read_one(tmp_path, line)

    assert isinstance(got, BadRow)
    assert want in got.problem
    assert len(got.problem) <= 200


def test_images_are_for_the_service(tmp_path: Path) -> None:
    assert isinstance(
        read_one(tmp_path, a_pair(user([text(), image()])), images=True), PreferenceRow
    )


@pytest.mark.parametrize(
    ("line", "want"),
    [
        pytest.param(a_pair(), False, id="none"),
        pytest.param(a_pair(note="x"), True, id="beside the outputs"),
        pytest.param(a_pair(user() | {"rol": "x"}), True, id="in a message"),
        pytest.param(a_pair(**{OTHER: [assistant("41", x=1)]}), True, id="in an output"),
    ],
)
def test_keys_that_nothing_reads(tmp_path: Path, line: Json, want: bool) -> None:
    assert read_one(tmp_path, line).unread_keys is want


def test_the_example_data_set() -> None:
    rows = read_rows(EXAMPLES / "orca-dpo" / "validation.jsonl", parse_preference)

    assert len(rows) == 284
    assert not any(found.unread_keys for found in rows)


def test_duplicates_are_counted(tmp_path: Path) -> None:
    lines = [a_pair(), a_pair(**{OTHER: [assistant("40")]}), a_pair()]
    path = write_jsonl(tmp_path / "data.jsonl", lines)

    assert check_file(path, parse_preference).rows.duplicates == 1
