"""Parameter counts: the published ones, and those of the same model built by transformers on the meta device."""

import json
from functools import cache
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.models.step3p7.configuration_step3p7 import Step3p7TextConfig
from transformers.models.step3p7.modeling_step3p7 import Step3p7TextModel

from windowtax.catalog.read import catalog_entry, model_names, read_model
from windowtax.spec.mlp import ExpertsMlp, ParallelMlp

MODELS = model_names()
SAME_SHAPE = {
    "baichuan": "llama",
    "internlm2": "llama",
    "kimi_k2": "deepseek_v3",
    "mimo": "qwen2",
    "minimax_m3": "minimax_m3_vl_text",
    "minimax_text_01": "minimax",
    "qwen3_vl_moe_text": "qwen3_moe",
    "qwen3_vl_text": "qwen3",
}
"""model_type that transformers lacks, or reads only inside a larger model -> one of the same shape."""
UNKNOWN_TO_TRANSFORMERS = {
    "chatglm3-6b",
    "deepseek-moe-16b",
    "kimi-k3",
    "ling-mini-2.0",
    "longcat-flash",
    "minicpm-2b",
    "mistral-small-4",
    "nemotron-super-49b",
    "qwen2.5-vl-7b",
    "step-3.7-flash",
}
"""Of these tests/catalog/test_witness.py counts what transformers can build in another way."""
BUFFERS = ("slope_rate", "query_decay", "key_decay", "diagonal_decay")
"""Of lightning attention in transformers: worked out from the head's number, in no checkpoint."""


@cache
def built_by_transformers(name: str) -> PreTrainedModel:
    """The decoder of that catalog model without memory for its weights."""
    data: dict[str, Any] = json.loads(catalog_entry(name).path.read_text())
    data = dict(data.get("text_config", data))
    model_type = data.pop("model_type")
    for key in ("quantization_config", "auto_map", "architectures"):
        data.pop(key, None)
    if data.get("rope_scaling", 0) is None:
        del data["rope_scaling"]
    if "layernorm_epsilon" in data:
        data["rms_norm_eps"] = data.pop("layernorm_epsilon")
    if "attn_type_list" in data:
        data["layer_types"] = ["full_attention" if flag else "linear_attention" for flag in data.pop("attn_type_list")]
    config = AutoConfig.for_model(SAME_SHAPE.get(model_type, model_type), **data)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    return model


def stored(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Parameters (tied ones once) and the buffers that a checkpoint holds, such as the routers' biases."""
    saved = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in saved and not name.endswith(BUFFERS)}
    return {**dict(model.named_parameters()), **buffers}


@pytest.mark.parametrize("name", MODELS)
def test_total_is_the_published_count(name: str) -> None:
    assert read_model(name).total_parameters == catalog_entry(name).total_parameters


BUILDABLE = [name for name in MODELS if name not in UNKNOWN_TO_TRANSFORMERS]


@pytest.mark.parametrize("name", BUILDABLE)
def test_total_is_that_of_transformers(name: str) -> None:
    total = sum(tensor.numel() for tensor in stored(built_by_transformers(name)).values())
    assert read_model(name).total_parameters == total


