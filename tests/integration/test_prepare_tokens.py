"""Our own rendering and counting beside transformers', with the templates of real models."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from finetune_data.chat import ChatRow, read_rows
from finetune_data.problems import RowProblem
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
from support.tiny_tokenizer import make_tokenizer

pytestmark = [pytest.mark.integration, pytest.mark.torch]

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"


def shipped_templates() -> list[Path]:
    """The chat templates of known models that TRL brings along; LLaVA's take no text."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    found = (Path(spec.origin).parent / "chat_templates").glob("*.jinja")
    return sorted(path for path in found if not path.stem.startswith("llava"))


def test_there_are_templates_to_compare() -> None:
    assert len(shipped_templates()) > 30


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[ChatRow]:
    path = write_jsonl(
        tmp_path_factory.mktemp("rows") / "data.jsonl",
        [
            row(),
            row(user("<b>é & 好</b>"), assistant("a\n\nb "), user("?"), assistant(weight=0),
                user(), assistant()),
            row(system(), user(), calling(), answer(), assistant(), tools=[tool()]),
            row(user(), calling(), tools=[tool(), tool("rate")]),
        ],
    )  # fmt: skip
    return read_rows(path) + read_rows(EXAMPLES / "stock-toolcall-sft" / "validation.jsonl")


def by_transformers(folder: Path, found: ChatRow) -> Any:
    return rendered_by_transformers(folder, found.messages, found.tools)


def without_tools(folder: Path, found: ChatRow) -> Any:
    bare = [{k: v for k, v in each.items() if k != "tool_calls"} for each in found.messages]
    return rendered_by_transformers(folder, bare, None)


def rendered_by_transformers(folder: Path, messages: Any, tools: Any) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer.apply_chat_template(messages, tools=tools, tokenize=True, return_dict=False)


@pytest.mark.parametrize("template", shipped_templates(), ids=lambda path: path.stem)
def test_counts_are_those_of_transformers(
    template: Path, rows: list[ChatRow], tmp_path: Path
) -> None:
    folder = make_tokenizer(tmp_path, template.read_text("utf-8"))
    ours = ChatTokenizer(folder)
    compared = 0

    for found in rows:
        try:
            text = ours.render(found)
        except RowProblem as problem:
            if "leaves out tools" in str(problem):
                assert by_transformers(folder, found) == without_tools(folder, found)
            else:
                with pytest.raises(Exception, match=r"."):
                    by_transformers(folder, found)
            continue
        assert ours.count([text]) == [len(by_transformers(folder, found))]
        compared += 1

    assert compared >= 1
