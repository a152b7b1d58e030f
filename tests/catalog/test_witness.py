"""What transformers keeps, for tiny random models of every family that it can build: the same numbers as the spec.

Each row is the smallest config that shows what is particular about a family. The model runs over two lengths of text
with its own cache: what the cache grows by per token, the sizes of recurrent states and the channels of convolutions
must be those of the layout, and the parameters those of the spec. Windows are checked by their layers; transformers
keeps window - 1 tokens, since the query brings its own.
"""

import json
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.mistral4.modeling_mistral4 import Mistral4ForCausalLM

from windowtax.catalog.read import read_config
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.model import ModelSpec

BF16 = cache_dtype("bf16")
SHORT, LONG = 24, 40

SMALL: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 56,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
HEAD: dict[str, Any] = {"head_dim": 16}
WINDOW: dict[str, Any] = {"sliding_window": 8}
MIXED: dict[str, Any] = {"layer_types": ["sliding_attention", "full_attention"] * 2}
LATENT: dict[str, Any] = {
    "num_key_value_heads": 6,
    "kv_lora_rank": 20,
    "q_lora_rank": 12,
    "qk_nope_head_dim": 10,
    "qk_rope_head_dim": 8,
    "v_head_dim": 14,
}
EXPERTS: dict[str, Any] = {
    "moe_intermediate_size": 20,
    "n_routed_experts": 6,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
NAMED_EXPERTS: dict[str, Any] = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 20}
LOCAL_EXPERTS: dict[str, Any] = {"num_local_experts": 6, "num_experts_per_tok": 2}
MAMBA: dict[str, Any] = {"mamba_n_heads": 6, "mamba_d_head": 16, "mamba_d_state": 12, "mamba_n_groups": 2}
HYBRID: dict[str, Any] = {"layer_types": ["linear_attention", "linear_attention", "full_attention", "linear_attention"]}

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "afmoe": ("afmoe", {**HEAD, **WINDOW, **NAMED_EXPERTS, "num_shared_experts": 1}),
    "apertus": ("apertus", {}),
    "arcee": ("arcee", HEAD),
    "bailing hybrid": (
        "bailing_hybrid",
        {
            **{key: value for key, value in LATENT.items() if key != "q_lora_rank"},
            **HYBRID,
            "linear_head_dim": 16,
            "linear_num_heads": 6,
            "num_experts": 6,
            "num_experts_per_token": 2,
            "moe_intermediate_size": 20,
            "num_expert_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "num_nextn_predict_layers": 0,
            "model_max_length": 128,
        },
    ),
    "bamba": ("bamba", {**MAMBA, "attn_layer_indices": [1]}),
    "cohere, normed": ("cohere", {"use_qk_norm": True}),
    "cwm": ("cwm", {**HEAD, **WINDOW, **MIXED}),
    "dots1": ("dots1", {**EXPERTS, **HEAD, "layer_types": ["full_attention"] * 4}),
    "ernie 4.5": ("ernie4_5", HEAD),
    "ernie 4.5, experts": (
        "ernie4_5_moe",
        {
            "moe_num_experts": 6,
            "moe_k": 2,
            "moe_intermediate_size": 20,
            "moe_layer_end_index": 3,
            "moe_num_shared_experts": 1,
        },
    ),
    "exaone 4": ("exaone4", {**HEAD, **WINDOW}),
    "exaone, experts": ("exaone_moe", {**HEAD, **WINDOW, **NAMED_EXPERTS, "num_shared_experts": 1}),
    "falcon h1": ("falcon_h1", {**MAMBA, "mamba_d_ssm": 96, **HEAD}),
    "falcon mamba": ("falcon_mamba", {"state_size": 12, "intermediate_size": 96}),
    "gemma": ("gemma", HEAD),
    "glm 4.7 flash": ("glm4_moe_lite", {**LATENT, **EXPERTS}),
    "granite": ("granite", {}),
    "granite, experts": ("granitemoe", LOCAL_EXPERTS),
    "granite, shared": ("granitemoeshared", {**LOCAL_EXPERTS, "shared_intermediate_size": 24}),
    "granite, hybrid": (
        "granitemoehybrid",
        {**MAMBA, **LOCAL_EXPERTS, "shared_intermediate_size": 24, "layer_types": ["mamba", "attention"] * 2},
    ),
    "hunyuan": ("hunyuan_v1_dense", HEAD),
    "hunyuan, experts": ("hunyuan_v1_moe", {**HEAD, "num_experts": 6, "moe_topk": 2}),
    "hy3": ("hy_v3", {**HEAD, **NAMED_EXPERTS, "num_shared_experts": 1}),
    "kimi linear": (
        "kimi_linear",
        {
            **LATENT,
            **HYBRID,
            "q_lora_rank": None,
            "linear_head_dim": 16,
            "linear_num_heads": 6,
            "num_experts": 6,
            "num_experts_per_token": 2,
            "moe_intermediate_size": 20,
            "model_max_length": 128,
        },
    ),
    "lfm2": ("lfm2", {"layer_types": ["conv", "full_attention"] * 2, "full_attn_idxs": None}),
    "lfm2, experts": ("lfm2_moe", {**NAMED_EXPERTS, "layer_types": ["conv", "full_attention"] * 2}),
    "mamba": ("mamba", {"state_size": 12, "intermediate_size": 96}),
    "mamba 2": ("mamba2", {"num_heads": 6, "head_dim": 16, "state_size": 12, "n_groups": 2}),
    "minicpm 3": ("minicpm3", LATENT),
    "minimax m3": (
        "minimax_m3_vl_text",
        {
            **HEAD,
            **LOCAL_EXPERTS,
            "rotary_dim": 8,
            "dense_intermediate_size": 40,
            "shared_intermediate_size": 24,
            "index_n_heads": 2,
            "index_head_dim": 16,
            "index_block_size": 4,
            "index_topk_blocks": 2,
            "layer_types": ["full_attention", "minimax_m3_sparse"] * 2,
            "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
        },
    ),
    "ministral 8b": ("ministral", {**HEAD, **WINDOW, **MIXED}),
    "ministral 3": ("ministral3", HEAD),
    "mistral 4": ("mistral4", {**LATENT, **EXPERTS, "first_k_dense_replace": 0}),
    "nemotron": ("nemotron", HEAD),
    "olmo 2": ("olmo2", {}),
    "olmo 3": ("olmo3", {**WINDOW, **MIXED}),
    "olmoe": ("olmoe", {"num_experts": 6, "num_experts_per_tok": 2}),
    "phi": ("phi", {}),
    "phi, experts": ("phimoe", {**LOCAL_EXPERTS, "attention_bias": True, "lm_head_bias": True}),
    "qwen2, experts": (
        "qwen2_moe",
        {**NAMED_EXPERTS, "shared_expert_intermediate_size": 24},
    ),
    "seed": ("seed_oss", {**HEAD, "attention_out_bias": True, "mlp_bias": True}),
    "solar": ("solar_open", {**EXPERTS, **HEAD, "first_k_dense_replace": 0}),
    "starcoder 2": ("starcoder2", WINDOW),
    "youtu": ("youtu", LATENT),
}


