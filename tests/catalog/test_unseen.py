"""Files that nobody here has seen: wrappers, other spellings, quantised checkpoints, nonsense. Each plans exactly or is
refused with a sentence; none is guessed at and none crashes."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.catalog.samples import model_of_each_family, raw
from windowtax.base.errors import BadInput, UnsupportedModel, WindowtaxError
from windowtax.catalog.nested import inner_config
from windowtax.catalog.read import config_family, read_config, read_model
from windowtax.spec.dtypes import cache_dtype

BF16 = cache_dtype("bf16")
NONSENSE: tuple[object, ...] = (-1, 0, 1.5, True, "x", [], [1], {}, {"a": 1})

# --- wrappers ----------------------------------------------------------------------------------------------------


def wrapped(architecture: str, key: str, decoder: dict[str, Any], **outer: Any) -> dict[str, Any]:
    return {"architectures": [architecture], key: decoder, "vision_config": {"hidden_size": 1024}, **outer}


WRAPPED = {
    "LLaVA": wrapped("LlavaForConditionalGeneration", "text_config", raw("llama-2-7b"), vision_feature_layer=-2),
    "InternVL": wrapped("InternVLChatModel", "llm_config", raw("qwen2.5-7b"), downsample_ratio=0.5, select_layer=-1),
    "Kimi-VL": wrapped("KimiVLForConditionalGeneration", "text_config", raw("deepseek-v3")),
    "Aya Vision": wrapped("AyaVisionForConditionalGeneration", "text_config", raw("command-r7b"), downsample_factor=2),
    "Voxtral": wrapped("VoxtralForConditionalGeneration", "text_config", raw("ministral-3-8b"), hidden_size=4096),
    "Qwen3-Omni": {
        "architectures": ["Qwen3OmniMoeForConditionalGeneration"],
        "thinker_config": {
            "model_type": "qwen3_omni_moe_thinker",
            "audio_config": {},
            "vision_config": {},
            "text_config": {**raw("qwen3-vl-30b-a3b")["text_config"], "model_type": "qwen3_omni_moe_text"},
        },
        "talker_config": {},
        "code2wav_config": {},
        "enable_audio_output": True,
    },
}
INSIDE = {
    "LLaVA": "llama-2-7b",
    "InternVL": "qwen2.5-7b",
    "Kimi-VL": "deepseek-v3",
    "Aya Vision": "command-r7b",
    "Voxtral": "ministral-3-8b",
    "Qwen3-Omni": "qwen3-30b-a3b",
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapper_keeps_what_the_decoder_inside_keeps(name: str) -> None:
    assert read_config(WRAPPED[name], name).layout(BF16) == read_model(INSIDE[name]).layout(BF16)
    assert not config_family(WRAPPED[name], name).runs


def test_an_outer_key_of_a_wrapper_that_nobody_reads_is_an_error() -> None:
    with pytest.raises(UnsupportedModel, match="memory_tokens=64"):
        read_config({**WRAPPED["LLaVA"], "memory_tokens": 64}, "m")


@pytest.mark.parametrize(("one", "other"), [("qwen2.5-vl-7b", "qwen2.5-7b"), ("qwen3-vl-8b", "qwen3-8b")])
def test_the_decoders_of_qwen_vl_are_those_of_the_text_models(one: str, other: str) -> None:
    """Qwen2.5-VL writes its decoder's keys flat, and a RoPE of three axes."""
    assert read_model(one).layout(BF16) == read_model(other).layout(BF16)
    assert read_model(one).total_parameters == read_model(other).total_parameters


