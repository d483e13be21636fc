"""On which models rows may share a sequence: tried out, and off where it changes what is learnt."""

from pathlib import Path
from typing import Any

import pytest

from finetune_trainer import attention
from finetune_trainer.errors import TrainerError
from support.tiny_model import tiny
from support.tiny_tokenizer import make_tokenizer
from support.training import config, losses, train_here

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
EXPERTS = {"num_experts_per_tok": 1, "moe_intermediate_size": 16}


def case(kind: str, what: str, /, **settings: Any) -> Any:
    return pytest.param(kind, settings, id=f"{kind}: {what}")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        case("llama", "full attention"),
        case("qwen3", "full attention", head_dim=8),
        case("phi3", "full attention"),
        case("gpt2", "learnt positions", n_embd=32, n_layer=2, n_head=4, n_positions=512),
        case("mistral", "no window", sliding_window=None),
        case("deepseek_v3", "values wider than keys", num_key_value_heads=4, n_routed_experts=2,
             n_group=1, topk_group=1, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=8,
             qk_nope_head_dim=8, v_head_dim=24, head_dim=8, **EXPERTS),
    ],
)  # fmt: skip
def test_rows_may_share_a_sequence(kind: str, settings: dict[str, Any]) -> None:
    model = tiny(kind, **settings)

    assert attention.can_pack(model, bf16=False)
    assert attention.can_pack(model, bf16=True)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        case("mistral", "a window", sliding_window=64),
        case("gpt_oss", "sinks", num_local_experts=2, num_experts_per_tok=1, head_dim=8,
             layer_types=["full_attention"] * 2),
        case("gemma2", "capped scores", head_dim=8, layer_types=["full_attention"] * 2),
        case("mamba", "a state alone", state_size=8),
        case("bamba", "a state in half of the layers", attn_layer_indices=[1], mamba_expand=2,
             **MAMBA),
        case("jamba", "a state in half of the layers", attn_layer_period=2, attn_layer_offset=1,
             mamba_d_state=8, mamba_dt_rank=4, num_experts=2, use_mamba_kernels=False),
        case("nemotron_h", "a state in half of the layers", mamba_num_heads=4, mamba_head_dim=16,
             ssm_state_size=8, n_groups=1, head_dim=8, use_mamba_kernels=False,
             layers_block_type=["mamba", "attention"]),
        case("falcon_h1", "a state beside attention", mamba_d_ssm=64, mamba_expand=2, **MAMBA),
        case("zamba2", "a state below shared attention", mamba_ngroups=1, n_mamba_heads=4,
             mamba_d_state=8, mamba_expand=2, mamba_headdim=16, num_mem_blocks=1, adapter_rank=4,
             hybrid_layer_ids=[1], layers_block_type=["mamba", "hybrid"]),
        case("qwen3_next", "linear attention", head_dim=8, linear_num_key_heads=2,
             linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
             num_experts=2, shared_expert_intermediate_size=16,
             layer_types=["linear_attention", "full_attention"], **EXPERTS),
        case("lfm2", "convolutions", layer_types=["conv", "full_attention"]),
        case("gpt_neo", "attention of its own", num_layers=2, num_heads=4,
             attention_types=[[["global", "global"], 1]]),
        case("nemotron", "does not pass on where rows begin"),
        case("bert", "attends to what follows", initializer_range=0.5),
    ],
)  # fmt: skip
def test_rows_would_change_each_other(kind: str, settings: dict[str, Any]) -> None:
    model = tiny(kind, **settings)
    before = model.config._attn_implementation

    assert not attention.can_pack(model, bf16=False)
    assert not attention.can_pack(model, bf16=True)
    assert model.config._attn_implementation == before


@pytest.fixture(scope="module")
def gpt_neo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It has neither transformers' interface of attention nor torch's own attention."""
    folder = make_tokenizer(tmp_path_factory.mktemp("neo") / "model")
    kinds = [[["global", "local"], 1]]
    tiny("gpt_neo", num_layers=2, num_heads=4, attention_types=kinds).save_pretrained(folder)
    return folder


def test_where_rows_would_change_each_other_they_are_padded(
    tmp_path: Path, gpt_neo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = train_here(config(tmp_path, gpt_neo))

    assert story.resolved["packing"].value == "False"
    assert "rows that share a sequence change each other" in story.resolved["packing"].reason
    assert story.resolved["attention"].value == "eager"
    assert list(losses(capsys.readouterr().out)) == [1, 2, 3]


def test_packing_is_refused_where_it_was_asked_for(tmp_path: Path, gpt_neo: Path) -> None:
    with pytest.raises(TrainerError, match="set it to Auto in a new FineTuneJob") as refusal:
        train_here(config(tmp_path, gpt_neo, packing="Always"))

    assert refusal.value.code == 78
