from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.batches import StepCollator, groups

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

LENGTHS = (9, 30, 4, 17, 4, 23)


def examples() -> list[dict[str, Any]]:
    """Rows of different lengths; the last half of each carries loss."""
    made = []
    for line, length in enumerate(LENGTHS):
        ids = [(7 * line + 3 * place) % 250 for place in range(length)]
        half = length // 2
        made.append({"input_ids": ids, "labels": [-100] * half + ids[half:], "line": line})
    return made


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        pytest.param(2, [[30, 23], [17, 9], [4, 4]], id="pairs of similar length"),
        pytest.param(6, [[30, 23, 17, 9, 4, 4]], id="the whole step"),
        pytest.param(4, [[30, 23, 17, 9], [4, 4]], id="a smaller last one"),
    ],
)
def test_a_step_is_cut_into_groups(rows: int, want: list[list[int]]) -> None:
    made = groups(examples(), rows)

    assert [[len(example["input_ids"]) for example in group] for group in made] == want


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("rows", [1, 4, 6])
def test_nothing_of_a_step_is_lost(packing: bool, rows: int) -> None:
    step = StepCollator(rows=rows, packing=packing, pad_token=0)(examples())

    targets = sum(int((micro["targets"] != -100).sum()) for micro in step["micro_batches"])
    assert targets == step["supervised"] == sum(n - n // 2 for n in LENGTHS)
    assert step["tokens"] == sum(LENGTHS)
    assert step["probe"]["input_ids"].shape == (1, min(LENGTHS))


def test_packed_rows_keep_their_own_positions() -> None:
    (micro,) = StepCollator(rows=6, packing=True, pad_token=0)(examples())["micro_batches"]

    assert micro["cu_seq_lens_q"].tolist() == [0, 30, 53, 70, 79, 83, 87]
    assert micro["position_ids"][0, 30:33].tolist() == [0, 1, 2]
    assert micro["max_length_q"] == 30


@pytest.mark.parametrize("rows", [2, 6])
def test_packed_rows_cost_the_same_loss_and_gradient_as_padded_ones(
    tiny_model: Path, rows: int
) -> None:
    want_loss, want_gradient = loss_and_gradient(tiny_model, rows=1, packing=False)
    loss, gradient = loss_and_gradient(tiny_model, rows=rows, packing=True)

    assert loss == pytest.approx(want_loss, abs=1e-4)
    assert float((gradient - want_gradient).abs().max()) < 1e-4


def test_scoring_tells_how_many_rows_are_done(tiny_model: Path) -> None:
    from finetune_trainer import models
    from finetune_trainer.conversation import Example
    from finetune_trainer.evaluation import mean_loss

    heard: list[int] = []
    collator = StepCollator(rows=4, packing=False, pad_token=0)
    model = models.load(tiny_model, bf16=False, attention="eager")
    rows = [Example(**example) for example in examples()]

    mean_loss(model, rows, collator, autocast=False, told=heard.append)

    assert heard == [4, 6]


def loss_and_gradient(model_folder: Path, *, rows: int, packing: bool) -> tuple[float, Any]:
    """The summed loss of a step, and its gradient in the embeddings."""
    from finetune_trainer import attention, models
    from finetune_trainer.steps import summed_loss

    attention.register()
    model = models.load(model_folder, bf16=False, attention=attention.NAME if packing else "eager")
    step = StepCollator(rows=rows, packing=packing, pad_token=0)(examples())
    total = sum(summed_loss(model, micro) for micro in step["micro_batches"])
    total.backward()
    return float(total), model.get_input_embeddings().weight.grad
