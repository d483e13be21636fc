"""Overfitting and underfitting: figures of the steps in, conditions out."""

import pytest

from finetune_api.reasons import ConditionType
from finetune_api.status import ResultCheckpoint
from finetune_operator.core import fitting
from finetune_operator.core.observed import Figures, StepFigures


def evaluated(*losses: float) -> list[StepFigures]:
    """An evaluation every ten steps."""
    return [
        StepFigures(step=10 * i, figures=Figures(validation_loss=loss))
        for i, loss in enumerate(losses, start=1)
    ]


def trained(*losses: float) -> list[StepFigures]:
    """A training loss at each step."""
    return [
        StepFigures(step=i, figures=Figures(train_loss=loss))
        for i, loss in enumerate(losses, start=1)
    ]


def rewarded(*rewards: float) -> list[StepFigures]:
    """A validation reward every ten steps."""
    return [
        StepFigures(step=10 * i, figures=Figures(validation_reward=reward))
        for i, reward in enumerate(rewards, start=1)
    ]


def falling(first: float, last: float, steps: int) -> list[StepFigures]:
    """A training loss that goes straight from one value to the other."""
    return trained(*(first + (last - first) * i / (steps - 1) for i in range(steps)))


@pytest.mark.parametrize(
    ("steps", "want"),
    [
        pytest.param([], {}, id="nothing known"),
        pytest.param(evaluated(1.0, 2.0, 3.0), {}, id="three evaluations: too few to judge"),
        pytest.param(evaluated(1.0, 0.9, 0.8, 0.7), {"Overfitting": False}, id="it fell"),
        pytest.param(evaluated(1.0, 1.1, 1.2, 1.3), {"Overfitting": True}, id="it rose at once"),
        pytest.param(
            evaluated(2.0, 1.0, 1.06, 1.07, 1.06), {"Overfitting": True}, id="three above by 5 %"
        ),
        pytest.param(
            evaluated(2.0, 1.0, 1.06, 1.04, 1.06), {"Overfitting": False}, id="one of them near"
        ),
        pytest.param(
            evaluated(2.0, 1.2, 1.3, 1.2, 1.0), {"Overfitting": False}, id="a hill on the way"
        ),
        pytest.param(falling(2.0, 1.0, 19), {}, id="19 steps: too few to judge"),
        pytest.param(falling(2.0, 1.0, 20), {"Underfitting": False}, id="the loss halved"),
        pytest.param(falling(2.0, 1.98, 50), {"Underfitting": True}, id="it fell by 1 %"),
        pytest.param(falling(1.0, 2.0, 50), {"Underfitting": True}, id="it rose"),
        pytest.param(rewarded(0.5), {}, id="one evaluation of rewards"),
        pytest.param(rewarded(0.1, 0.4, 0.3), {"Underfitting": False}, id="the reward rose"),
        pytest.param(rewarded(0.3, 0.4, 0.3), {"Underfitting": True}, id="the reward came back"),
        pytest.param(
            [*falling(2.0, 1.99, 50), *rewarded(0.1, 0.2)],
            {"Underfitting": False},
            id="where there are rewards they count",
        ),
    ],
)
def test_how_well_it_fits(steps: list[StepFigures], want: dict[str, bool]) -> None:
    got = {fact.type: fact.status == "True" for fact in fitting.facts(steps, [])}

    assert got == want


@pytest.mark.parametrize(
    ("kept", "want"),
    [
        pytest.param([20, 30], "use its checkpoint ckpt-20", id="the best one is kept"),
        pytest.param([30, 40], "train for fewer epochs", id="it is gone"),
    ],
)
def test_the_best_checkpoint_is_named(kept: list[int], want: str) -> None:
    checkpoints = [ResultCheckpoint(name=f"ckpt-{step}", step=step) for step in kept]

    (fact,) = fitting.facts(evaluated(2.0, 1.0, 1.5, 1.6, 1.7), checkpoints)

    assert fact.type == ConditionType.OVERFITTING
    assert "lowest at step 20 (1) and ended at 1.7" in fact.message
    assert want in fact.message


def test_the_last_of_each_figure_counts() -> None:
    steps = [*evaluated(1.5, 1.25), *trained(0.9, 0.8), *rewarded(0.1)]

    assert fitting.final(steps) == Figures(
        train_loss=0.8, validation_loss=1.25, validation_reward=0.1
    )