# --- published figures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "growth", "window", "state"),
    [
        # facts of aiconfigurator-core 0.12.0: 24 rows of 576 numbers, 69 states of 96 heads x 128 x 128 in fp32.
        ("kimi-k3", 27_648, 0, 449_372_160),
        # 60 layers of 4 heads x 128, twice, and 57 index keys of 128.
        ("minimax-m3", 60 * 2_048 + 57 * 256, 0, 0),
        # 12 full layers, 33 windows of 512 tokens, 8 heads x 128.
        ("step-3.7-flash", 12 * 4_096, 33 * 512 * 4_096, 0),
        ("command-r-plus", 64 * 4_096, 0, 0),
        # 28 layers, each with two rows of 576 numbers.
        ("longcat-flash", 56 * 1_152, 0, 0),
        # 16 full layers, 48 windows of 4,096.
        ("olmo-3-32b", 16 * 4_096, 48 * 4_096 * 4_096, 0),
        # 4 layers of attention; 36 states of 128 heads x 64 x 128 in fp32 and 3 x 8,448 inputs.
        ("granite-4.0-h-small", 4 * 4_096, 0, 36 * (128 * 64 * 128 * 4 + 8_448 * 3 * 2)),
        # 44 layers with both: 2 heads x 128; 24 heads x 128 x 256 in fp32 and 3 x 3,584 inputs.
        ("falcon-h1-7b", 44 * 1_024, 0, 44 * (24 * 128 * 256 * 4 + 3_584 * 3 * 2)),
        ("lfm2-1.2b", 6 * 2_048, 0, 10 * 2_048 * 2 * 2),
        ("mamba-codestral-7b", 0, 0, 64 * (128 * 64 * 128 * 4 + 10_240 * 3 * 2)),
    ],
)
def test_rows_by_hand(model: str, growth: int, window: int, state: int) -> None:
    layout = read_model(model).layout(BF16)
    assert (layout.growth_bytes_per_token, layout.window_bytes, layout.state_bytes) == (growth, window, state)


def test_minimax_m3_keeps_all_and_reads_sixteen_blocks() -> None:
    """57 layers read 2,048 tokens of keys and values, and every index key."""
    layout = read_model("minimax-m3").layout(BF16)
    length = 100_000
    assert layout.read_bytes(length) == 3 * length * 2_048 + 57 * (2_048 * 2_048 + length * 256)


# --- quantised checkpoints ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, "fp8"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}, "nf4_double"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "nf4"),
        ({"quant_method": "bitsandbytes", "_load_in_4bit": True, "load_in_4bit": True, "load_in_8bit": False}, "nf4"),
        # configs of vLLM's and TensorRT-LLM's mxfp8 readers, of ModelOpt, and of compressed-tensors
        ({"quant_method": "mxfp8", "ignored_layers": ["lm_head"], "weight_block_size": [1, 32]}, "mxfp8"),
        ({"quant_method": "fp8", "weight_block_size": [1, 32], "scale_fmt": "ue8m0"}, "mxfp8"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128], "scale_fmt": "ue8m0"}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "MXFP8"}, "mxfp8"),
        ({"quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": {"quant_algo": "MXFP8"}}}, "mxfp8"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"type": "float", "num_bits": 8, "group_size": 32}}},
            },
            "mxfp8",
        ),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}, "int4"),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "MIXED_PRECISION",
                "quantized_layers": {"a": {"quant_algo": "FP8"}, "b": {"quant_algo": "W4A16_NVFP4"}},
            },
            "nvfp4_fp8",
        ),
    ],
)
def test_more_makers_of_quantised_weights(settings: dict[str, Any], dtype: str) -> None:
    assert read_config(raw("qwen3-8b", quantization_config=settings), "m").weight_dtype == dtype


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"quant_method": "bitsandbytes", "bnb_4bit_quant_type": "nf4"}, "bitsandbytes"),
        ({"quant_method": "quark"}, "quark"),
        ({"quant_method": "mxfp8", "moe_quant_algo": "NVFP4"}, "NVFP4"),
        (
            {
                "quant_algo": "MIXED_PRECISION",
                "quantized_layers": {"a": {"quant_algo": "MXFP8"}, "b": {"quant_algo": "FP8"}},
            },
            "MXFP8",
        ),
        ({"quant_method": "fp8", "kv_cache_scheme": {"type": "int", "num_bits": 3}}, "num_bits"),
    ],
)
def test_a_type_that_no_scheme_has_is_refused_by_name(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedModel, match=named):
        read_config(raw("qwen3-8b", quantization_config=settings), "m")


def test_the_file_beside_a_config_says_how_it_was_quantised(tmp_path: Path) -> None:
    """nvidia/DeepSeek-V3.1-NVFP4: its config.json says bfloat16 and no more."""
    data = {key: value for key, value in raw("deepseek-v3").items() if key != "quantization_config"}
    (tmp_path / "config.json").write_text(json.dumps(data))
    assert read_model(str(tmp_path)).weight_dtype == "bf16"
    said = {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16, "exclude_modules": ["lm_head"]}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"producer": {"name": "modelopt"}, "quantization": said}))
    spec = read_model(str(tmp_path))
    assert (spec.weight_dtype, spec.cache_dtype) == ("nvfp4", "fp8")


@pytest.mark.parametrize("text", ["[", "{}", "[1]"])
def test_a_broken_file_beside_a_config_is_an_error_naming_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(raw("qwen3-8b")))
    (tmp_path / "hf_quant_config.json").write_text(text)
    with pytest.raises(BadInput, match=r"hf_quant_config\.json"):
        read_model(str(tmp_path))


