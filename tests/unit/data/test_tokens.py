"""Token counts from a tokenizer and template made in code; what a broken model folder says."""

import json
from pathlib import Path

import pytest

from finetune_data.chat import ChatRow, read_rows
from finetune_data.problems import RowProblem
from finetune_data.report import check_file, training_warnings
from finetune_data.tokens import ChatTokenizer, TokenCounter, TokenizerError
from support.chat_rows import (
    assistant,
    calling,
    numbered_rows,
    row,
    system,
    tool,
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

    check = check_file(path, tokens=TokenCounter(with_template(tmp_path, template), None))

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