@pytest.mark.parametrize("name", BUILDABLE)
def test_active_leaves_out_the_experts_not_chosen_and_the_rows_not_looked_up(name: str) -> None:
    spec = read_model(name)
    tensors = stored(built_by_transformers(name))
    routed = sum(tensor.numel() for key, tensor in tensors.items() if ".experts." in key)
    tables = sum(t.numel() for key, t in tensors.items() if key.endswith(("tid2eid", "embed_tokens_per_layer.weight")))
    mlps = [layer.mlp.experts if isinstance(layer.mlp, ParallelMlp) else layer.mlp for layer in spec.layers]
    shares = {(mlp.num_experts, mlp.top_k) for mlp in mlps if isinstance(mlp, ExpertsMlp)}
    assert len(shares) == (1 if routed else 0)
    idle = sum(routed * (count - chosen) // count for count, chosen in shares)
    idle += tables - tables // spec.vocab_size if spec.family != "gemma3n" else tables - tables // 262_144
    assert spec.active_parameters == spec.total_parameters - idle


def test_step_is_counted_by_its_decoder_in_transformers() -> None:
    """Its configuration class does not read the published file, so the sizes are handed to it one by one."""
    data: dict[str, Any] = json.loads(catalog_entry("step-3.7-flash").path.read_text())
    same = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size",
            "intermediate_size", "sliding_window", "layer_types", "num_experts_per_tok", "moe_intermediate_size",
            "share_expert_dim")  # fmt: skip
    dense = data["first_k_dense_replace"]
    config = Step3p7TextConfig(
        **{key: data[key] for key in same},
        n_routed_experts=data["num_experts"],
        mlp_layer_types=["dense"] * dense + ["sparse"] * (data["num_hidden_layers"] - dense),
    )
    with torch.device("meta"):
        decoder = Step3p7TextModel(config)
    counted = sum(tensor.numel() for tensor in decoder.parameters()) + data["vocab_size"] * data["hidden_size"]
    biases = sum(tensor.numel() for name, tensor in decoder.named_buffers() if "bias" in name)
    assert read_model("step-3.7-flash").total_parameters == counted + biases


ACTIVE = {
    "mixtral-8x7b": (12.9, 0),
    "mixtral-8x22b": (39, 0),
    "qwen3-30b-a3b": (3.3, 0),
    "qwen3-235b-a22b": (22, 0),
    "qwen3-coder-480b-a35b": (35, 0),
    "llama-4-scout": (17, 0),
    "llama-4-maverick": (17, 0),
    "mimo-v2-flash": (15, 0),
    "gpt-oss-20b": (3.6, 1),
    "gpt-oss-120b": (5.1, 1),
    "minimax-m2.5": (10, 2),
    "glm-4.5": (32, 2),
    "glm-4.5-air": (12, 2),
    "deepseek-v2": (21, 0),
    "deepseek-v2-lite": (2.4, 1),
    "deepseek-v3": (37, 0),
    "deepseek-v4-pro": (49, 0),
    "deepseek-v4-flash": (13, 1),
    "kimi-k2": (32, 0),
    "glm-5": (40, 1),
    "qwen3.5-397b-a17b": (17, 0),
    "minimax-text-01": (45.9, 2),
    "jamba-v0.1": (12, 0),
    "gemma-4-26b-a4b": (3.8, 0),
}
"""Billions that the model cards print as active, and how many of embedding and head they leave out."""


@pytest.mark.parametrize("name", ACTIVE)
def test_active_rounds_to_the_published_figure(name: str) -> None:
    billions, left_out = ACTIVE[name]
    spec = read_model(name)
    active = (spec.active_parameters - left_out * spec.vocab_size * spec.hidden_size) / 1e9
    # Cards print one or two figures and round either way.
    assert active == pytest.approx(billions, rel=0.035)


SOFTMAX = [name for name in BUILDABLE if set(read_model(name).kinds) <= {"full", "sliding", "chunked"}]


@pytest.mark.parametrize("name", SOFTMAX)
def test_layers_slide_where_those_of_transformers_do(name: str) -> None:
    config = built_by_transformers(name).config
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        window = getattr(config, "sliding_window", None) or config.max_position_embeddings
        kinds = ["sliding_attention" if window < config.max_position_embeddings else "full_attention"]
        kinds *= config.num_hidden_layers
    assert [f"{layer.attention.kind}_attention" for layer in read_model(name).layers] == kinds


def test_tied_embedding_counts_once_and_multiplies_as_head() -> None:
    spec = read_model("qwen3-0.6b")
    assert sum(weight.name == "head" for weight in spec.weights()) == 0
    assert spec.head_flops_per_token == 2 * 151_936 * 1_024
