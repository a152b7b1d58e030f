"""Traps of configs whose layers differ: patterns, offsets, layers counted from 1, shared caches, indices; and
refusals."""

from typing import Any

import pytest

from tests.catalog.samples import raw, read_changed
from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.catalog.read import read_config, read_model
from windowtax.spec.attention.compressed import CompressedAttention
from windowtax.spec.attention.dsa import SparseLatentAttention
from windowtax.spec.attention.recurrent import RecurrentKind
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.mlp import ExpertsMlp, GatedMlp
from windowtax.spec.model import ModelSpec

BF16 = cache_dtype("bf16")


def kinds(spec: ModelSpec) -> list[str]:
    return [layer.attention.kind for layer in spec.layers]


def inner(model: str, **changes: Any) -> dict[str, Any]:
    """A catalog config with keys of its decoder changed; None takes a key out."""
    config = raw(model)
    decoder = config.get("text_config", config)
    decoder.update(changes)
    for key in [key for key, value in changes.items() if value is None]:
        del decoder[key]
    return config


# --- latent attention ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["deepseek-v3", "glm-5", "kimi-k2"])
@pytest.mark.parametrize("changes", [{"num_key_value_heads": 8}, {"head_dim": 192}])
def test_heads_in_a_latent_config_are_not_the_shape_of_its_cache(model: str, changes: dict[str, int]) -> None:
    assert read_changed(model, **changes).layout(BF16) == read_model(model).layout(BF16)


def test_the_first_layers_of_deepseek_are_dense() -> None:
    mlps = [isinstance(layer.mlp, GatedMlp) for layer in read_model("deepseek-v3").layers]
    assert mlps == [True] * 3 + [False] * 58


def test_glm_5_2_has_an_index_on_21_of_78_layers_whichever_way_it_is_said() -> None:
    def own(spec: ModelSpec) -> list[int]:
        layers = [layer.attention for layer in spec.layers]
        return [i for i, one in enumerate(layers) if isinstance(one, SparseLatentAttention) and one.indexer]

    by_list = own(read_model("glm-5.2"))
    assert len(by_list) == 21 and by_list[:5] == [0, 1, 2, 6, 10]
    by_frequency = read_config(inner("glm-5.2", indexer_types=None), "m")
    assert own(by_frequency) == by_list
    letters = "".join("F" if index in by_list else "S" for index in range(78))
    assert own(read_config(inner("glm-5.2", indexer_types=None, index_topk_pattern=letters), "m")) == by_list
    assert own(read_model("glm-5")) == list(range(78))


def test_a_first_layer_cannot_take_the_index_of_an_earlier_one() -> None:
    with pytest.raises(BadInput, match="and the first full"):
        read_changed("glm-5.2", indexer_types=["shared"] * 78)


# --- DeepSeek-V4 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "counts"), [("deepseek-v4-pro", (30, 31, 0)), ("deepseek-v4-flash", (21, 20, 2))])
def test_the_last_compress_ratio_is_of_the_prediction_layer(model: str, counts: tuple[int, int, int]) -> None:
    spec = read_model(model)
    strides = [layer.attention.stride for layer in spec.layers if isinstance(layer.attention, CompressedAttention)]
    assert tuple(strides.count(stride) for stride in (4, 128, 0)) == counts
    assert len(raw(model)["compress_ratios"]) == len(spec.layers) + 1
    draft = spec.draft_layers[0].attention
    assert isinstance(draft, CompressedAttention) and draft.stride == 0


def test_the_words_of_transformers_say_the_same() -> None:
    names = {4: "compressed_sparse_attention", 128: "heavily_compressed_attention"}
    words = [names[ratio] for ratio in raw("deepseek-v4-pro")["compress_ratios"][:61]]
    changed = read_config(inner("deepseek-v4-pro", compress_ratios=None, layer_types=words), "m")
    assert changed.layers == read_model("deepseek-v4-pro").layers


@pytest.mark.parametrize(("ratios", "error"), [([4] * 60, BadInput), ([16] * 61, UnsupportedModel)])
def test_ratios_that_do_not_fit_are_refused(ratios: list[int], error: type[Exception]) -> None:
    with pytest.raises(error, match="ratio"):
        read_changed("deepseek-v4-pro", compress_ratios=ratios)


