"""Token counts from a tokenizer and template made in code; what a broken model folder says."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_data.chat import ChatRow, read_rows
from finetune_data.problems import RowProblem
from finetune_data.report import check_file, training_warnings
from finetune_data.tokens import ChatTokenizer, TokenCounter, TokenizerError
from support.chat_rows import (
    answer,
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
    (found,) = read_rows(write_jsonl(tmp_path / "one.jsonl", [line]))  # type: ignore[list-item]
    return found


def with_template(tmp_path: Path, template: str) -> ChatTokenizer:
    return ChatTokenizer(make_tokenizer(tmp_path / "model", template))


def test_a_row_is_rendered_and_counted(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, CHAT_TEMPLATE)
    found = read_one(tmp_path, row(user("ab"), assistant("c")))

    text = tokenizer.render(found)

    assert text == "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n"
    # The special tokens are one each, and this tokenizer has one token for every other byte.
    assert tokenizer.count([text]) == [4 + len("user\nab\nassistant\nc\n")]


@pytest.mark.parametrize(
    ("template", "want"),
    [
        pytest.param("{{ bos_token }}|{{ eos_token }}", "<s>|<|im_end|>", id="special tokens"),
        pytest.param("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}', id="JSON without escapes"),
        pytest.param("{{ [1] | tojson(indent=1) }}", "[\n 1\n]", id="JSON with options"),
        pytest.param("{% generation %}{{ 1 + 1 }}{% endgeneration %}", "2", id="generation tag"),
        pytest.param(
            "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}"
            "{% break %}{% endfor %}",
            "assistant",
            id="loop controls",
        ),
        pytest.param("{{ strftime_now('%Y') | length }}", "4", id="today's date"),
        pytest.param("{% if tools %}x{% endif %}a\n{% if 1 %}\nb\n{% endif %}", "a\nb\n",
                     id="blocks leave no blank lines"),
        pytest.param("{{ messages[0]['content'] }}{{ messages[1].weight }}", "q0", id="weights"),
    ],
)  # fmt: skip
def test_templates_have_what_transformers_gives_them(
    tmp_path: Path, template: str, want: str
) -> None:
    tokenizer = with_template(tmp_path, template)
    line = row(user("q"), assistant("a", weight=0), assistant("b"))

    assert tokenizer.render(read_one(tmp_path, line)) == want


@pytest.mark.parametrize(
    ("template", "want"),
    [
        pytest.param(
            "{{ raise_exception('Roles must alternate.') }}",
            "the model's chat template refuses the row: Roles must alternate.",
            id="the template says why",
        ),
        pytest.param(
            "{{ raise_exception('Odd: ' + messages[0].content) }}",
            "the model's chat template cannot render the row; check the order of roles",
            id="the template quotes the row",
        ),
        pytest.param(
            "{{ messages[9].content.x }}", "cannot render the row", id="a broken template"
        ),
        pytest.param(
            "{{ messages.append(1) }}", "cannot render the row", id="a template that changes rows"
        ),
        pytest.param(
            "{{ ''.__class__.__mro__ }}", "cannot render the row", id="a template that breaks out"
        ),
    ],
)
def test_a_template_refuses_a_row(tmp_path: Path, template: str, want: str) -> None:
    tokenizer = with_template(tmp_path, template)

    with pytest.raises(RowProblem) as caught:
        tokenizer.render(read_one(tmp_path, row()))

    assert want in str(caught.value)


def test_rows_that_the_template_refuses_are_bad_rows(tmp_path: Path) -> None:
    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}x"
    )
    path = write_jsonl(
        tmp_path / "data.jsonl", [row(user(), assistant()), row(system(), user(), assistant())]
    )

    check = check_file(path, tokens=TokenCounter(with_template(tmp_path, template), 4096))

    assert [(bad.line, bad.problem) for bad in check.bad_rows] == [
        (2, "the model's chat template refuses the row: No system role")
    ]
    assert check.examples == 1


def test_tools_have_a_template_of_their_own(tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path / "model", "plain")
    extra = folder / "additional_chat_templates"
    extra.mkdir()
    (extra / "tool_use.jinja").write_text("{{ tools[0].function.name }}")
    tokenizer = ChatTokenizer(folder)

    assert tokenizer.render(read_one(tmp_path, row())) == "plain"
    with_tools = row(user(), calling(), tools=[tool()])
    assert tokenizer.render(read_one(tmp_path, with_tools)) == "price"


def test_counts_reach_the_report(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, CHAT_TEMPLATE)
    rows = numbered_rows(TokenCounter.BATCH + 60)
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    want = tokenizer.count([tokenizer.render(found) for found in read_rows(path)])

    check = check_file(path, tokens=TokenCounter(tokenizer, max(want) - 1))
    report = check.report([])

    assert (report.tokens, report.longest) == (sum(want), max(want))
    (warning,) = training_warnings(check, has_validation=True)
    number = sum(tokens == max(want) for tokens in want)
    assert warning.startswith(f"{number} rows longer than {max(want) - 1} tokens are cut")


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


def test_the_template_may_stand_in_the_settings(tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path / "model", CHAT_TEMPLATE)
    (folder / "chat_template.jinja").unlink()
    settings = {
        "bos_token": {"content": "<B>", "lstrip": False},
        "chat_template": [
            {"name": "default", "template": "{{ bos_token }}"},
            {"name": "tool_use", "template": "with tools"},
        ],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = ChatTokenizer(folder)

    assert tokenizer.render(read_one(tmp_path, row())) == "<B>"


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, "plain"], ids=["all of it", "nothing of it"])
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

    check = check_file(path, tokens=TokenCounter(with_template(tmp_path, template), 4096))

    (problem,) = check.bad_rows
    assert (problem.line, check.examples) == (2, 2)
    assert "surrogate pair" in problem.problem


def test_a_template_that_writes_half_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, r"{{ '\ud83d' }}")

    with pytest.raises(RowProblem, match="writes what is no text"):
        tokenizer.render(read_one(tmp_path, row()))


READS_NO_TOOLS = "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
NEEDS_CALLS = (
    "{% for m in messages %}{{ m.role }}{{ m.content }}"
    "{% if m.role == 'tool' and not messages[loop.index0 - 1].tool_calls %}"
    "{{ raise_exception('an answer to no call') }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "line", "want"),
    [
        pytest.param(READS_NO_TOOLS, row(), None, id="no tools, and none are read"),
        pytest.param(
            READS_NO_TOOLS, row(tools=[tool()]), "leaves out tools", id="tools are not read"
        ),
        pytest.param(
            READS_NO_TOOLS,
            row(user(), calling(), answer(), assistant(), tools=[tool()]),
            "leaves out tools and tool calls",
            id="calls are not read",
        ),
        pytest.param(CHAT_TEMPLATE, row(tools=[tool()]), None, id="tools are read"),
        pytest.param(
            NEEDS_CALLS,
            row(user(), calling(), answer(), assistant(), tools=[tool()]),
            None,
            id="a template that misses the calls when they are taken away reads them",
        ),
    ],
)
def test_a_template_that_leaves_tools_out_is_a_problem_of_the_line(
    tmp_path: Path, template: str, line: Any, want: str | None
) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [row(user("first"), assistant()), line])

    check = check_file(path, tokens=TokenCounter(with_template(tmp_path, template), 4096))

    assert [bad.line for bad in check.bad_rows] == ([] if want is None else [2])
    assert all(want is not None and want in bad.problem for bad in check.bad_rows)
    assert all(len(bad.problem) <= 200 for bad in check.bad_rows)


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

    check = check_file(path, tokens=TokenCounter(tokenizer, 50))

    assert [bad.line for bad in check.bad_rows] == want
    assert (check.bad_total, check.examples) == (len(want), 2 - len(want))
    for bad in check.bad_rows:
        assert bad.problem.startswith("no answer is left within 50 tokens: raise")
        assert len(bad.problem) <= 200


def test_the_first_bad_rows_are_shown_whatever_is_wrong_with_them(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, CHAT_TEMPLATE)
    lines = [asked(90) if number % 2 else row(user()) for number in range(1, 21)]
    path = write_jsonl(tmp_path / "data.jsonl", [*lines, row(user("a"), assistant("b"))])

    check = check_file(path, tokens=TokenCounter(tokenizer, 50))

    assert [bad.line for bad in check.bad_rows] == list(range(1, 11))
    assert (check.bad_total, check.examples) == (20, 1)
