from typing import Any

import pytest

from finetune_api.pods import TrainerConfig
from finetune_trainer.config import fingerprint
from finetune_trainer.decisions import ModelFacts, Plan, as_before, decide
from finetune_trainer.errors import TrainerError
from finetune_trainer.hardware import Hardware, bf16_pays, refuse_many, usable_threads

GIB = 1 << 30
ROWS = [200] * 449


def model(**changes: Any) -> ModelFacts:
    """SmolLM2-135M."""
    facts = {
        "parameters": 134_515_008,
        "layers": 30,
        "hidden": 576,
        "intermediate": 1536,
        "vocabulary": 49152,
        "max_positions": 8192,
        "attention": "sdpa",
        "packable": True,
    }
    return ModelFacts(**(facts | changes))


def machine(**changes: Any) -> Hardware:
    """Two cores with bf16 and 8 GiB."""
    facts = {
        "device": "cpu",
        "name": "2 CPU cores",
        "memory_bytes": 8 * GIB,
        "fast_bf16": True,
    }
    return Hardware(**(facts | changes))


def config(**changes: Any) -> TrainerConfig:
    return TrainerConfig.model_validate(
        {
            "job": "team/sums",
            "attempt": 1,
            "model": {"kind": "file", "path": "/mnt/model"},
            "modelDisplay": "org/model",
            "training": {"source": {"kind": "file", "path": "/rows"}, "display": "rows"},
            "outputDir": "/mnt/output",
        }
        | changes
    )


def plan(
    task: TrainerConfig | None = None,
    facts: ModelFacts | None = None,
    rows: list[int] | None = None,
    hardware: Hardware | None = None,
) -> Plan:
    return decide(task or config(), facts or model(), rows or ROWS, hardware or machine())


@pytest.mark.parametrize(
    ("made", "want"),
    [
        pytest.param(
            plan(),
            {"learningRate": "0.0002", "epochs": "3", "batchSize": "8", "totalSteps": "171"},
            id="nothing set: LoRA's defaults",
        ),
        pytest.param(
            plan(), {"loraRank": "16", "loraAlpha": "32", "loraDropout": "0"}, id="adapter defaults"
        ),
        pytest.param(
            plan(), {"loraTargetModules": "AllLinear"}, id="every linear layer gets an adapter"
        ),
        pytest.param(
            plan(config(lora={"rank": 8})), {"loraRank": "8", "loraAlpha": "16"},
            id="alpha follows the rank",
        ),
        pytest.param(
            plan(config(peft="None")), {"learningRate": "2e-05", "dtype": "float32"},
            id="full: a tenth of the rate, float32 weights",
        ),
        pytest.param(
            plan(config(learningRateMultiplier=1.5)), {"learningRate": "0.0003"},
            id="a multiplier times the default",
        ),
        pytest.param(
            plan(config(maxSteps=8, batchSize=4)), {"maxSteps": "8", "batchSize": "4"},
            id="maxSteps instead of epochs",
        ),
        pytest.param(
            plan(rows=[50] * 3), {"batchSize": "3", "totalSteps": "3"}, id="three rows: one step"
        ),
        pytest.param(
            plan(facts=model(max_positions=512)), {"maxSequenceLength": "512"},
            id="the model's own limit",
        ),
        pytest.param(
            plan(), {"packing": "True", "attention": "segments", "dtype": "bfloat16"},
            id="CPU: packed, each row attends to itself",
        ),
        pytest.param(
            plan(hardware=machine(device="cuda")), {"attention": "varlen"}, id="GPU: varlen kernels"
        ),
        pytest.param(
            plan(facts=model(packable=False)), {"packing": "False", "attention": "sdpa"},
            id="rows would change each other: not packed",
        ),
        pytest.param(
            plan(hardware=machine(fast_bf16=False)),
            {"dtype": "float32", "computedIn": "float32"},
            id="no bf16 in hardware: float32",
        ),
        pytest.param(plan(), {"microBatchSize": "8"}, id="the whole step fits"),
        pytest.param(
            plan(hardware=machine(memory_bytes=2 * GIB)), {"microBatchSize": "1"},
            id="little memory: a row at a time",
        ),
        pytest.param(
            plan(config(batchSize=64)), {"microBatchSize": "14"}, id="8 GiB hold 14 rows"
        ),
        pytest.param(
            plan(config(microBatchSize=100)), {"microBatchSize": "8"}, id="never more than a step"
        ),
        pytest.param(
            plan(rows=[1000] * 20, hardware=machine(memory_bytes=2 * GIB)),
            {"activationCheckpointing": "True", "microBatchSize": "1"},
            id="one row does not fit: recomputation",
        ),
    ],
)  # fmt: skip
def test_open_choices_are_decided(made: Plan, want: dict[str, str]) -> None:
    assert {name: made.resolved[name].value for name in want} == want


