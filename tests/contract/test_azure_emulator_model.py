"""The emulator's arithmetic: tokens, steps, automatic values, and the shape of its loss curves."""

import json
import math
from typing import Any

import pytest

from azure_openai.learning import Course, metrics, train_loss, valid_loss
from azure_openai.methods import HyperparameterError, Method, read, resolve
from azure_openai.rewards import rewards, valid_reward
from azure_openai.rows import read_dataset, row_problem
from support.azure_account import chat_rows


def a_course(
    *,
    method: Method = "supervised",
    eval_interval: int | None = None,
    rows: int = 100,
    epochs: int = 3,
    batch_size: int = 1,
    rate: float = 1.0,
    seed: int = 1,
    digest: str = "d",
    validated: bool = True,
) -> Course:
    return Course(
        method=method,
        eval_interval=eval_interval,
        rows=rows,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate_multiplier=rate,
        seed=seed,
        digest=digest,
        validated=validated,
    )


def validation_by_epoch(course: Course) -> list[float]:
    ends = range(course.steps_per_epoch, course.steps + 1, course.steps_per_epoch)
    return [metrics(course, step, full=True)["full_valid_loss"] for step in ends]


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs", "want"),
    [
        pytest.param(449, 16, 2, 58, id="a short last batch counts"),
        pytest.param(448, 16, 2, 56, id="even batches"),
        pytest.param(10, 256, 3, 3, id="a batch larger than the file"),
    ],
)
def test_steps(rows: int, batch_size: int, epochs: int, want: int) -> None:
    assert a_course(rows=rows, batch_size=batch_size, epochs=epochs).steps == want


COMMON = ("n_epochs", "batch_size", "learning_rate_multiplier")


@pytest.mark.parametrize(
    ("asked", "rate", "rows", "want"),
    [
        pytest.param({}, 2.0, 449, (3, 1, 2.0), id="few rows"),
        pytest.param({}, 1.0, 8000, (3, 16, 1.0), id="0.2 %"),
        pytest.param({}, 1.0, 10**6, (3, 256, 1.0), id="at most 256"),
        pytest.param(
            {"n_epochs": 5, "batch_size": 8, "learning_rate_multiplier": 0.5},
            1.0,
            10**6,
            (5, 8, 0.5),
            id="what was asked for stays",
        ),
    ],
)
def test_automatic_values(
    asked: dict[str, Any], rate: float, rows: int, want: tuple[int, int, float]
) -> None:
    resolved = resolve("supervised", asked, rate=rate, rows=rows)
    assert resolved == dict(zip(COMMON, want, strict=True))


@pytest.mark.parametrize(
    ("method", "sent", "want"),
    [
        pytest.param("supervised", {"beta": 9, "n_epochs": "auto"}, {}, id="of another method"),
        pytest.param("dpo", {"beta": 2}, {"beta": 2.0}, id="the highest beta"),
        pytest.param("dpo", {"l2_multiplier": 0}, {"l2_multiplier": 0.0}, id="no penalty"),
        pytest.param("dpo", {"n_epochs": None}, {}, id="null is the same as auto"),
        pytest.param(
            "reinforcement",
            {"reasoning_effort": "high", "eval_samples": 4, "compute_multiplier": 10},
            {"reasoning_effort": "high", "eval_samples": 4, "compute_multiplier": 10.0},
            id="of reinforcement",
        ),
    ],
)
def test_hyperparameters_that_are_taken(
    method: Method, sent: dict[str, Any], want: dict[str, Any]
) -> None:
    assert read(method, sent) == want


@pytest.mark.parametrize(
    ("method", "sent", "want"),
    [
        pytest.param("supervised", {"n_epochs": 51}, "between 1 and 50", id="too many epochs"),
        pytest.param("supervised", {"n_epochs": True}, "whole number", id="no number"),
        pytest.param("supervised", {"batch_size": 1.5}, "whole number", id="half a row"),
        pytest.param("supervised", {"learning_rate_multiplier": 0}, "above 0", id="no rate"),
        pytest.param("dpo", {"beta": 0}, "above 0 and at most 2", id="beta of nothing"),
        pytest.param("dpo", {"beta": 2.1}, "at most 2", id="beta too high"),
        pytest.param("dpo", {"prompt_loss_weight": 2}, "at most 1", id="a weight above 1"),
        pytest.param("reinforcement", {"compute_multiplier": 11}, "at most 10", id="compute"),
        pytest.param("reinforcement", {"eval_interval": 0}, "1 or above", id="no interval"),
        pytest.param("reinforcement", {"reasoning_effort": "x"}, "default, low", id="effort"),
    ],
)
def test_hyperparameters_that_are_refused(method: Method, sent: dict[str, Any], want: str) -> None:
    with pytest.raises(HyperparameterError, match=want) as refused:
        read(method, sent)
    assert [refused.value.name] == list(sent)


TURNS = [{"role": "user", "content": "a" * 40}, {"role": "assistant", "content": "b"}]


