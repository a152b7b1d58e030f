"""The traps that published configs hold, each of which has made some calculator print a wrong size."""

from collections import Counter
from typing import Any

import pytest

from tests.catalog.samples import attention, raw, read_changed, without
from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.catalog.read import read_config, read_model
from windowtax.spec.attention.chunked import ChunkedAttention
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.model import NormPlacement
from windowtax.spec.rope import find_scaling

# --- heads and sizes ----------------------------------------------------------------------------------------------


def test_head_dim_is_read_and_not_derived() -> None:
    assert attention(read_model("qwen3-0.6b"), 0).head_dim == 128
    assert attention(read_model("gpt-oss-20b"), 0).head_dim == 64
    assert attention(read_model("gemma-3-27b"), 0).head_dim == 128


def test_qwen3_without_head_dim_means_128() -> None:
    spec = read_config(without("qwen3-0.6b", "head_dim"), "m")
    assert attention(spec, 0).head_dim == 128


def test_null_kv_heads_mean_as_many_as_query_heads() -> None:
    assert attention(read_changed("llama-2-7b", num_key_value_heads=None), 0).num_kv_heads == 32
    assert attention(read_config(without("llama-2-7b", "num_key_value_heads"), "m"), 0).num_kv_heads == 32


def test_405b_has_8_kv_heads_today() -> None:
    assert attention(read_model("llama-3.1-405b"), 0).num_kv_heads == 8


def test_keys_and_values_may_differ_in_size() -> None:
    local, whole = attention(read_model("mimo-v2-flash"), 1), attention(read_model("mimo-v2-flash"), 0)
    assert (local.num_kv_heads, local.head_dim, local.v_head_dim, local.sink_logits) == (8, 192, 128, True)
    assert (whole.num_kv_heads, whole.head_dim, whole.v_head_dim, whole.sink_logits) == (4, 192, 128, False)


def test_softmax_scale_of_gemma_3_27b_is_not_that_of_its_head_dim() -> None:
    assert attention(read_model("gemma-3-27b"), 0).softmax_scale == 168**-0.5
    assert attention(read_model("gemma-3-4b"), 0).softmax_scale == 256**-0.5


# --- nested configs -----------------------------------------------------------------------------------------------


def test_the_nested_decoder_is_read_and_not_the_image_part() -> None:
    spec = read_model("gemma-3-4b")
    assert (len(spec.layers), spec.hidden_size, spec.vocab_size) == (34, 2560, 262_208)
    assert spec.max_context_tokens == 131_072
    assert spec.tie_embeddings
    assert spec.weight_dtype == "bf16"


def test_what_the_outer_config_says_for_both_wins() -> None:
    config = raw("gemma-3-4b", torch_dtype="float16")
    config["text_config"]["torch_dtype"] = "float32"
    assert read_config(config, "m").weight_dtype == "fp16"


def test_nested_and_flat_gemma_3_are_the_same_model() -> None:
    nested = raw("gemma-3-27b")
    flat = {**nested["text_config"], "architectures": ["Gemma3ForCausalLM"], "torch_dtype": "bfloat16"}
    assert read_config(flat, "m") == read_config(nested, "m")


# --- windows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["qwen2.5-0.5b", "qwen2.5-7b", "qwen2.5-7b-1m", "mimo-7b"])
def test_a_window_that_is_named_and_not_used(model: str) -> None:
    assert raw(model)["sliding_window"]
    assert read_model(model).kinds == {"full": len(read_model(model).layers)}


def test_max_window_layers_counts_the_layers_that_do_not_slide() -> None:
    spec = read_changed("qwen2.5-7b", use_sliding_window=True, sliding_window=4096, max_window_layers=20)
    assert [layer.attention.kind for layer in spec.layers] == ["full"] * 20 + ["sliding"] * 8


def test_layer_types_of_qwen_count_only_while_a_window_is_used() -> None:
    kinds = ["sliding_attention", "full_attention"] * 18
    config = raw("qwen3-8b", layer_types=kinds, sliding_window=1024)
    assert read_config(config, "m").kinds == {"full": 36}
    assert read_config({**config, "use_sliding_window": True}, "m").kinds == {"sliding": 18, "full": 18}


def test_mistral_7b_slides_on_all_layers_in_its_first_version_only() -> None:
    assert read_model("mistral-7b-v0.1").kinds == {"sliding": 32}
    assert attention(read_model("mistral-7b-v0.1"), 0).window == 4096
    assert read_model("mistral-7b-v0.3").kinds == {"full": 32}


def test_mistral_must_say_whether_it_slides() -> None:
    with pytest.raises(BadInput, match="sliding_window"):
        read_config(without("mistral-7b-v0.3", "sliding_window"), "m")


def test_phi_3_mini_4k_slides_over_2047_tokens() -> None:
    spec = read_model("phi-3-mini-4k")
    assert spec.kinds == {"sliding": 32}
    assert attention(spec, 0).window == 2047


