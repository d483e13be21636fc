"""Supervised chat rows that are accepted: their images, their form, keys that nothing reads."""

from pathlib import Path
from typing import Any

import pytest

from finetune_data.chat import ChatRow
from finetune_data.messages import MAX_IMAGES
from support.chat_rows import (
    answer,
    assistant,
    calling,
    image,
    read_one,
    row,
    system,
    text,
    tool,
    tool_call,
    user,
)


@pytest.mark.parametrize(
    "accepted",
    [
        pytest.param(row(), id="system, user, assistant"),
        pytest.param(row(user(), assistant()), id="no system message"),
        pytest.param(row(user(), assistant(), user(), assistant()), id="two turns"),
        pytest.param(row(user(), assistant(weight=0), user(), assistant(weight=1)), id="weights"),
        pytest.param(row(assistant("Hello"), user(), assistant()), id="the assistant opens"),
        pytest.param(row(user([text()]), assistant([text("A cat")])), id="contents as parts"),
        pytest.param(row(user(name="ada"), assistant()), id="a named user"),
        pytest.param(row(system(""), user(), assistant()), id="an empty system message"),
        pytest.param(row(user("a\tb\r\nc"), assistant()), id="tabs and line ends"),
        pytest.param(row(user("Grüße 🙂"), assistant("好")), id="other scripts"),
        pytest.param(row(user(), calling(), tools=[tool()]), id="ends with a call"),
        pytest.param(
            row(user(), calling(), answer(), assistant(), tools=[tool()]), id="a call answered"
        ),
        pytest.param(
            row(
                user(),
                calling(tool_call("a"), tool_call("b")),
                answer("b"),
                answer("a"),
                assistant(),
                tools=[tool()],
            ),
            id="parallel calls answered in any order",
        ),
        pytest.param(
            row(user(), calling(), answer(), calling(), answer(), assistant(), tools=[tool()]),
            id="the same call id again in a later turn",
        ),
        pytest.param(
            row(user(), {**calling(), "content": None}, tools=[tool()]), id="null beside a call"
        ),
        pytest.param(
            row(user(), calling(tool_call(arguments="{}")), tools=[tool()]), id="no arguments"
        ),
        pytest.param(row(tools=[tool()], parallel_tool_calls=False), id="tools that nobody calls"),
        pytest.param(
            row(tools=[{"type": "function", "function": {"name": "now"}}]), id="bare tool"
        ),
    ],
)
def test_a_row_is_accepted(tmp_path: Path, accepted: Any) -> None:
    assert isinstance(read_one(tmp_path, accepted), ChatRow)


@pytest.mark.parametrize(
    ("line", "want_problem"),
    [
        pytest.param(row(user([text(), image()]), assistant()), None, id="an image by address"),
        pytest.param(
            row(user([image("data:image/png;base64,iVBORw0=", detail="low")]), assistant()),
            None,
            id="an image as data",
        ),
        pytest.param(
            row(user(), assistant([image()])), "system and user messages only", id="drawn by AI"
        ),
        pytest.param(
            row(user([image("http://example.test/a.png")]), assistant()), "https://", id="http"
        ),
        pytest.param(
            row(user([image("data:image/gif;base64,R0lG")]), assistant()), "JPEG, PNG", id="GIF"
        ),
        pytest.param(row(user([image(detail=["low"])]), assistant()), "`detail`", id="odd detail"),
        pytest.param(
            row(user([{"type": "image_url", "image_url": "https://a"}]), assistant()),
            "`image_url` must be an object",
            id="a bare address",
        ),
        pytest.param(
            row(user([image()] * (MAX_IMAGES + 1)), assistant()), "more than 64", id="an album"
        ),
    ],
)
def test_images_of_hosted_jobs(tmp_path: Path, line: Any, want_problem: str | None) -> None:
    found = read_one(tmp_path, line, images=True)

    if want_problem is None:
        assert isinstance(found, ChatRow)
    else:
        assert want_problem in found.problem


def test_messages_take_the_form_of_chat_templates(tmp_path: Path) -> None:
    line = row(
        user([text("Price of "), text("BAC?")]),
        {**calling(), "content": None, "weight": 0},
        answer(),
        assistant(weight=1),
        tools=[tool()],
    )
    got = read_one(tmp_path, line)

    assert got.messages == [
        {"role": "user", "content": "Price of BAC?"},
        {
            "role": "assistant",
            "content": "",
            "weight": 0,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "price", "arguments": {"symbol": "BAC"}},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "37.10"},
        {"role": "assistant", "content": "42", "weight": 1},
    ]
    assert got.tools == [tool()]


@pytest.mark.parametrize(
    ("line", "want"),
    [
        pytest.param(row(), False, id="nothing unknown"),
        pytest.param(row(tools=[tool()], parallel_tool_calls=True), False, id="every known key"),
        pytest.param(row(source="web"), True, id="a key of the row"),
        pytest.param(row(user(), assistant(wieght=0)), True, id="a misspelt weight"),
    ],
)
def test_keys_that_nothing_reads_are_noticed(tmp_path: Path, line: Any, want: bool) -> None:
    assert read_one(tmp_path, line).unread_keys is want