def built(name: str) -> tuple[PreTrainedModel, ModelSpec]:
    """The tiny model of that row, and our spec of the config.json that it would save."""
    kind, changes = ROWS[name]
    torch.manual_seed(0)
    known = CONFIG_MAPPING[kind]()
    sizes = {key: value for key, value in SMALL.items() if hasattr(known, key)}
    config = CONFIG_MAPPING[kind](**{**sizes, **changes})
    saved = json.loads(json.dumps(config.to_dict(), default=str))
    if kind == "mistral4":  # no part of AutoModelForCausalLM: the published model is a wrapper around it
        model = Mistral4ForCausalLM(config)  # type: ignore[arg-type]
    else:
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return model.eval(), read_config({**saved, "architectures": [type(model).__name__]}, name)


def kept(model: PreTrainedModel, num_tokens: int) -> Any:
    """The cache after so many tokens."""
    with torch.no_grad():
        found = model(torch.arange(num_tokens)[None] % 90 + 3, use_cache=True)
    return found.past_key_values if "past_key_values" in found else found.cache_params


def rows_of(cache: Any) -> tuple[int, int]:
    """Numbers kept for tokens in layers that grow, and how many layers slide."""
    count, sliding = 0, 0
    for layer in cache.layers:
        if getattr(layer, "is_sliding", False):
            sliding += 1
            continue
        for name in ("keys", "values", "idx_keys"):
            tensor = getattr(layer, name, None)
            count += tensor.numel() if tensor is not None else 0
    return count, sliding


def states_of(cache: Any) -> tuple[int, int]:
    """Numbers of all recurrent states, and channels of all convolutions."""
    found = [(state, conv) for layer in cache.layers for state, conv in _states(layer)]
    return sum(s.numel() for s, _ in found if s is not None), sum(c.shape[1] for _, c in found if c is not None)


def _states(layer: Any) -> list[tuple[torch.Tensor | None, torch.Tensor | None]]:
    states, convs = getattr(layer, "recurrent_states", {}), getattr(layer, "conv_states", {})
    return [(states.get(key), convs.get(key)) for key in {*states, *convs}]


def planned_rows(spec: ModelSpec) -> tuple[int, int]:
    """Numbers that a further token costs where nothing slides, and how many layers slide."""
    parts = [part for layer in spec.layers for part in layer.attention.caches(BF16) if not part.is_state]
    return sum(part.token_bytes // 2 for part in parts if part.window is None), sum(p.window is not None for p in parts)


def planned_states(spec: ModelSpec) -> tuple[int, int]:
    states = [part for layer in spec.layers for part in layer.attention.caches(BF16) if part.is_state]
    planes = [plane for part in states for plane in part.planes]
    numbers = sum(_count(plane.shape) for plane in planes if plane.name == "state")
    return numbers, sum(plane.shape[0] for plane in planes if plane.name == "conv")


def _count(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


@pytest.mark.parametrize("name", ROWS)
def test_parameters_and_cache_are_those_of_transformers(name: str) -> None:
    model, spec = built(name)
    model.tie_weights()
    saved = model.state_dict().keys()
    buffers = [buffer for key, buffer in model.named_buffers() if key in saved]
    assert spec.total_parameters == sum(t.numel() for t in (*model.parameters(), *buffers))
    short, long = kept(model, SHORT), kept(model, LONG)
    grown = (rows_of(long)[0] - rows_of(short)[0]) / (LONG - SHORT)
    growth, sliding = planned_rows(spec)
    assert (growth, sliding) == (grown, rows_of(long)[1])
    assert states_of(long) == states_of(short) == planned_states(spec)
