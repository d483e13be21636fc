import json
import stat
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.errors import TrainerError
from support import training
from support.chat_rows import numbered_rows, write_jsonl
from support.training import config, losses, train_here

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

SAME_STEPS = [
    pytest.param({"packing": "Always", "microBatchSize": 8}, id="packed, all rows at once"),
    pytest.param({"packing": "Always", "microBatchSize": 1}, id="packed, a row at a time"),
    pytest.param({"packing": "Never", "microBatchSize": 3}, id="padded, three at a time"),
]


@pytest.mark.parametrize("changes", SAME_STEPS)
@pytest.mark.parametrize("peft", ["LoRA", "None"])
def test_packing_and_micro_batches_never_change_a_step(
    tmp_path: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    peft: str,
) -> None:
    common = {"batchSize": 8, "epochs": 2, "peft": peft, "learningRate": 0.01}
    plain = config(tmp_path, tiny_model, packing="Never", microBatchSize=1, **common)
    train_here(plain)
    want = losses(capsys.readouterr().out)

    train_here(config(tmp_path, tiny_model, outputDir=str(tmp_path / "other"), **changes, **common))

    got = losses(capsys.readouterr().out)
    assert list(want) == [1, 2, 3, 4]  # 12 rows: the last step of an epoch has four
    assert got == pytest.approx(want, abs=1e-4)


@pytest.mark.parametrize("peft", ["LoRA", "None"])
def test_the_result_loads_and_is_readable_by_others(
    tmp_path: Path, tiny_model: Path, peft: str
) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    task = config(tmp_path, tiny_model, peft=peft, modelDisplay=str(tiny_model))
    train_here(task)
    result = tmp_path / "out" / "result"

    kind = AutoPeftModelForCausalLM if peft == "LoRA" else AutoModelForCausalLM
    model = kind.from_pretrained(result)
    prompt = AutoTokenizer.from_pretrained(result)("What", return_tensors="pt")
    assert model.generate(**prompt, max_new_tokens=2, do_sample=False).shape[1] == 6
    modes = {stat.S_IMODE(path.stat().st_mode) for path in result.rglob("*")}
    assert modes == {0o644}
    assert stat.S_IMODE(result.stat().st_mode) == 0o755


def test_an_adapter_names_its_base_as_people_know_it(tmp_path: Path, tiny_model: Path) -> None:
    lora = {"targetModules": "AllLinear"}
    train_here(config(tmp_path, tiny_model, modelDisplay="pvc://models/tiny", lora=lora))

    settings = json.loads((tmp_path / "out/result/adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "pvc://models/tiny"
    adapted = {name.rpartition(".")[2] for name in settings["target_modules"]}
    attention = {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert adapted == attention | {"gate_proj", "up_proj", "down_proj"}
    everything = b"".join(p.read_bytes() for p in (tmp_path / "out/result").glob("*.[mj]*"))
    assert str(tiny_model).encode() not in everything


def test_the_story_says_what_was_done(tmp_path: Path, tiny_model: Path) -> None:
    held_out = write_jsonl(tmp_path / "held-out.jsonl", numbered_rows(3))
    task = config(tmp_path, tiny_model, validation=training.data_file(held_out), learningRate=0.02)

    story = train_here(task)

    assert (story.step, story.total_steps, story.resumed_from) == (3, 3, None)
    assert story.checkpoint.path == "checkpoints/checkpoint-3"
    assert story.data.examples == 12
    assert story.data.truncated == 0
    assert 0 < story.data.supervised_tokens < story.data.tokens
    assert float(story.metrics.validation_loss) < 5.6 < 5.7  # below log(259), a guess
    assert story.resolved["learningRate"].value == "0.02"
    assert story.result_path == "result"


def test_full_training_publishes_the_format_that_came(tmp_path: Path, tiny_model: Path) -> None:
    from transformers import AutoConfig

    train_here(config(tmp_path, tiny_model, peft="None", maxSteps=1, epochs=None))

    assert AutoConfig.from_pretrained(tmp_path / "out/result").dtype == (
        AutoConfig.from_pretrained(tiny_model).dtype
    )


@pytest.mark.parametrize("peft", ["LoRA", "None"])
@pytest.mark.parametrize(
    ("changes", "want"),
    [
        pytest.param({}, "is not finite at step 2", id="the loss of a step"),
        pytest.param(
            {"checkpointEverySeconds": 0}, "The model is not finite at step 1", id="at a checkpoint"
        ),
        pytest.param(
            {"maxSteps": 1, "epochs": None}, "The model is not finite at step 1",
            id="by the last update, whose loss was still fine",
        ),
    ],
)  # fmt: skip
def test_what_has_diverged_is_never_saved(
    tmp_path: Path, tiny_model: Path, peft: str, changes: dict[str, Any], want: str
) -> None:
    task = config(tmp_path, tiny_model, learningRate=1e38, peft=peft, **changes)

    with pytest.raises(TrainerError, match=want) as end:
        train_here(task)

    assert end.value.code == 74
    assert "give a lower learning rate, or data without broken rows, in a new" in str(end.value)
    assert not list((tmp_path / "out").glob("checkpoints/checkpoint-*"))
    assert not (tmp_path / "out" / "result").exists()


def test_a_shorter_limit_truncates_and_says_so(tmp_path: Path, tiny_model: Path) -> None:
    long = [{"messages": [{"role": "user", "content": "?"},
                          {"role": "assistant", "content": "4" * 300}]}]  # fmt: skip
    data = write_jsonl(tmp_path / "long.jsonl", numbered_rows(3) + long)

    story = train_here(
        config(tmp_path, tiny_model, maxSequenceLength=128, training=training.data_file(data))
    )

    assert story.data.truncated == 1
    assert story.resolved["maxSequenceLength"].value == "128"