def test_every_value_has_a_reason() -> None:
    assert all(entry.reason for entry in plan().resolved.values())
    assert plan(config(batchSize=4)).resolved["batchSize"].reason == "set in spec"
    asked = plan(config(lora={"targetModules": "AllLinear"})).resolved
    assert asked["loraTargetModules"].reason == "set in spec"
    assert "loraTargetModules" not in plan(config(peft="None")).resolved


@pytest.mark.parametrize(
    ("changes", "facts", "want"),
    [
        pytest.param(
            {"packing": "Always"},
            {"packable": False},
            "change each other: set it to Auto in a new FineTuneJob",
            id="packing",
        ),
        pytest.param(
            {"maxSequenceLength": 9000},
            {},
            "reads at most 8192 tokens: lower it",
            id="sequence length",
        ),
    ],
)
def test_what_cannot_work_is_refused(
    changes: dict[str, Any], facts: dict[str, Any], want: str
) -> None:
    with pytest.raises(TrainerError, match=want) as refusal:
        plan(config(**changes), model(**facts))

    assert refusal.value.code == 78


def test_saying_what_is_the_only_choice_makes_no_other_training() -> None:
    asked = config(lora={"targetModules": "AllLinear"})

    assert fingerprint(asked, {}) == fingerprint(config(), {})
    assert fingerprint(config(lora={"rank": 8}), {}) != fingerprint(config(), {})


def test_a_resumed_run_decides_as_before_on_other_hardware() -> None:
    task = config(learningRateMultiplier=1.5)
    before = plan(task)
    closed, hardware = as_before(
        task, machine(memory_bytes=2 * GIB, fast_bf16=False), before.resolved
    )

    after = plan(closed, hardware=hardware)

    assert after.micro_batch_size == before.micro_batch_size == 8
    assert after.learning_rate == before.learning_rate
    assert after.bf16
    assert after.packing
    assert not plan(closed, model(packable=False), hardware=hardware).packing


def test_more_than_one_gpu_would_be_paid_for_and_not_used() -> None:
    refuse_many(1)

    with pytest.raises(TrainerError, match="The pod has 2 GPUs, but this release trains on") as no:
        refuse_many(2)

    assert no.value.code == 78


@pytest.mark.parametrize(
    ("limit", "want"),
    [
        pytest.param(None, 4, id="no limit: every core"),
        pytest.param(1.5, 2, id="a fraction counts as a core from a half"),
        pytest.param(0.2, 1, id="never none"),
        pytest.param(64.0, 4, id="never more than there are"),
    ],
)
def test_threads_follow_the_cpu_limit(limit: float | None, want: int) -> None:
    assert usable_threads(limit, 4) == want


@pytest.mark.parametrize(
    ("vendor", "flags", "want"),
    [
        pytest.param("AuthenticAMD", {"avx512f", "avx512_bf16"}, True, id="AMD: twice the work"),
        pytest.param("GenuineIntel", {"avx512f", "avx512_bf16"}, False, id="Intel: no gain"),
        pytest.param("GenuineIntel", {"avx512f"}, False, id="no instruction for it"),
        pytest.param("", {"asimd", "bf16"}, True, id="ARM"),
    ],
)
def test_bf16_is_used_where_it_pays(vendor: str, flags: set[str], want: bool) -> None:
    assert bf16_pays(vendor, flags) == want
