"""Which characters of a rendered row are answers that carry loss; which templates cannot say."""

from pathlib import Path
from typing import Any

import pytest

from finetune_data.problems import RowProblem
from finetune_data.rendering import RenderedRow, carry_loss
from finetune_data.tokens import ChatTokenizer
from support.chat_rows import (
    answer,
    assistant,
    calling,
    read_one,
    row,
    system,
    tool,
    user,
)
from support.tiny_tokenizer import CHAT_TEMPLATE, make_tokenizer

PLAIN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
THINKS = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if loop.last and m.role == 'assistant' %}<think></think>{% endif %}"
    "{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
OTHER_PROMPT = (
    "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)
NO_PROMPT = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
WITH_PREAMBLE = "{% if messages[0].role != 'system' %}<system>Be kind.<|im_end|>{% endif %}" + PLAIN
NEEDS_A_QUESTION = (
    "{% if 'user' not in messages | map(attribute='role') %}"
    "{{ raise_exception('No question.') }}{% endif %}" + PLAIN
)
NEEDS_CALLS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ call.function.name }}{% endfor %}"
    "{% if m.role == 'tool' and not messages[loop.index0 - 1].tool_calls %}"
    "{{ raise_exception('an answer to no call') }}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
MUTE = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'user' %}{{ m.content }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
SHOWS_WEIGHTS = PLAIN + "{% for m in messages %}{{ m.weight }}{% endfor %}"
TOOLS_ROW = row(user(), calling(), answer(), assistant("37"), tools=[tool()])


def rendered(tmp_path: Path, template: str, line: Any) -> RenderedRow:
    tokenizer = ChatTokenizer(make_tokenizer(tmp_path / "model", template))
    return tokenizer.render(read_one(tmp_path, line))


def learnt(found: RenderedRow) -> list[str]:
    return [found.text[start:end] for start, end in found.answers]


@pytest.mark.parametrize(
    ("template", "line", "want"),
    [
        pytest.param(CHAT_TEMPLATE, row(), ["42<|im_end|>\n"], id="an answer, its end included"),
        pytest.param(
            PLAIN,
            row(user(), assistant("41"), user("Sure?"), assistant("42")),
            ["41<|im_end|>", "42<|im_end|>"],
            id="two answers: both",
        ),
        pytest.param(
            PLAIN,
            row(user(), assistant("41", weight=0), user("Sure?"), assistant("42", weight=1)),
            ["42<|im_end|>"],
            id="weight 0: that answer is only context",
        ),
        pytest.param(
            SHOWS_WEIGHTS,
            row(user(), assistant("41", weight=0), user("?"), assistant("42", weight=1)),
            ["42<|im_end|>"],
            id="weights are no part of a conversation",
        ),
        pytest.param(
            CHAT_TEMPLATE,
            TOOLS_ROW,
            [
                '{"name": "price", "arguments": {"symbol": "BAC"}}<|im_end|>\n',
                "37<|im_end|>\n",
            ],
            id="a tool call is an answer, the tool's is not",
        ),
        pytest.param(
            NEEDS_CALLS,
            TOOLS_ROW,
            ["price<|im_end|>", "37<|im_end|>"],
            id="a template that misses the calls when they are taken away reads them",
        ),
        pytest.param(
            THINKS,
            row(user(), assistant("41", weight=0), user(), assistant("42")),
            ["<think></think>42<|im_end|>"],
            id="a template that rewrites earlier answers, and one answer to learn",
        ),
        pytest.param(
            CHAT_TEMPLATE,
            row(assistant("Hello!"), user(), assistant("42")),
            ["Hello!<|im_end|>\n", "42<|im_end|>\n"],
            id="an answer that opens the row",
        ),
        pytest.param(
            WITH_PREAMBLE,
            row(assistant("<assistant>"), user(), assistant("42")),
            ["<assistant><|im_end|>", "42<|im_end|>"],
            id="an answer that opens the row, behind the template's own words",
        ),
        pytest.param(
            PLAIN,
            row(system(), assistant("Hello!"), user(), assistant("42", weight=0)),
            ["Hello!<|im_end|>"],
            id="an answer before any question",
        ),
        pytest.param(
            NEEDS_A_QUESTION,
            row(assistant("Hello!", weight=0), user(), assistant("42")),
            ["42<|im_end|>"],
            id="an opening without weight needs no place",
        ),
    ],
)
def test_answers_carry_loss(tmp_path: Path, template: str, line: Any, want: list[str]) -> None:
    assert learnt(rendered(tmp_path, template, line)) == want


@pytest.mark.parametrize(
    ("template", "line", "want"),
    [
        pytest.param(PLAIN, row(tools=[tool()]), "leaves out tools", id="tools are not read"),
        pytest.param(PLAIN, TOOLS_ROW, "leaves out tools and tool calls", id="calls are not read"),
        pytest.param(
            THINKS,
            row(user(), assistant(), user(), assistant()),
            "renders an answer differently once more turns follow",
            id="earlier answers are rewritten",
        ),
        pytest.param(
            OTHER_PROMPT,
            row(),
            "does not continue its own prompt",
            id="the prompt is no beginning of an answer",
        ),
        pytest.param(MUTE, row(), "writes nothing of an answer", id="answers are left out"),
        pytest.param(
            r"{{ '\ud83d' }}", row(), "writes what is no text", id="half a surrogate pair"
        ),
        pytest.param(
            OTHER_PROMPT,
            row(assistant(), user(), assistant()),
            "does not show where an answer begins that opens the row: begin it with a user",
            id="an opening, and a prompt that no answer follows",
        ),
        pytest.param(
            NO_PROMPT,
            row(assistant(), user(), assistant()),
            "does not show where an answer begins that opens the row",
            id="an opening, and nothing that asks for answers",
        ),
        pytest.param(
            NEEDS_A_QUESTION,
            row(assistant(), user(), assistant()),
            "refuses the row: No question.",
            id="an opening that the template refuses",
        ),
    ],
)
def test_a_template_that_cannot_serve_a_row_is_refused(
    tmp_path: Path, template: str, line: Any, want: str
) -> None:
    with pytest.raises(RowProblem) as caught:
        rendered(tmp_path, template, line)

    assert want in str(caught.value)
    assert len(str(caught.value)) <= 200


@pytest.mark.parametrize(
    ("letter", "fits"),
    [
        pytest.param("a", True, id="ASCII"),
        pytest.param("\N{PILE OF POO}", False, id="as many characters of four bytes each"),
    ],
)
def test_a_row_takes_no_more_memory_than_there_is(tmp_path: Path, letter: str, fits: bool) -> None:
    line = row(user(letter * (1 << 20)), assistant())

    if fits:
        assert rendered(tmp_path, PLAIN, line)
        return
    with pytest.raises(RowProblem, match="a text of more than 2 MiB; shorten or split it"):
        rendered(tmp_path, PLAIN, line)


@pytest.mark.parametrize(
    ("offsets", "want"),
    [
        pytest.param([(0, 4), (4, 6), (6, 8)], [False, True, True], id="within"),
        pytest.param([(0, 3), (3, 6), (6, 9)], [False, True, True], id="across an end"),
        pytest.param([(0, 3), (3, 4), (8, 9)], [False, False, False], id="beside"),
        pytest.param([(4, 6), (6, 8)], [False, True], id="the first is predicted from nothing"),
        pytest.param([(0, 4), (4, 4), (5, 5)], [False, False, True], id="a token of no character"),
    ],
)
def test_tokens_that_touch_an_answer_carry_loss(
    offsets: list[tuple[int, int]], want: list[bool]
) -> None:
    assert carry_loss(offsets, [(4, 8)]) == want