# --- hybrids ------------------------------------------------------------------------------------------------------


def test_an_interval_says_what_layer_types_say() -> None:
    shorter = read_config(inner("qwen3.5-35b-a3b", layer_types=None), "m")
    assert shorter.layers == read_model("qwen3.5-35b-a3b").layers
    other = read_config(inner("qwen3.5-35b-a3b", layer_types=None, full_attention_interval=8), "m")
    assert other.kinds == {"gated_delta": 35, "full": 5}


@pytest.mark.parametrize(("named", "bits"), [("float32", 32), ("bfloat16", 16)])
def test_the_state_dtype_is_what_the_config_names(named: str, bits: int) -> None:
    spec = read_config(inner("qwen3.5-27b", mamba_ssm_dtype=named), "m")
    conv = 48 * 10_240 * 3 * 2
    assert spec.layout(BF16).state_bytes == conv + 48 * 48 * 128 * 128 * bits // 8


def test_kimi_counts_layers_from_1() -> None:
    spec = read_model("kimi-linear-48b-a3b")
    assert [index for index, kind in enumerate(kinds(spec)) if kind == "mla"] == [3, 7, 11, 15, 19, 23, 26]


def test_a_layer_of_kimi_that_is_named_twice_or_never_is_refused() -> None:
    lists = raw("kimi-linear-48b-a3b")["linear_attn_config"]
    with pytest.raises(BadInput, match="each of the layers 1 to 27 once"):
        read_changed("kimi-linear-48b-a3b", linear_attn_config={**lists, "full_attn_layers": [4, 8]})


def test_jamba_has_a_period_and_an_offset() -> None:
    assert [index for index, kind in enumerate(kinds(read_model("jamba-v0.1"))) if kind == "full"] == [4, 12, 20, 28]
    moved = read_changed("jamba-v0.1", attn_layer_period=4, attn_layer_offset=1)
    assert kinds(moved).count("full") == 8 and kinds(moved)[1] == "full"


def test_nemotron_layers_are_one_part_each() -> None:
    spec = read_model("nemotron-3-nano-30b-a3b")
    assert spec.kinds == {"mamba2": 23, "none": 23, "full": 6}
    assert all(
        len([w for w in layer.weights(64) if w.name.endswith("_norm") and "." not in w.name]) == 1
        for layer in spec.layers
    )


def test_a_list_of_words_says_what_the_pattern_says() -> None:
    words = {"M": "mamba", "*": "attention", "E": "moe"}
    listed = [words[letter] for letter in raw("nemotron-3-nano-30b-a3b")["hybrid_override_pattern"]]
    changed = inner("nemotron-3-nano-30b-a3b", hybrid_override_pattern=None, layers_block_type=listed)
    assert read_config(changed, "m").layers == read_model("nemotron-3-nano-30b-a3b").layers


@pytest.mark.parametrize(
    ("model", "changes", "named"),
    [
        ("nemotron-3-nano-30b-a3b", {"hybrid_override_pattern": "M*EX", "num_hidden_layers": 4}, "'X'"),
        ("nemotron-3-nano-30b-a3b", {"mlp_hidden_act": "silu"}, "silu"),
        ("qwen3.5-27b", {"layer_types": ["full_attention"] * 63 + ["quantum_attention"]}, "quantum_attention"),
        ("qwen3.5-27b", {"mamba_ssm_dtype": "float8"}, "float8"),
        ("minimax-text-01", {"attn_type_list": [2] * 80}, "attn_type_list"),
        ("gemma-4-26b-a4b", {"layer_types": ["linear_attention"] * 30}, "linear_attention"),
        ("gemma-4-26b-a4b", {"use_bidirectional_attention": "all"}, "use_bidirectional_attention"),
        ("kimi-linear-48b-a3b", {"mla_use_nope": False}, "mla_use_nope"),
        ("deepseek-v4-pro", {"expert_dtype": "fp2"}, "fp2"),
        ("deepseek-v4-pro", {"num_key_value_heads": 2}, "KV heads"),
    ],
)
def test_an_unknown_layer_or_value_is_an_error_that_names_it(model: str, changes: dict[str, Any], named: str) -> None:
    with pytest.raises((UnsupportedModel, BadInput), match=named):
        read_config(inner(model, **changes), "m")


