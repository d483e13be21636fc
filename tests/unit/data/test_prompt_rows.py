"""Rows of reinforcement training: which are taken, and what is said of the others."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from finetune_api.graders import Grader
from finetune_api.pods import BadRow
from finetune_data.graders.checking import item_members
from finetune_data.graders.templates import placeholders
from finetune_data.lines import JsonLines
from finetune_data.prompts import PromptRow, parse_prompt
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

COUNTDOWN = Path(__file__).parents[3] / "examples" / "data" / "countdown-rft"

Json = dict[str, Any]


def a_prompt(*messages: Json, **more: Any) -> Json:
    """A row that asks, with the answer beside it."""
    return row(*(messages or (system(), user())), **({"answer": "42"} | more))


def read_one(tmp_path: Path, line: Any, *, images: bool = False, reads: str = "") -> Any:
    """What the scan of a file with this one line yields."""
    path = write_jsonl(tmp_path / "data.jsonl", [line])
    parse = partial(parse_prompt, images=images, members=tuple(placeholders(reads)))
    (item,) = scan(JsonLines(path), parse)
    return item


@pytest.mark.parametrize(
    ("line", "want_item"),
    [
        pytest.param(a_prompt(), {"answer": "42"}, id="an answer"),
        pytest.param(
            a_prompt(a=1, b={"c": [2]}), {"answer": "42", "a": 1, "b": {"c": [2]}}, id="more"
        ),
        pytest.param(a_prompt(user(), assistant(), user()), {"answer": "42"}, id="a conversation"),
        pytest.param(
            a_prompt(user(), calling(), answer(), assistant(), user(), tools=[tool()]),
            {"answer": "42"},
            id="tools are no item",
        ),
    ],
)
def test_rows_that_can_be_trained_on(tmp_path: Path, line: Json, want_item: Json) -> None:
    got = read_one(tmp_path, line, reads="{{item.answer}}")

    assert isinstance(got, PromptRow)
    assert got.item == want_item


@pytest.mark.parametrize(
    ("line", "want"),
    [
        pytest.param({"prompt": "x"}, "no `messages`", id="no messages"),
        pytest.param(
            a_prompt(user(), assistant()), "the last message must be the user's", id="answered"
        ),
        pytest.param(a_prompt(system()), "the last message must be the user's", id="nobody asks"),
        pytest.param(
            a_prompt(user(), calling(), user(), tools=[tool()]), "every call is answered", id="call"
        ),
        pytest.param(a_prompt(user([text(), image()])), "`azureOpenAI` only", id="an image"),
        pytest.param(a_prompt(answer="a\x00b"), "control character", id="a control character"),
        pytest.param(
            row(user()), "the grader reads item.answer, which the row does not have", id="no answer"
        ),
    ],
)
def test_rows_that_cannot(tmp_path: Path, line: Json, want: str) -> None:
    got = read_one(tmp_path, line, reads="{{item.answer}}")

    assert isinstance(got, BadRow)
    assert want in got.problem
    assert len(got.problem) <= 200


def test_the_developer_speaks_for_the_system(tmp_path: Path) -> None:
    got = read_one(tmp_path, a_prompt({"role": "developer", "content": "Be brief"}, user()))

    assert got.messages[0] == {"role": "system", "content": "Be brief"}


@pytest.mark.parametrize(
    ("name", "want_rows"),
    [pytest.param("train", 100, id="training"), pytest.param("validation", 50, id="validation")],
)
def test_the_example_data_set(name: str, want_rows: int) -> None:
    grader = Grader.model_validate_json((COUNTDOWN / "grader.json").read_bytes())
    parse = partial(parse_prompt, members=item_members(grader))

    rows = read_rows(COUNTDOWN / f"{name}.jsonl", parse)

    assert len(rows) == want_rows
    assert not any(found.unread_keys for found in rows)
