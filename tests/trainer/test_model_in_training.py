"""The model while it is trained: number formats, dropout, activations that are computed again."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer import models
from support.training import config, losses, train_here

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

NO_ROOM = 1 << 30
"""Bytes of memory: nothing is left for activations."""


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every model that is loaded, as it is then trained."""
    found: list[Any] = []
    load = models.load

    def keep(*args: Any, **more: Any) -> Any:
        found.append(load(*args, **more))
        return found[-1]

    monkeypatch.setattr(models, "load", keep)
    return found


def dtypes(model: Any, *, trained: bool) -> set[str]:
    chosen = (each for each in model.parameters() if each.requires_grad is trained)
    return {str(each.dtype).removeprefix("torch.") for each in chosen}


@pytest.mark.parametrize(
    ("peft", "fast_bf16", "frozen", "trained"),
    [
        pytest.param("LoRA", True, {"bfloat16"}, {"float32"}, id="LoRA over a bfloat16 base"),
        pytest.param("LoRA", False, {"float32"}, {"float32"}, id="LoRA where bfloat16 is slow"),
        pytest.param("None", True, set(), {"float32"}, id="every weight: float32"),
    ],
)
def test_only_what_is_frozen_is_held_in_bfloat16(
    tmp_path: Path,
    tiny_model: Path,
    loaded: list[Any],
    peft: str,
    fast_bf16: bool,
    frozen: set[str],
    trained: set[str],
) -> None:
    story = train_here(config(tmp_path, tiny_model, peft=peft), fast_bf16=fast_bf16)

    (model,) = loaded
    assert dtypes(model, trained=False) == frozen
    assert dtypes(model, trained=True) == trained
    assert story.resolved["dtype"].value == (frozen or trained).pop()


def test_a_base_in_bfloat16_learns_the_same(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = config(tmp_path, tiny_model, epochs=4, learningRate=0.02)
    train_here(task)
    want = losses(capsys.readouterr().out)

    train_here(task | {"outputDir": str(tmp_path / "other")}, fast_bf16=True)

    got = losses(capsys.readouterr().out)
    assert want[12] < want[1] - 0.2
    assert got == pytest.approx(want, abs=0.1)


@pytest.mark.parametrize("peft", ["LoRA", "None"])
def test_activations_that_are_computed_again_change_nothing(
    tmp_path: Path,
    tiny_model: Path,
    loaded: list[Any],
    capsys: pytest.CaptureFixture[str],
    peft: str,
) -> None:
    task = config(tmp_path, tiny_model, peft=peft, microBatchSize=1, learningRate=0.01)
    train_here(task)
    want = losses(capsys.readouterr().out)

    story = train_here(task | {"outputDir": str(tmp_path / "other")}, memory_bytes=NO_ROOM)

    assert story.resolved["activationCheckpointing"].value == "True"
    assert [model.is_gradient_checkpointing for model in loaded] == [False, True]
    assert losses(capsys.readouterr().out) == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_dropout_is_that_of_the_spec(
    tmp_path: Path, tiny_model: Path, loaded: list[Any], dropout: float
) -> None:
    story = train_here(config(tmp_path, tiny_model, lora={"dropout": dropout}))

    settings = json.loads((tmp_path / "out/result/adapter_config.json").read_text())
    assert settings["lora_dropout"] == dropout
    layers = [each for name, each in loaded[0].named_modules() if name.endswith("lora_dropout")]
    chances = {getattr(each["default"], "p", 0.0) for each in layers}
    assert chances == {dropout}
    assert story.resolved["loraDropout"].value == f"{dropout:g}"