# --- shared caches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "local", "full"), [("gemma-3n-e4b", 16, 4), ("gemma-4-e2b", 12, 3), ("gemma-4-e4b", 20, 4)]
)
def test_the_last_layers_keep_nothing_and_read_what_the_others_keep(model: str, local: int, full: int) -> None:
    spec = read_model(model)
    assert (spec.kinds["sliding"], spec.kinds["full"]) == (local, full)
    layout = spec.layout(BF16)
    assert {index for group in layout.groups for index in group.layers} == set(range(local + full))
    every = [layer.attention for layer in spec.layers]
    rows = sum(
        sum(part.token_bytes * part.read_rows(100_000) for part in one.caches(BF16) + one.borrowed(BF16))
        for one in every
    )
    assert layout.read_bytes(100_000) == rows > layout.bytes_for(100_000)


def test_more_sharers_than_owners_of_a_kind_are_refused() -> None:
    with pytest.raises(BadInput, match="share a cache"):
        read_config(inner("gemma-4-e2b", num_kv_shared_layers=32), "m")


def test_shared_keys_and_values_of_gemma_4_are_weights_and_no_cache() -> None:
    whole = read_model("gemma-4-26b-a4b").layers[5].attention
    assert isinstance(whole, SoftmaxAttention) and whole.keys_are_values
    planes = {plane.name: plane.shape for part in whole.caches(BF16) for plane in part.planes}
    assert planes == {"k": (2, 512), "v": (2, 512)}
    assert "v" not in {weight.name for weight in whole.weights(2816)}


def test_a_nemotron_nas_layer_without_attention_keeps_nothing() -> None:
    spec = read_model("nemotron-super-49b")
    assert spec.kinds == {"full": 49, "none": 31}
    assert raw("nemotron-super-49b")["num_key_value_heads"] is None


def test_a_window_in_block_configs_is_refused_by_name() -> None:
    config = raw("nemotron-super-49b")
    config["block_configs"][0]["attention"]["window_length"] = 4096
    with pytest.raises(UnsupportedModel, match=r"block 0, attention.*window_length"):
        read_config(config, "m")


# --- prediction layers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "growth"),
    [("deepseek-v3", 62 * 1_152), ("deepseek-v3.2", 62 * 1_408), ("qwen3.5-35b-a3b", 22_528), ("glm-5", 79 * 1_408)],
)
def test_prediction_layers_cost_only_while_they_draft(model: str, growth: int) -> None:
    spec = read_model(model)
    drafting = spec.with_drafts()
    assert drafting.layout(BF16).growth_bytes_per_token == growth
    assert spec.layout(BF16).growth_bytes_per_token < growth
    assert drafting.total_parameters > spec.total_parameters


def test_deepseek_v3_with_its_prediction_layer_has_the_parameters_of_its_card() -> None:
    """README_WEIGHTS.md of DeepSeek-V3: the module has 11.5B parameters of its own, embedding and head shared."""
    spec = read_model("deepseek-v3")
    assert spec.with_drafts().total_parameters - spec.total_parameters == pytest.approx(11.5e9, rel=0.01)


def test_a_model_without_them_cannot_draft() -> None:
    with pytest.raises(UnsupportedModel, match="no layers for multi-token prediction"):
        read_model("llama-3.1-8b").with_drafts()


# --- parts that are no attention ----------------------------------------------------------------------------------


def test_deepseek_v4_sends_tokens_by_a_table_in_its_first_layers() -> None:
    mlps = [layer.mlp for layer in read_model("deepseek-v4-pro").layers]
    assert [isinstance(mlp, ExpertsMlp) and mlp.hashed_vocab > 0 for mlp in mlps] == [True] * 3 + [False] * 58


def test_every_state_is_counted_once_per_sequence() -> None:
    layout = read_model("nemotron-h-56b").layout(BF16)
    state = [
        layer.attention for layer in read_model("nemotron-h-56b").layers if isinstance(layer.attention, RecurrentKind)
    ]
    assert len(state) == 54
    assert layout.state_bytes == 54 * (20_480 * 3 * 2 + 256 * 64 * 256 * 4)
