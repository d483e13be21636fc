"""What only a GPU runs: varlen attention, the fused head, bfloat16 kernels."""

from pathlib import Path
from typing import Any

import pytest

from support.training import config, losses, train_here

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        "not __import__('torch').cuda.is_available()", reason="this machine has no GPU"
    ),
]


def here() -> dict[str, Any]:
    from finetune_trainer import hardware

    return vars(hardware.inspect())


def test_packed_rows_cost_what_padded_ones_do(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = {"batchSize": 8, "epochs": 2, "learningRate": 0.01}
    train_here(config(tmp_path, tiny_model, packing="Never", microBatchSize=1, **common), **here())
    want = losses(capsys.readouterr().out)

    other = str(tmp_path / "other")
    story = train_here(config(tmp_path, tiny_model, outputDir=other, **common), **here())

    assert story.resolved["attention"].value == "varlen"
    assert losses(capsys.readouterr().out) == pytest.approx(want, abs=0.02)


@pytest.mark.parametrize("peft", ["LoRA", "None"])
def test_a_gpu_learns_what_a_cpu_does(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], peft: str
) -> None:
    task = config(tmp_path, tiny_model, peft=peft, learningRate=0.01)
    train_here(task)
    want = losses(capsys.readouterr().out)

    train_here(task | {"outputDir": str(tmp_path / "other")}, **here())

    assert losses(capsys.readouterr().out) == pytest.approx(want, abs=0.05)


def test_activations_that_are_computed_again_change_nothing(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = config(tmp_path, tiny_model, microBatchSize=1, learningRate=0.01)
    train_here(task, **here())
    want = losses(capsys.readouterr().out)

    other = task | {"outputDir": str(tmp_path / "other")}
    story = train_here(other, **(here() | {"memory_bytes": 1 << 30}))

    assert story.resolved["activationCheckpointing"].value == "True"
    assert losses(capsys.readouterr().out) == pytest.approx(want, abs=0.02)