@pytest.mark.parametrize(
    ("row", "want_content", "want_messages"),
    [
        pytest.param({"messages": TURNS}, 10 + 1, 2, id="chat"),
        pytest.param(
            {
                "input": {"messages": TURNS[:1]},
                "preferred_output": TURNS[1:],
                "non_preferred_output": TURNS[1:],
            },
            10 + 1 + 1,
            3,
            id="preference",
        ),
        pytest.param({"messages": TURNS[:1], "answer": "42"}, 10, 1, id="reinforcement"),
    ],
)
def test_tokens_follow_the_content(
    row: dict[str, Any], want_content: int, want_messages: int
) -> None:
    dataset = read_dataset(json.dumps(row).encode() + b"\n")
    assert dataset.content_tokens == want_content
    assert dataset.tokens == want_content + want_messages * 4


def test_the_first_row_that_cannot_be_used_is_told_by_its_line() -> None:
    content = chat_rows(10) + b"\n" + json.dumps({"messages": TURNS[:1]}).encode()
    assert read_dataset(content).file_problem is None
    assert row_problem(chat_rows(10), "supervised", ()) is None
    assert (row_problem(content, "supervised", ()) or "").startswith("line 12: ")


class TestLossCurve:
    def test_more_epochs_over_fit(self) -> None:
        by_epoch = validation_by_epoch(a_course(epochs=12))
        best = min(by_epoch)
        assert by_epoch.index(best) < 5
        assert all(loss > 1.05 * best for loss in by_epoch[-3:])
        assert train_loss(a_course(epochs=12), 1200) < train_loss(a_course(epochs=12), 300)

    def test_few_epochs_do_not(self) -> None:
        by_epoch = validation_by_epoch(a_course(epochs=3))
        assert by_epoch[-1] < 1.05 * min(by_epoch)

    def test_more_rows_over_fit_less(self) -> None:
        few = validation_by_epoch(a_course(rows=100, epochs=10))
        many = validation_by_epoch(a_course(rows=5000, batch_size=50, epochs=10))
        assert few[-1] / min(few) > many[-1] / min(many)

    def test_a_tiny_rate_under_fits(self) -> None:
        course = a_course(rows=449, batch_size=16, epochs=2, rate=0.001)
        first, last = train_loss(course, 1), train_loss(course, course.steps)
        assert last > 0.98 * first

    def test_a_usual_rate_learns(self) -> None:
        course = a_course(rows=449, batch_size=16, epochs=2)
        assert train_loss(course, course.steps) < 0.6 * train_loss(course, 1)
        assert valid_loss(course, course.steps) < 0.6 * valid_loss(course, 1)

    def test_the_same_training_gives_the_same_curve(self) -> None:
        assert validation_by_epoch(a_course()) == validation_by_epoch(a_course())

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(a_course(seed=2), id="another seed"),
            pytest.param(a_course(digest="e"), id="other content"),
            pytest.param(a_course(rate=0.5), id="another rate"),
        ],
    )
    def test_another_training_gives_another_curve(self, other: Course) -> None:
        assert validation_by_epoch(a_course()) != validation_by_epoch(other)

    def test_without_a_validation_file_there_are_no_validation_metrics(self) -> None:
        found = metrics(a_course(validated=False), 10, full=True)
        assert set(found) == {"train_loss", "train_mean_token_accuracy"}

    def test_preferences_begin_undecided(self) -> None:
        course = a_course(method="dpo", rows=449, batch_size=16, epochs=2)
        assert train_loss(course, 1) == pytest.approx(math.log(2), rel=0.1)
        assert train_loss(course, course.steps) < 0.5 * train_loss(course, 1)


class TestRewardCurve:
    def test_a_usual_rate_earns_more_and_writes_more(self) -> None:
        course = a_course(method="reinforcement", rows=100, batch_size=4, epochs=4)
        first, last = rewards(course, 1), rewards(course, course.steps)
        assert last.train > 2 * first.train
        assert last.completion_tokens > first.completion_tokens > first.reasoning_tokens

    def test_a_tiny_rate_earns_nothing(self) -> None:
        course = a_course(method="reinforcement", rate=0.001)
        assert valid_reward(course, course.steps) < 1.1 * valid_reward(course, 1)

    def test_many_passes_over_few_rows_do_not_pay(self) -> None:
        course = a_course(method="reinforcement", rows=20, epochs=30)
        by_epoch = [valid_reward(course, step) for step in range(20, 601, 20)]
        assert by_epoch[-1] < max(by_epoch) - 0.05

    @pytest.mark.parametrize(
        ("interval", "want"),
        [
            pytest.param(4, [4, 8, 10], id="every four steps, and where the epoch ends"),
            pytest.param(None, [10], id="without an interval"),
        ],
    )
    def test_validation(self, interval: int | None, want: list[int]) -> None:
        course = a_course(method="reinforcement", rows=10, epochs=1, eval_interval=interval)
        steps = range(1, course.steps + 1)
        assert [step for step in steps if rewards(course, step).valid is not None] == want
