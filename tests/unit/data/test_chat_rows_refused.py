"""Supervised chat rows that are refused: by which rule, in which words, and never quoted."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.chat_rows import (
    answer,
    assistant,
    calling,
    image,
    nested,
    read_one,
    row,
    system,
    text,
    tool,
    tool_call,
    user,
)

SECRET_WORD = "pineapple"


@pytest.mark.parametrize(
    ("refused", "want_problem"),
    [
        # The line
        pytest.param("this is no JSON", "is not JSON", id="plain text"),
        pytest.param('{"messages": [}', "is not JSON", id="broken brackets"),
        pytest.param(json.dumps(row())[:-5], "is not JSON", id="cut off"),
        pytest.param("[1, 2]", "not a JSON object", id="a list"),
        pytest.param("null", "not a JSON object", id="null"),
        pytest.param("{", "spread over lines", id="a pretty-printed file"),
        pytest.param('{"messages": NaN}', "number that JSON cannot carry", id="NaN"),
        pytest.param(b'{"messages": "\xff\xfe"}', "not UTF-8", id="Latin-1 bytes"),
        pytest.param(json.dumps(row()).encode("utf-16"), "not UTF-8", id="UTF-16"),
        pytest.param("[" * 100_000, "nested too deeply", id="nested without end"),
        # The object
        pytest.param({}, "no `messages`", id="an empty object"),
        pytest.param({"prompt": "a", "completion": "b"}, "instead of `prompt`", id="completions"),
        pytest.param({"text": "a"}, "instead of `text`", id="plain language modelling"),
        pytest.param({"conversations": []}, "instead of `conversations`", id="ShareGPT"),
        pytest.param(
            {"input": {}, "preferred_output": [], "non_preferred_output": []},
            "preference training",
            id="a preference row",
        ),
        pytest.param({"messages": {}}, "must be a list", id="messages are an object"),
        pytest.param({"messages": []}, "at least one message", id="no message"),
        pytest.param(row(functions=[]), "`tools` and `tool_calls`", id="old functions"),
        pytest.param(row(function_call="auto"), "old `functions` form", id="old function call"),
        pytest.param(row(parallel_tool_calls="no"), "true or false", id="parallel as text"),
        # Messages
        pytest.param(row("hello"), "message 1 must be an object", id="a message is text"),
        pytest.param(row({"content": "a"}), "message 1: `role`", id="no role"),
        pytest.param(row(user(), {"role": "bot", "content": "a"}), "message 2: `role`", id="bot"),
        pytest.param(row({"role": ["user"], "content": "a"}), "`role` must be", id="role as list"),
        pytest.param(
            row({"role": "developer", "content": "a"}, user(), assistant()),
            'role "system"',
            id="developer",
        ),
        pytest.param(
            row(user(), {"role": "function", "name": "f", "content": "1"}, assistant()),
            "old function form",
            id="a function's answer",
        ),
        pytest.param(
            row(user(), {**assistant(), "function_call": {}}), "old function form", id="old call"
        ),
        pytest.param(row(user(), assistant(), user()), "last message", id="ends with the user"),
        pytest.param(row(user()), "no assistant message", id="no assistant"),
        pytest.param(row(system(), assistant()), "no user message", id="no user"),
        # Contents
        pytest.param(row({"role": "user"}, assistant()), "message 1 has no `content`", id="none"),
        pytest.param(row(user(), assistant(None)), "message 2 has no `content`", id="null answer"),
        pytest.param(row(user(), assistant("")), "empty answer", id="empty answer"),
        pytest.param(row(user(7), assistant()), "a string or a list", id="a number"),
        pytest.param(row(user({"a": 1}), assistant()), "a string or a list", id="an object"),
        pytest.param(row(user([]), assistant()), "a string or a list", id="no parts"),
        pytest.param(row(user(["a"]), assistant()), "part 1 must be an object", id="bare part"),
        pytest.param(row(user([text(1)]), assistant()), "`text` must be", id="a number as text"),
        pytest.param(
            row(user([{"type": "input_audio"}]), assistant()), "`type` must be text", id="audio"
        ),
        pytest.param(row(user(name=""), assistant()), "`name` must be", id="empty name"),
        pytest.param(row(user("a\x00b"), assistant()), "U+0000", id="a null character"),
        pytest.param(row(user(), assistant("\x1b[31m")), "U+001B", id="a terminal's escape"),
        pytest.param(row(user([text("\x07")]), assistant()), "U+0007", id="a bell in a part"),
        pytest.param(row(user("\ud800"), assistant()), "surrogate", id="half an emoji"),
        pytest.param(
            row(user(), assistant(), tools=[tool(description="\ud83d")]),
            "tool 1 holds half of a surrogate pair",
            id="half an emoji in a tool's description",
        ),
        pytest.param(
            row(user(), assistant(), tools=[tool(), tool("b", parameters={"x": [{"\ude00": 1}]})]),
            "tool 2 holds half of a surrogate pair",
            id="half an emoji as a key deep in a tool",
        ),
        pytest.param(
            row(user(), calling(tool_call(arguments='{"a": ["\\ud83d"]}')), tools=[tool()]),
            "message 2, call 1: `arguments` holds half of a surrogate pair",
            id="half an emoji in the arguments of a call, escaped twice",
        ),
        pytest.param(
            row(user(), calling(tool_call(arguments='{"\ud83d": 1}')), tools=[tool()]),
            "`arguments` holds half of a surrogate pair",
            id="half an emoji as the name of an argument",
        ),
        pytest.param(
            row(user(), calling(tool_call("a\ud83d")), answer("a\ud83d"), tools=[tool()]),
            "message 2, call 1: `id` holds half of a surrogate pair",
            id="half an emoji in a call's id",
        ),
        pytest.param(
            row(user(), answer("\ud83d"), assistant(), tools=[tool()]),
            "message 2: `tool_call_id` holds half of a surrogate pair",
            id="half an emoji in an answer's id",
        ),
        pytest.param(
            row(user(), assistant(), tools=[tool(description="\x00")]), "tool 1 holds the control",
            id="a null character in a tool",
        ),
        pytest.param(
            row(user(), assistant(), tools=[tool(parameters=nested(150))]),
            "tool 1 is nested too deeply",
            id="a tool that is nested deeper than what renders it can follow",
        ),
        pytest.param(
            row(user(), calling(tool_call(arguments=json.dumps(nested(150)))), tools=[tool()]),
            "`arguments` is nested too deeply",
            id="arguments that are nested deeper than what renders them can follow",
        ),
        # Weights
        pytest.param(row(user(), assistant(weight=2)), "`weight` must be", id="weight 2"),
        pytest.param(row(user(), assistant(weight=0.5)), "`weight` must be", id="half a weight"),
        pytest.param(row(user(), assistant(weight="1")), "`weight` must be", id="weight as text"),
        pytest.param(row(user(), assistant(weight=True)), "`weight` must be", id="weight true"),
        pytest.param(
            row(user(weight=0), assistant()), "`weight` is for assistant", id="weighted user"
        ),
        pytest.param(row(user(), assistant(weight=0)), "nothing would be trained", id="all zero"),
        # Tools
        pytest.param(row(tools=[]), "at least one tool", id="no tools in the list"),
        pytest.param(row(tools={}), "must be a list", id="tools are an object"),
        pytest.param(row(tools=["price"]), "tool 1: write an object", id="a tool is a name"),
        pytest.param(row(tools=[{"type": "web"}]), 'tool 1: write an object with `type` "function"',
                     id="another type of tool"),
        pytest.param(row(tools=[{"type": "function"}]), "`function` must be", id="no function"),
        pytest.param(row(tools=[tool("a b")]), "tool 1: `name`", id="a name with a space"),
        pytest.param(row(tools=[tool("a" * 65)]), "tool 1: `name`", id="a long name"),
        pytest.param(row(tools=[tool(), tool()]), "same name", id="twins"),
        pytest.param(row(tools=[tool(description=1)]), "`description`", id="numeric description"),
        pytest.param(row(tools=[tool(parameters=[])]), "`parameters`", id="parameters as a list"),
        # Calls
        pytest.param(row(user(), calling()), "declares none; add `tools`", id="undeclared tools"),
        pytest.param(
            row(user(), calling(tool_call(name="rate")), tools=[tool()]),
            "`name` must be one of",
            id="an unknown tool",
        ),
        pytest.param(
            row(user(), {"role": "assistant", "tool_calls": []}, tools=[tool()]),
            "at least one call",
            id="an empty list of calls",
        ),
        pytest.param(
            row(user(), calling(tool_call("")), tools=[tool()]), "`id` must be", id="empty call id"
        ),
        pytest.param(
            row(user(), calling(tool_call(), tool_call()), tools=[tool()]),
            "same `id`",
            id="two calls of one id",
        ),
        pytest.param(
            row(user(), calling(tool_call(arguments={"symbol": "BAC"})), tools=[tool()]),
            "`arguments` must be a string",
            id="arguments as an object",
        ),
        pytest.param(
            row(user(), calling(tool_call(arguments="{symbol}")), tools=[tool()]),
            "`arguments` must be a string",
            id="arguments that are no JSON",
        ),
        pytest.param(
            row(user(), calling(tool_call(arguments="[1]")), tools=[tool()]),
            "holds a JSON object",
            id="arguments as a list",
        ),
        pytest.param(
            row(user(), calling(tool_call(type="web")), tools=[tool()]),
            "call 1: write an object",
            id="a call of another type",
        ),
        pytest.param(
            row(user(tool_calls=[]), assistant()), "for assistant messages", id="the user calls"
        ),
        pytest.param(
            row(user(tool_call_id="a"), assistant()), "for tool messages", id="the user answers"
        ),
        pytest.param(
            row(user(), answer(), assistant(), tools=[tool()]), "answers no open call", id="unasked"
        ),
        pytest.param(
            row(user(), calling(), answer("call_9"), assistant(), tools=[tool()]),
            "message 3 answers no open call",
            id="an answer to another call",
        ),
        pytest.param(
            row(user(), calling(), answer(), answer(), assistant(), tools=[tool()]),
            "message 4 answers no open call",
            id="answered twice",
        ),
        pytest.param(
            row(user(), calling(), answer(None), assistant(), tools=[tool()]),
            "needs the `tool_call_id`",
            id="an answer without id",
        ),
        pytest.param(
            row(user(), calling(), answer(content=None), assistant(), tools=[tool()]),
            "message 3 has no `content`",
            id="an answer without content",
        ),
        pytest.param(
            row(user(), calling(), user(), assistant(), tools=[tool()]),
            "message 3 comes before every call is answered",
            id="a call that nobody answers",
        ),
        pytest.param(
            row(
                user(),
                calling(tool_call("a"), tool_call("b")),
                answer("a"),
                assistant(),
                tools=[tool()],
            ),
            "message 4 comes before every call is answered",
            id="one of two calls answered",
        ),
        # Images
        pytest.param(
            row(user([text(), image()]), assistant()),
            "by `azureOpenAI` only",
            id="an image in the cluster",
        ),
    ],
)  # fmt: skip
def test_a_row_is_refused(tmp_path: Path, refused: Any, want_problem: str) -> None:
    found = read_one(tmp_path, refused)

    assert want_problem in found.problem
    assert found.line == 1
    assert len(found.problem) <= 200


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(f'{{"messages": {SECRET_WORD}}}', id="not JSON"),
        pytest.param(row({"role": SECRET_WORD, "content": "a"}), id="role"),
        pytest.param(row(user(), assistant(), user(SECRET_WORD)), id="content"),
        pytest.param(row(user(), calling(tool_call(name=SECRET_WORD)), tools=[tool()]), id="call"),
        pytest.param(row(user(), calling(tool_call(arguments=SECRET_WORD)), tools=[tool()]),
                     id="arguments"),
        pytest.param(row(user([image(f"ftp://{SECRET_WORD}")]), assistant()), id="image"),
        pytest.param({SECRET_WORD: 1}, id="key"),
    ],
)  # fmt: skip
def test_a_problem_never_quotes_the_row(tmp_path: Path, line: Any) -> None:
    assert SECRET_WORD not in read_one(tmp_path, line, images=True).problem
