"""A model's own chat templates: where they stand, what they are given, what they refuse."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from finetune_data.problems import RowProblem
from finetune_data.tokens import ChatTokenizer
from support.chat_rows import assistant, calling, read_one, row, tool, user
from support.tiny_tokenizer import CHAT_TEMPLATE, make_tokenizer

CREATED = datetime(2026, 3, 9, 10, tzinfo=UTC)


def rendered(folder: Path, line: Any, *, prompt: bool = False) -> str:
    """A line through the template of a model's folder."""
    found = read_one(folder.parent, line)
    return ChatTokenizer(folder, CREATED).template(found.messages, found.tools, prompt=prompt)


def model(tmp_path: Path, template: str) -> Path:
    return make_tokenizer(tmp_path / "model", template)


@pytest.mark.parametrize(
    ("template", "want"),
    [
        pytest.param("{{ bos_token }}|{{ eos_token }}", "<s>|<|im_end|>", id="special tokens"),
        pytest.param("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}', id="JSON without escapes"),
        pytest.param("{{ [1] | tojson(indent=1) }}", "[\n 1\n]", id="JSON with options"),
        pytest.param("{% generation %}{{ 1 + 1 }}{% endgeneration %}", "2", id="generation tag"),
        pytest.param(
            "{% set a = 1 %}{% generation %}{% set a = 2 %}{% endgeneration %}{{ a }}", "1",
            id="what is set within a generation tag stays there",
        ),
        pytest.param(
            "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}"
            "{% break %}{% endfor %}",
            "assistant",
            id="loop controls",
        ),
        pytest.param(
            "{{ strftime_now('%d %b %Y') }}", "09 Mar 2026",
            id="the day on which the job was created",
        ),
        pytest.param("{% if tools %}x{% endif %}a\n{% if 1 %}\nb\n{% endif %}", "a\nb\n",
                     id="blocks leave no blank lines"),
    ],
)  # fmt: skip
def test_templates_have_what_transformers_gives_them(
    tmp_path: Path, template: str, want: str
) -> None:
    assert rendered(model(tmp_path, template), row(user(), assistant())) == want


def test_a_prompt_asks_for_the_answer(tmp_path: Path) -> None:
    folder = model(tmp_path, CHAT_TEMPLATE)

    assert rendered(folder, row(user("a"), assistant("b")), prompt=True) == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>assistant\n"
    )


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
    with pytest.raises(RowProblem) as caught:
        rendered(model(tmp_path, template), row())

    assert want in str(caught.value)


def test_tools_have_a_template_of_their_own(tmp_path: Path) -> None:
    folder = model(tmp_path, "plain")
    extra = folder / "additional_chat_templates"
    extra.mkdir()
    (extra / "tool_use.jinja").write_text("{{ tools[0].function.name }}")

    assert rendered(folder, row()) == "plain"
    assert rendered(folder, row(user(), calling(), tools=[tool()])) == "price"


def test_the_template_may_stand_in_the_settings(tmp_path: Path) -> None:
    folder = model(tmp_path, CHAT_TEMPLATE)
    (folder / "chat_template.jinja").unlink()
    settings = {
        "bos_token": {"content": "<B>", "lstrip": False},
        "chat_template": [
            {"name": "default", "template": "{{ bos_token }}"},
            {"name": "tool_use", "template": "with tools"},
        ],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))

    assert rendered(folder, row()) == "<B>"
