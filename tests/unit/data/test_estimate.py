"""Tokens of hosted jobs: estimates, what the service cuts, and what it does not train on."""

from pathlib import Path
from typing import Any

import pytest

from finetune_data.chat import parse_chat
from finetune_data.estimate import TokenEstimate
from finetune_data.hosted_limits import tokens_per_example
from finetune_data.report import check_file, training_warnings
from finetune_operator.prepare import data
from finetune_operator.prepare.failure import Failure
from support.chat_rows import (
    answer,
    assistant,
    calling,
    image,
    numbered_rows,
    row,
    text,
    tool,
    user,
    write_jsonl,
)
from support.prepare import config_of, file_of

EXAMPLES = Path(__file__).parents[3] / "examples" / "data"
MODEL = "gpt-4.1-mini-2025-04-14"


def estimated(tmp_path: Path, rows: list[Any], limit: int | None = None) -> TokenEstimate:
    estimate = TokenEstimate(limit)
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    check_file(path, lambda line, at: parse_chat(line, at, images=True), tokens=estimate)
    return estimate


@pytest.mark.parametrize(
    ("name", "o200k"),
    [
        pytest.param("gsm8k-sft/train", 77_591, id="mathematics"),
        pytest.param("stock-toolcall-sft/train", 21_596, id="tool calls"),
    ],
)
def test_the_estimate_is_near_the_models_own_encoding(name: str, o200k: int) -> None:
    """That was counted once with o200k_base, without what stands around messages."""
    path = EXAMPLES / f"{name}.jsonl"
    estimate = TokenEstimate(None)
    messages = 0
    for line in path.read_text().splitlines():
        messages += line.count('"role"')

    check_file(path, parse_chat, tokens=estimate)

    assert estimate.total == pytest.approx(o200k + 4 * messages, rel=0.25)


@pytest.mark.parametrize(
    ("line", "want"),
    [
        pytest.param(row(user("x" * 34), assistant("y" * 4)), 18, id="text, and each message"),
        pytest.param(row(user("\u597d" * 12), assistant("yy")), 18, id="by bytes, not letters"),
        pytest.param(
            row(user([text("x" * 34), image()]), assistant("y" * 4)), 18, id="no pictures"
        ),
    ],
)
def test_what_is_counted(tmp_path: Path, line: Any, want: int) -> None:
    assert estimated(tmp_path, [line]).total == want


def test_tools_and_calls_count(tmp_path: Path) -> None:
    with_tools = row(user("a"), calling(), answer(), assistant("b"), tools=[tool()])

    estimate = estimated(tmp_path, [row(user("a"), assistant("b")), with_tools])

    assert estimate.longest > 60


def test_the_report_says_that_it_is_an_estimate(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", numbered_rows(3))

    report = check_file(path, parse_chat, tokens=TokenEstimate(None)).report([])

    assert report.tokens_estimated is True
    assert report.tokens
    assert check_file(path, parse_chat).report([]).tokens_estimated is None


@pytest.mark.parametrize(
    ("sizes", "limit", "want"),
    [
        pytest.param([1000], 300, None, id="short enough"),
        pytest.param([1200, 10, 1300], 300, "2 rows longer than the 300 tokens that the service "
                     "trains on, by estimate (lines 61, 63): ", id="two are not"),
        pytest.param([1200], 300, "1 row longer than the 300 tokens that the service trains on, "
                     "by estimate (line 61): ", id="one is not"),
        pytest.param([1200], None, None, id="a model that nobody knows"),
    ],
)  # fmt: skip
def test_rows_that_the_service_cuts_are_told(
    tmp_path: Path, sizes: list[int], limit: int | None, want: str | None
) -> None:
    long = [row(user(str(size) + "x" * size), assistant()) for size in sizes]
    path = write_jsonl(tmp_path / "data.jsonl", [*numbered_rows(60), *long])

    check = check_file(path, parse_chat, tokens=TokenEstimate(limit))

    got = training_warnings(check, has_validation=True)
    assert [sentence.startswith(want or "?") for sentence in got] == ([True] if want else [])


@pytest.mark.parametrize(
    ("model", "want"),
    [
        pytest.param(MODEL, 65_536, id="a base model"),
        pytest.param("gpt-4.1-nano-2025-04-14", 32_768, id="the smallest"),
        pytest.param(f"{MODEL}.ft-0123456789abcdef-orca", 65_536, id="a fine-tuned one"),
        pytest.param("gpt-4.1-mini-2031-01-01", None, id="one that nobody knows"),
    ],
)
def test_the_limit_goes_by_the_name(model: str, want: int | None) -> None:
    assert tokens_per_example(model) == want


@pytest.mark.parametrize(
    ("model", "epochs", "want"),
    [
        pytest.param(MODEL, None, None, id="one epoch at least"),
        pytest.param(MODEL, 2, None, id="two epochs"),
        pytest.param(
            MODEL, 3,
            "has about 2 million tokens and 3 epochs, which makes 6 million to train on; the"
            " service trains on 4 million at most: use fewer rows or hyperparameters.epochs",
            id="three epochs",
        ),
        pytest.param("gpt-9", 3, None, id="a model that nobody knows"),
    ],
)  # fmt: skip
def test_more_than_the_service_trains_on_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    epochs: int | None,
    want: str | None,
) -> None:
    monkeypatch.setattr(data, "TRAINED_TOKENS", 4_100_000)
    rows = [row(user(f"{i} " + "x" * 760_000), assistant()) for i in range(10)]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    config = config_of(file_of(path), hosted_model=model, epochs=epochs)

    if want is None:
        data.prepare_data(config, tmp_path)
        return
    with pytest.raises(Failure) as caught:
        data.prepare_data(config, tmp_path)
    assert caught.value.message.endswith(want)