def test_a_window_longer_than_the_longest_context_is_none() -> None:
    assert read_model("phi-3-mini-128k").kinds == {"full": 32}
    assert read_changed("phi-3-mini-4k", sliding_window=4096).kinds == {"full": 32}
    assert read_changed("phi-3-mini-4k", sliding_window=4095).kinds == {"sliding": 32}


def test_gemma_2_slides_on_the_even_layers() -> None:
    assert [layer.attention.kind for layer in read_model("gemma-2-9b").layers] == ["sliding", "full"] * 21


def test_gemma_3_is_global_on_every_sixth_layer() -> None:
    spec = read_model("gemma-3-1b")
    assert [index for index, layer in enumerate(spec.layers) if layer.attention.kind == "full"] == [5, 11, 17, 23]
    assert read_changed("gemma-3-1b", sliding_window_pattern=2).kinds == {"sliding": 13, "full": 13}


def test_layer_types_stand_above_the_pattern() -> None:
    kinds = ["full_attention"] * 25 + ["sliding_attention"]
    assert read_changed("gemma-3-1b", layer_types=kinds).kinds == {"full": 25, "sliding": 1}


def test_layer_types_of_another_length_are_refused() -> None:
    with pytest.raises(BadInput, match="names 3 layers, but there are 26"):
        read_changed("gemma-3-1b", layer_types=["full_attention"] * 3)


def test_gpt_oss_alternates_and_its_sinks_take_no_cache() -> None:
    spec = read_model("gpt-oss-120b")
    assert [layer.attention.kind for layer in spec.layers] == ["sliding", "full"] * 18
    assert attention(spec, 0).window == 128
    assert all(attention(spec, index).sink_logits for index in range(36))


# --- chunks -------------------------------------------------------------------------------------------------------


def test_attention_chunk_size_cuts_chunks_in_llama_4() -> None:
    spec = read_model("llama-4-scout")
    assert spec.kinds == {"chunked": 36, "full": 12}
    local = attention(spec, 0)
    assert isinstance(local, ChunkedAttention)
    assert local.chunk_tokens == 8192


def test_attention_chunk_size_of_mimo_v2_cuts_nothing() -> None:
    assert raw("mimo-v2-flash")["attention_chunk_size"] == 128
    assert read_model("mimo-v2-flash").kinds == {"full": 9, "sliding": 39}


def test_dual_chunk_attention_leaves_the_cache_alone() -> None:
    assert raw("qwen2.5-7b-1m")["dual_chunk_attention_config"]["chunk_size"] == 262_144
    assert read_model("qwen2.5-7b-1m").kinds == {"full": 28}
    assert read_model("qwen2.5-7b-1m").max_context_tokens == 1_010_000


# --- positions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "bare"), [("smollm3-3b", 9), ("llama-4-scout", 12), ("command-r7b", 8)])
def test_every_fourth_layer_has_no_rope(model: str, bare: int) -> None:
    spec = read_model(model)
    without_rope = [index for index in range(len(spec.layers)) if attention(spec, index).rope is None]
    assert without_rope == list(range(3, len(spec.layers), 4))
    assert len(without_rope) == bare


def test_no_rope_saves_no_memory_by_itself() -> None:
    assert read_model("smollm3-3b").kinds == {"full": 36}


@pytest.mark.parametrize("empty", [None, []])
def test_an_empty_no_rope_list_means_the_default(empty: list[int] | None) -> None:
    assert read_changed("smollm3-3b", no_rope_layers=empty) == read_changed("smollm3-3b")
    config = raw("llama-4-scout")
    config["text_config"]["no_rope_layers"] = empty
    assert read_config(config, "llama-4-scout") == read_model("llama-4-scout")


def test_a_window_of_smollm3_slides_on_the_layers_without_rope() -> None:
    config = without("smollm3-3b", "layer_types") | {"use_sliding_window": True, "sliding_window": 4096}
    assert read_config(config, "m").kinds == {"full": 27, "sliding": 9}


def test_gemma_3_has_two_ropes_and_scales_the_global_one() -> None:
    spec = read_model("gemma-3-27b")
    local, whole = attention(spec, 0).rope, attention(spec, 5).rope
    assert local is not None
    assert whole is not None
    assert (local.theta, local.scaling.name) == (1e4, "none")
    assert (whole.theta, whole.scaling.describe()) == (1e6, "linear x8")


def test_both_spellings_of_gemma_3_ropes_agree() -> None:
    old = raw("gemma-3-270m")
    new = {key: value for key, value in old.items() if not key.startswith("rope")}
    new["rope_parameters"] = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default"},
    }
    assert read_config(new, "m") == read_config(old, "m")


@pytest.mark.parametrize(("model", "rotated"), [("glm-4.5", 64), ("minimax-m2.5", 64), ("mimo-v2-flash", 64)])
def test_only_a_part_of_the_head_is_rotated(model: str, rotated: int) -> None:
    rope = attention(read_model(model), 0).rope
    assert rope is not None
    assert rope.rotary_dim == rotated


def test_llama_4_normalises_only_where_it_rotates() -> None:
    scout = read_model("llama-4-scout")
    assert Counter(attention(scout, index).qk_norm for index in range(48)) == {QkNorm.UNWEIGHTED: 36, QkNorm.NONE: 12}
    assert attention(read_model("llama-4-maverick"), 0).qk_norm is QkNorm.NONE


