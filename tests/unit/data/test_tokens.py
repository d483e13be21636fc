"""Token counts from a tokenizer and template made in code; what a broken model folder says."""

from pathlib import Path
from typing import Any

import pytest

from finetune_data.chat import ChatRow, parse_chat, read_chat_rows
from finetune_data.problems import TokenizerError
from finetune_data.report import check_file, training_warnings
from finetune_data.tokens import ChatTokenizer, TokenCounter
from support.chat_rows import (
    assistant,
    calling,
    numbered_rows,
    row,
    system,
    tool,
    tool_call,
    user,
    write_jsonl,
)
from support.tiny_tokenizer import CHAT_TEMPLATE, make_tokenizer


def read_one(tmp_path: Path, line: object) -> ChatRow:
    (found,) = read_chat_rows(write_jsonl(tmp_path / "one.jsonl", [line]))  # type: ignore[list-item]
    return found


def with_template(tmp_path: Path, template: str) -> ChatTokenizer:
    return ChatTokenizer(make_tokenizer(tmp_path / "model", template))


def test_a_row_is_rendered_and_counted(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, CHAT_TEMPLATE)
    found = read_one(tmp_path, row(user("ab"), assistant("c")))

    text = tokenizer.render(found).text

    assert text == "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n"
    # The special tokens are one each, and this tokenizer has one token for every other byte.
    assert tokenizer.count([text]) == [4 + len("user\nab\nassistant\nc\n")]


def test_rows_that_the_template_refuses_are_bad_rows(tmp_path: Path) -> None:
    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
        + CHAT_TEMPLATE
    )
    path = write_jsonl(
        tmp_path / "data.jsonl", [row(user(), assistant()), row(system(), user(), assistant())]
    )

    check = check_file(
        path, parse_chat, tokens=TokenCounter(with_template(tmp_path, template), 4096)
    )

    assert [(bad.line, bad.problem) for bad in check.bad_rows] == [
        (2, "the model's chat template refuses the row: No system role")
    ]
    assert check.examples == 1


def test_counts_reach_the_report(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, CHAT_TEMPLATE)
    rows = numbered_rows(60)
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    want = tokenizer.count([tokenizer.render(found).text for found in read_chat_rows(path)])

    check = check_file(path, parse_chat, tokens=TokenCounter(tokenizer, max(want) - 1))
    report = check.report([])

    assert (report.tokens, report.longest) == (sum(want), max(want))
    (warning,) = training_warnings(check, has_validation=True)
    number = sum(tokens == max(want) for tokens in want)
    assert warning.startswith(f"{number} rows longer than {max(want) - 1} tokens are cut")


@pytest.mark.parametrize(
    ("long", "batch"),
    [
        pytest.param(0, 1 << 18, id="each row by itself"),
        pytest.param(1 << 18, 1, id="each row in a batch of its own"),
        pytest.param(1 << 18, 1 << 18, id="all rows in one batch"),
    ],
)
def test_how_rows_are_taken_together_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: int, batch: int
) -> None:
    rows = [asked(size) for size in (1, 90, 30, 31, 90, 2)]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    tokenizer = with_template(tmp_path, CHAT_TEMPLATE)
    want = check_file(path, parse_chat, tokens=TokenCounter(tokenizer, 50))
    monkeypatch.setattr(TokenCounter, "LONG", long)
    monkeypatch.setattr(TokenCounter, "BATCH_CHARACTERS", batch)

    got = check_file(path, parse_chat, tokens=TokenCounter(tokenizer, 50))

    assert [bad.line for bad in want.bad_rows] == [2, 4, 5]
    assert got.bad_rows == want.bad_rows
    assert got.report([]) == want.report([])
    assert got.tokens is not None
    assert want.tokens is not None
    assert got.tokens.over_limit == want.tokens.over_limit == 6


@pytest.mark.parametrize(
    ("change", "want"),
    [
        pytest.param({"tokenizer.json": None}, "has no tokenizer.json", id="no tokenizer"),
        pytest.param({"tokenizer.json": "{}"}, "is broken", id="a broken tokenizer"),
        pytest.param({"chat_template.jinja": None}, "has no chat template", id="a base model"),
        pytest.param({"chat_template.jinja": "{% if %}"}, "not valid Jinja", id="broken template"),
        pytest.param({"tokenizer_config.json": "[]"}, "is not a JSON object", id="broken settings"),
        pytest.param({"config.json": "{"}, "config.json is not a JSON object", id="a broken model"),
    ],
)
def test_a_model_that_cannot_be_used(
    tmp_path: Path, change: dict[str, str | None], want: str
) -> None:
    folder = make_tokenizer(tmp_path / "model", CHAT_TEMPLATE)
    for name, content in change.items():
        (folder / name).unlink() if content is None else (folder / name).write_text(content)

    with pytest.raises(TokenizerError) as caught:
        ChatTokenizer(folder)

    assert want in str(caught.value)


NO_TOOLS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, NO_TOOLS], ids=["all of it", "nothing of it"])
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(row(user(), assistant(), tools=[tool(description="\ud83d")]), id="a tool"),
        pytest.param(
            row(user(), calling(tool_call(arguments='{"a": "\\ud83d"}')), tools=[tool()]),
            id="arguments of a call",
        ),
    ],
)
def test_half_a_surrogate_pair_is_a_bad_row_whatever_is_rendered(
    tmp_path: Path, template: str, bad: Any
) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [row(), bad, row(user("b"), assistant())])

    check = check_file(
        path, parse_chat, tokens=TokenCounter(with_template(tmp_path, template), 4096)
    )

    (problem,) = check.bad_rows
    assert (problem.line, check.examples) == (2, 2)
    assert "surrogate pair" in problem.problem


def asked(size: int, *more: Any) -> Any:
    return row(user("q" * size), *(more or (assistant("4" * 60),)))


# One token for each special token and each other character: 19 around the question.
@pytest.mark.parametrize(
    ("line", "want"),
    [
        pytest.param(asked(30), [], id="one token of the answer is left"),
        pytest.param(asked(31), [2], id="none is left"),
        pytest.param(asked(1), [], id="most of the answer is left"),
        pytest.param(asked(1, assistant("4")), [], id="short enough"),
        pytest.param(
            asked(1, assistant("41", weight=0), user("q" * 40), assistant("42")),
            [2],
            id="only an answer without weight is left",
        ),
    ],
)
def test_a_row_without_an_answer_after_the_cut_is_a_problem_of_its_line(
    tmp_path: Path, line: Any, want: list[int]
) -> None:
    tokenizer = with_template(tmp_path, CHAT_TEMPLATE)
    path = write_jsonl(tmp_path / "data.jsonl", [row(user("a"), assistant("b")), line])

    check = check_file(path, parse_chat, tokens=TokenCounter(tokenizer, 50))

    assert [bad.line for bad in check.bad_rows] == want
    assert (check.bad_total, check.examples) == (len(want), 2 - len(want))
    for bad in check.bad_rows:
        assert bad.problem.startswith("no answer is left within 50 tokens: raise")
        assert len(bad.problem) <= 200


def test_the_first_bad_rows_are_shown_whatever_is_wrong_with_them(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, CHAT_TEMPLATE)
    lines = [asked(90) if number % 2 else row(user()) for number in range(1, 21)]
    path = write_jsonl(tmp_path / "data.jsonl", [*lines, row(user("a"), assistant("b"))])

    check = check_file(path, parse_chat, tokens=TokenCounter(tokenizer, 50))

    assert [bad.line for bad in check.bad_rows] == list(range(1, 11))
    assert (check.bad_total, check.examples) == (20, 1)
