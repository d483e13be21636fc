"""Prepare pod and trainer, each with its own renderer, on the chat templates of real models.

What the one accepts the other can train on: the same text, the same answers, the same tokens.
"""

import importlib.util
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from finetune_data.chat import ChatRow, read_chat_rows
from finetune_data.problems import RowProblem
from finetune_data.rendering import RenderedRow, Template, carry_loss, render
from finetune_data.tokens import ChatTokenizer
from support.chat_rows import (
    answer,
    assistant,
    calling,
    row,
    system,
    tool,
    user,
    write_jsonl,
)
from support.tiny_tokenizer import CHAT_TEMPLATE, make_tokenizer

pytestmark = [pytest.mark.integration, pytest.mark.torch]

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
CREATED = datetime(2026, 3, 9, 10, tzinfo=UTC)


def shipped_templates() -> list[Path]:
    """The chat templates of known models that TRL brings along."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return sorted((Path(spec.origin).parent / "chat_templates").glob("*.jinja"))


TEMPLATES = shipped_templates()


def test_there_are_templates_to_compare() -> None:
    assert len(TEMPLATES) > 60


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[ChatRow]:
    path = write_jsonl(
        tmp_path_factory.mktemp("rows") / "data.jsonl",
        [
            row(),
            row(user(), assistant()),
            row(user("<b>é & 好</b>"), assistant("a\n\nb "), user("?"), assistant(weight=0),
                user(), assistant()),
            row(assistant("Hello!"), user(), assistant()),
            row(assistant("Hello!", weight=0), user(), assistant()),
            row(system(), assistant("Hello!"), user(), assistant()),
            row(user(), user("?"), assistant(), assistant("more")),
            row(system(), user(), calling(), answer(), assistant(), tools=[tool()]),
            row(user(), calling(), tools=[tool(), tool("rate")]),
            row(user(), assistant(), tools=[tool()]),
        ],
    )  # fmt: skip
    return read_chat_rows(path) + read_chat_rows(
        EXAMPLES / "stock-toolcall-sft" / "validation.jsonl"
    )


def outcome(row: ChatRow, template: Template) -> RenderedRow | str:
    """The rendered row, or what is wrong with it."""
    try:
        return render(row, template)
    except RowProblem as problem:
        return str(problem)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_what_is_prepared_is_what_is_trained_on(
    template: Path, rows: list[ChatRow], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    from finetune_trainer.conversation import IGNORED, Renderer

    folder = make_tokenizer(tmp_path, template.read_text("utf-8"))
    prepare = ChatTokenizer(folder, CREATED)
    trainer = Renderer(AutoTokenizer.from_pretrained(folder), CREATED)

    for found in rows:
        rendered = outcome(found, prepare.template)
        assert rendered == outcome(found, trainer.template)
        if isinstance(rendered, str):
            assert len(rendered) <= 200
            continue
        example, encoding = trainer.example(found), prepare.encode(rendered.text)
        assert example.input_ids == encoding.ids
        marks = carry_loss(encoding.offsets, rendered.answers)
        assert [label != IGNORED for label in example.labels] == marks
        assert any(marks)


# Their prompt begins to think, where a given answer does not; LLaVA's takes lists of parts alone.
UNFIT = ("deepseek", "nemotron_3", "llava")


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_most_templates_serve_a_plain_row(
    template: Path, rows: list[ChatRow], tmp_path: Path
) -> None:
    prepare = ChatTokenizer(make_tokenizer(tmp_path, template.read_text("utf-8")), CREATED)

    refused = isinstance(outcome(rows[1], prepare.template), str)

    assert refused == template.stem.startswith(UNFIT)


def test_a_template_shows_both_the_day_on_which_the_job_was_created(
    rows: list[ChatRow], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    from finetune_trainer.conversation import Renderer

    dated = "{{ strftime_now('%d %B %Y') }}" + CHAT_TEMPLATE
    folder = make_tokenizer(tmp_path, dated)
    prepare = ChatTokenizer(folder, CREATED)
    trainer = Renderer(AutoTokenizer.from_pretrained(folder), CREATED)
    other_day = Renderer(AutoTokenizer.from_pretrained(folder), CREATED + timedelta(days=1))

    want = render(rows[1], prepare.template)

    assert want.text.startswith("09 March 2026<|im_start|>")
    assert render(rows[1], other_day.template).text.startswith("10 March 2026<|im_start|>")
    assert render(rows[1], trainer.template) == want