def test_longrope_of_2024_is_called_su_or_longrope() -> None:
    scaling = raw("phi-3-mini-128k")["rope_scaling"]
    su = read_changed("phi-3-mini-128k", rope_scaling={**scaling, "type": "su"})
    assert su == read_model("phi-3-mini-128k")
    assert find_scaling("su") is find_scaling("longrope")


# --- experts, norms, weights --------------------------------------------------------------------------------------


def test_maverick_has_experts_on_every_second_layer() -> None:
    kinds = [type(layer.mlp).__name__ for layer in read_model("llama-4-maverick").layers]
    assert kinds == ["GatedMlp", "ExpertsMlp"] * 24
    assert {type(layer.mlp).__name__ for layer in read_model("llama-4-scout").layers} == {"ExpertsMlp"}


def test_the_first_layers_of_glm_4_5_are_dense() -> None:
    kinds = [type(layer.mlp).__name__ for layer in read_model("glm-4.5").layers]
    assert kinds == ["GatedMlp"] * 3 + ["ExpertsMlp"] * 89


def test_norms_stand_where_the_architecture_puts_them() -> None:
    placed = {
        name: read_model(name).layers[0].norms for name in ("llama-3-8b", "gemma-2-9b", "glm-4-9b-0414", "command-r")
    }
    assert list(placed.values()) == [
        NormPlacement.PRE,
        NormPlacement.SANDWICH,
        NormPlacement.SANDWICH,
        NormPlacement.PARALLEL,
    ]


def test_gemma_norms_are_offset_and_its_embedding_is_scaled() -> None:
    spec = read_model("gemma-3-270m")
    assert spec.norm_unit_offset
    assert spec.embedding_scale == 640**0.5
    assert spec.logit_softcap is None
    assert read_model("gemma-2-9b").logit_softcap == 30.0
    assert attention(read_model("gemma-2-9b"), 0).softcap == 50.0


@pytest.mark.parametrize(
    ("model", "dtype"), [("minimax-m2.5", "fp8"), ("mimo-v2-flash", "fp8"), ("gpt-oss-20b", "mxfp4"), ("phi-4", "bf16")]
)
def test_quantised_checkpoints_name_their_type(model: str, dtype: str) -> None:
    assert read_model(model).weight_dtype == dtype


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_algo": "FP8", "producer": {"name": "modelopt"}}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        (
            {"config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}}},
            "nvfp4",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "int"}}},
            },
            "int8",
        ),
    ],
)
def test_quantisation_configs_of_all_makers(settings: dict[str, Any], dtype: str) -> None:
    assert read_changed("qwen3-8b", quantization_config=settings).weight_dtype == dtype


# --- refused ------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "Zamba 2": ({"architectures": ["Zamba2ForCausalLM"], "model_type": "zamba2"}, "Zamba2ForCausalLM.*share"),
    "RWKV": ({"architectures": ["RwkvForCausalLM"], "model_type": "rwkv"}, "RwkvForCausalLM.*recurrent state"),
    "Llama 3.2 Vision": (
        {
            "architectures": ["MllamaForConditionalGeneration"],
            "model_type": "mllama",
            "text_config": {"model_type": "mllama_text_model", "cross_attention_layers": [3, 8]},
        },
        "MllamaForConditionalGeneration.*cross-attention",
    ),
    "a new wrapper of a known decoder": (
        {
            "architectures": ["KimiK9ForConditionalGeneration"],
            "model_type": "kimi_k9",
            "text_config": {
                "architectures": ["KimiLinearForCausalLM"],
                "model_type": "kimi_linear",
                "kv_lora_rank": 512,
            },
        },
        "KimiK9ForConditionalGeneration.*latent attention",
    ),
    "unknown, with a latent": (
        {"architectures": ["NewForCausalLM"], "model_type": "new", "kv_lora_rank": 256},
        "NewForCausalLM.*latent attention",
    ),
    "unknown": ({"architectures": ["NewForCausalLM"], "model_type": "new"}, "no family here reads.*NewForCausalLM"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_architectures_that_cannot_be_exact_are_refused_by_name(name: str) -> None:
    config, message = REFUSED[name]
    with pytest.raises(UnsupportedModel, match=message):
        read_config(config, "m")


def test_a_llama_with_a_latent_is_refused_too() -> None:
    with pytest.raises(UnsupportedModel, match="latent attention"):
        read_changed("llama-3.1-8b", kv_lora_rank=512)


def test_a_config_that_names_no_architecture_is_refused() -> None:
    with pytest.raises(BadInput, match="neither 'architectures' nor 'model_type'"):
        read_config({"hidden_size": 64}, "m")


def test_a_wrapper_that_nobody_knows_is_not_read_as_what_it_wraps() -> None:
    config = {"architectures": ["NewVisionForConditionalGeneration"], "text_config": raw("qwen3-8b")}
    with pytest.raises(UnsupportedModel, match="NewVisionForConditionalGeneration"):
        read_config(config, "m")
