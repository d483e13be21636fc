from pathlib import Path
from typing import Any

import pytest

from finetune_data.chat import ChatRow, parse_chat
from finetune_trainer.conversation import IGNORED, Renderer, cut_all
from finetune_trainer.errors import TrainerError
from support import chat_rows
from support.chat_rows import answer, assistant, calling, tool, user
from support.tiny_tokenizer import CHAT_TEMPLATE, make_tokenizer

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def tokenizer(folder: Path, template: str = CHAT_TEMPLATE) -> Any:
    from tokenizers import decoders
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(make_tokenizer(folder, template))
    made.backend_tokenizer.decoder = decoders.ByteLevel()
    return made


def row(*messages: Any, **more: Any) -> ChatRow:
    """The row as the reader of files gives it."""
    return parse_chat(chat_rows.row(*messages, **more), 7)


def supervised_text(tokenizer: Any, example: Any) -> str:
    return str(tokenizer.decode([label for label in example.labels if label != IGNORED]))


@pytest.mark.parametrize(
    ("chat", "want"),
    [
        pytest.param(row(), "42<|im_end|>\n", id="one answer, with its end of turn"),
        pytest.param(
            row(user(), assistant("41"), user("Sure?"), assistant("42")),
            "41<|im_end|>\n42<|im_end|>\n",
            id="two answers: both",
        ),
        pytest.param(
            row(user(), assistant("41", weight=0), user("Sure?"), assistant("42", weight=1)),
            "42<|im_end|>\n",
            id="weight 0: that answer is only context",
        ),
        pytest.param(
            row(user(), calling(), answer(), assistant("37"), tools=[tool()]),
            '{"name": "price", "arguments": {"symbol": "BAC"}}<|im_end|>\n37<|im_end|>\n',
            id="a tool call is an answer, the tool's is not",
        ),
        pytest.param(
            row(user("\u9b5a?"), assistant("\u9b5a\u00e9")),
            "\u9b5a\u00e9<|im_end|>\n",
            id="characters of several tokens",
        ),
        pytest.param(
            row(assistant("Hello!"), user(), assistant("42")),
            "Hello!<|im_end|>\n42<|im_end|>\n",
            id="an answer that opens the row",
        ),
    ],
)
def test_only_answers_carry_loss(tmp_path: Path, chat: ChatRow, want: str) -> None:
    model_tokenizer = tokenizer(tmp_path)

    example = Renderer(model_tokenizer).example(chat)

    assert supervised_text(model_tokenizer, example) == want
    assert len(example.input_ids) == len(example.labels)
    assert example.line == 7


def test_tools_are_rendered(tmp_path: Path) -> None:
    model_tokenizer = tokenizer(tmp_path)

    example = Renderer(model_tokenizer).example(
        row(user(), calling(), answer(), assistant("37"), tools=[tool()])
    )

    assert "The price of a share" in model_tokenizer.decode(example.input_ids)


@pytest.mark.parametrize(
    ("template", "want"),
    [
        pytest.param(
            "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
            "line 7: the model's chat template leaves out tools and tool calls: use another model",
            id="a template without tools",
        ),
        pytest.param(
            "{{ raise_exception('No tools, please') }}",
            "line 7: the model's chat template refuses the row: No tools, please",
            id="a template that refuses the row",
        ),
        pytest.param(
            "{{ messages[9].content.x }}",
            "line 7: the model's chat template cannot render the row; check the order of roles",
            id="a template that fails",
        ),
    ],
)
def test_a_template_that_cannot_is_refused_by_line(
    tmp_path: Path, template: str, want: str
) -> None:
    renderer = Renderer(tokenizer(tmp_path, template))

    with pytest.raises(TrainerError) as refusal:
        renderer.examples([row(user(), assistant(), tools=[tool()])], "rows.jsonl")

    assert refusal.value.code == 65
    assert str(refusal.value).startswith(f"rows.jsonl: {want}")


def test_long_rows_are_cut_and_counted(tmp_path: Path) -> None:
    renderer = Renderer(tokenizer(tmp_path))
    uncut = [renderer.example(row(user(), assistant("4" * size))) for size in (5, 500)]
    longest = len(uncut[0].input_ids)

    cut, truncated = cut_all(uncut, longest, "rows.jsonl")

    assert truncated == 1
    assert [len(example.input_ids) for example in cut] == [longest, longest]
    assert cut[0] == uncut[0]
    assert cut[1].labels == uncut[1].labels[:longest]


def test_a_row_without_an_answer_after_the_cut_is_named(tmp_path: Path) -> None:
    renderer = Renderer(tokenizer(tmp_path))
    uncut = [renderer.example(row(user("long " * 50), assistant()))]

    with pytest.raises(TrainerError, match="no answer is left of line 7") as refusal:
        cut_all(uncut, 60, "rows.jsonl")

    assert refusal.value.reason == "DataInvalid"
    assert "raise hyperparameters.maxSequenceLength in a new FineTuneJob" in str(refusal.value)


def test_rows_that_the_template_refuses_are_left_out_if_asked(tmp_path: Path) -> None:
    refusing = "{% if messages | length > 2 %}{{ raise_exception('Too long') }}{% endif %}"
    renderer = Renderer(tokenizer(tmp_path, refusing + CHAT_TEMPLATE))
    rows = [row(user(), assistant("41")), row(), row(user(), assistant("42"))]

    assert len(renderer.examples(rows, "rows", drop=True)) == 2
    with pytest.raises(TrainerError, match="rows: line 7: "):
        renderer.examples(rows, "rows")
