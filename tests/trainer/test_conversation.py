import json
from pathlib import Path
from typing import Any

import pytest

from finetune_data.chat import ChatRow, parse_row
from finetune_data.lines import Line
from finetune_trainer.conversation import IGNORED, Renderer, cut_all
from finetune_trainer.errors import TrainerError
from support import chat_rows
from support.chat_rows import answer, assistant, calling, system, tool, user
from support.tiny_tokenizer import CHAT_TEMPLATE, make_tokenizer

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

PLAIN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
THINKS = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if loop.last and m.role == 'assistant' %}<think></think>{% endif %}"
    "{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
NO_PROMPT = (
    "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)


def tokenizer(folder: Path, template: str = CHAT_TEMPLATE) -> Any:
    from tokenizers import decoders
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(make_tokenizer(folder, template))
    made.backend_tokenizer.decoder = decoders.ByteLevel()
    return made


def row(*messages: Any, **more: Any) -> ChatRow:
    """The row as the reader of files gives it."""
    content = json.dumps(chat_rows.row(*messages, **more)).encode()
    return parse_row(Line(number=7, content=content), images=False)


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
    ("template", "chat", "want"),
    [
        pytest.param(
            PLAIN,
            row(user(), assistant(), tools=[tool()]),
            "leaves out tools",
            id="a template without tools",
        ),
        pytest.param(
            PLAIN,
            row(user(), calling(), answer(), assistant(), tools=[tool()]),
            "leaves out tools",
            id="a template without tool calls",
        ),
        pytest.param(
            THINKS,
            row(user(), assistant(), user(), assistant()),
            "renders an answer differently once more turns follow",
            id="a template that rewrites earlier answers",
        ),
        pytest.param(
            NO_PROMPT,
            row(),
            "does not continue its own prompt",
            id="a template whose prompt is no beginning of an answer",
        ),
        pytest.param(
            "{{ raise_exception('no system role') }}", row(system(), user(), assistant()),
            "cannot render the row", id="a template that refuses the row",
        ),
    ],
)  # fmt: skip
def test_a_template_that_cannot_is_refused_by_line(
    tmp_path: Path, template: str, chat: ChatRow, want: str
) -> None:
    renderer = Renderer(tokenizer(tmp_path, template))

    with pytest.raises(TrainerError, match=want) as refusal:
        renderer.example(chat)

    assert refusal.value.code == 65
    assert "line 7" in str(refusal.value)
    assert "in a new FineTuneJob" in str(refusal.value)


def test_a_template_that_misses_calls_which_are_taken_away_reads_them(tmp_path: Path) -> None:
    needs_calls = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% for call in m.tool_calls or [] %}{{ call.function.name }}{% endfor %}"
        "{% if m.role == 'tool' and not messages[loop.index0 - 1].tool_calls %}"
        "{{ raise_exception('an answer to no call') }}{% endif %}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    model_tokenizer = tokenizer(tmp_path, needs_calls)

    example = Renderer(model_tokenizer).example(
        row(user(), calling(), answer(), assistant("37"), tools=[tool()])
    )

    assert supervised_text(model_tokenizer, example) == "price<|im_end|>37<|im_end|>"


def test_a_thinking_template_serves_rows_with_one_trained_answer(tmp_path: Path) -> None:
    model_tokenizer = tokenizer(tmp_path, THINKS)

    example = Renderer(model_tokenizer).example(
        row(user(), assistant("41", weight=0), user(), assistant("42"))
    )

    assert supervised_text(model_tokenizer, example) == "<think></think>42<|im_end|>"


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
