"""The emulator's arithmetic: tokens, steps, automatic values, and the shape of its loss curves."""

import json

import pytest

from azure_openai.catalogue import Hyperparameters, ResolvedHyperparameters, resolve
from azure_openai.learning import Course, metrics, train_loss, valid_loss
from azure_openai.rows import read_dataset
from support.azure_account import chat_rows


def a_course(
    *,
    rows: int = 100,
    epochs: int = 3,
    batch_size: int = 1,
    rate: float = 1.0,
    seed: int = 1,
    digest: str = "d",
    validated: bool = True,
) -> Course:
    return Course(
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


@pytest.mark.parametrize(
    ("asked", "model", "rows", "want"),
    [
        pytest.param(Hyperparameters(), "gpt-4.1-2025-04-14", 449, (3, 1, 2.0), id="few rows"),
        pytest.param(Hyperparameters(), "gpt-4.1-mini-2025-04-14", 8000, (3, 16, 1.0), id="0.2 %"),
        pytest.param(Hyperparameters(), "Ministral-3B", 10**6, (3, 256, 1.0), id="at most 256"),
        pytest.param(
            Hyperparameters(n_epochs=5, batch_size=8, learning_rate_multiplier=0.5),
            "Ministral-3B",
            10**6,
            (5, 8, 0.5),
            id="what was asked for stays",
        ),
    ],
)
def test_automatic_values(
    asked: Hyperparameters, model: str, rows: int, want: tuple[int, int, float]
) -> None:
    epochs, batch_size, rate = want
    assert resolve(asked, model=model, rows=rows) == ResolvedHyperparameters(
        n_epochs=epochs, batch_size=batch_size, learning_rate_multiplier=rate
    )


def test_tokens_follow_the_content() -> None:
    row = {
        "messages": [{"role": "user", "content": "a" * 40}, {"role": "assistant", "content": "b"}]
    }
    dataset = read_dataset(json.dumps(row).encode() + b"\n")
    assert dataset.content_tokens == 10 + 1
    assert dataset.tokens == dataset.content_tokens + 2 * 4


@pytest.mark.parametrize(
    ("messages", "want"),
    [
        pytest.param([{"role": "user"}, {"role": "assistant"}], None, id="good"),
        pytest.param([{"role": "user"}], "example 11 needs", id="no answer"),
        pytest.param([{"role": "system"}, {"role": "assistant"}], "example 11 needs", id="no user"),
        pytest.param("hello", "example 11 needs", id="no list"),
    ],
)
def test_chat_rows_are_checked(messages: object, want: str | None) -> None:
    content = chat_rows(10) + json.dumps({"messages": messages}).encode()
    dataset = read_dataset(content)
    assert dataset.file_problem is None
    assert (dataset.chat_problem or "").startswith(want or "")
    assert (dataset.chat_problem is None) == (want is None)


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