@pytest.mark.parametrize("scheme", ["FP8", {"type": "float", "num_bits": 8, "dynamic": False}])
def test_the_cache_that_a_checkpoint_was_calibrated_for(scheme: object) -> None:
    settings = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": scheme}
    assert read_config(raw("qwen3-8b", quantization_config=settings), "m").cache_dtype == "fp8"
    assert read_model("qwen3-8b").cache_dtype is None


# --- other spellings ---------------------------------------------------------------------------------------------


def test_gemma_4_may_state_its_wide_heads_layer_by_layer() -> None:
    config = raw("gemma-4-26b-a4b")
    full = [i for i, kind in enumerate(config["text_config"]["layer_types"]) if kind == "full_attention"]
    config["text_config"]["per_layer_config"] = {f"{index:02d}": {"head_dim": 512} for index in full}
    assert read_config(config, "m").layers == read_model("gemma-4-26b-a4b").layers
    config["text_config"]["per_layer_config"]["00"] = {"head_dim": 128}
    with pytest.raises(UnsupportedModel, match="per_layer_config"):
        read_config(config, "m")


@pytest.mark.parametrize("key", ["use_cla", "use_mla"])
def test_hunyuan_with_shared_caches_is_refused(key: str) -> None:
    with pytest.raises(UnsupportedModel, match=key):
        read_config(raw("hunyuan-a13b", **{key: True}), "m")


# --- nonsense ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", sorted(model_of_each_family()))
def test_no_value_of_any_key_crashes_or_costs_less_than_nothing(family: str) -> None:
    config = raw(model_of_each_family()[family])
    decoder = inner_config(config) or config
    for key, value in list(decoder.items()):
        for nonsense in NONSENSE:
            decoder[key] = nonsense
            try:
                spec = read_config(config, "m")
            except WindowtaxError as error:
                assert str(error)
            else:
                assert spec.layout(BF16).bytes_for(1_000) >= 0, f"{key}={nonsense!r}"
        decoder[key] = value


LFM2 = {
    "architectures": ["Lfm2ForCausalLM"],
    "block_auto_adjust_ff_dim": True,
    "block_dim": 2048,
    "block_ff_dim": 12288,
    "block_ffn_dim_multiplier": 1.0,
    "block_mlp_init_scale": 1.0,
    "block_multiple_of": 256,
    "block_norm_eps": 1e-05,
    "block_out_init_scale": 1.0,
    "block_use_swiglu": True,
    "block_use_xavier_init": True,
    "conv_L_cache": 3,
    "conv_bias": False,
    "conv_dim": 2048,
    "conv_dim_out": 2048,
    "conv_use_xavier_init": True,
    "full_attn_idxs": [2, 5, 8, 10, 12, 14],
    "hidden_size": 2048,
    "max_position_embeddings": 128000,
    "model_type": "lfm2",
    "norm_eps": 1e-05,
    "num_attention_heads": 32,
    "num_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "rope_theta": 1000000.0,
    "theta": 1000000.0,
    "tie_embedding": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_pos_enc": True,
    "vocab_size": 65536,
}
"""As its authors first wrote it."""


def test_lfm2_reads_the_same_in_both_spellings() -> None:
    assert read_config(LFM2, "m").layers == read_model("lfm2-1.2b").layers


def test_olmo_3_reads_the_same_in_both_spellings() -> None:
    """transformers 4 wrote one scaling, which belongs to the full layers alone."""
    config = raw("olmo-3-32b")
    ropes = config.pop("rope_parameters")
    scaling = {key: value for key, value in ropes["full_attention"].items() if key != "rope_theta"}
    assert (
        read_config({**config, "rope_theta": 5e5, "rope_scaling": scaling}, "m").layers
        == read_model("olmo-3-32b").layers
    )


def test_hunyuan_states_numbers_layer_by_layer_or_once() -> None:
    layers = {
        "num_experts": 64,
        "moe_topk": [8] * 32,
        "num_shared_expert": [1] * 32,
        "moe_intermediate_size": [3072] * 32,
    }
    assert read_config(raw("hunyuan-a13b", **layers, kv_lora_rank=None, use_cla=False), "m").layers == (
        read_model("hunyuan-a13b").layers
    )
    with pytest.raises(UnsupportedModel, match="moe_topk"):
        read_config(raw("hunyuan-a13b", moe_topk=[8] * 31 + [4]), "m")
