"""Law 3 for every family: a config key is read, ignored with a reason, or an error that names it."""

import re

import pytest
from tests.catalog.samples import model_of_each_family, raw, read_changed

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.catalog.family import FAMILIES
from windowtax.catalog.ignorable import (
    IGNORABLE,
    IGNORABLE_GGUF,
    IGNORABLE_GGUF_NAMESPACES,
    PREDICTION_LAYERS,
    ROUTING,
)
from windowtax.catalog.ignorable_outer import IGNORABLE_OUTER, REPEATED_OUTER
from windowtax.catalog.read import model_names, read_config, read_model

TABLES = {
    "shared": IGNORABLE,
    "beside text_config": IGNORABLE_OUTER,
    "repeated beside text_config": REPEATED_OUTER,
    "GGUF": IGNORABLE_GGUF,
    "GGUF namespaces": IGNORABLE_GGUF_NAMESPACES,
    "routing": ROUTING,
    "prediction layers": PREDICTION_LAYERS,
    **{f"family {name}": family.ignorable or {} for name, family in FAMILIES.items()},
}

COUNTED_BY = {
    ("chatglm", "num_hidden_layers"): "num_layers",
    ("longcat_flash", "num_hidden_layers"): "num_layers",
    ("nemotron_h", "num_hidden_layers"): "hybrid_override_pattern",
}
"""Where another key says how many layers there are."""

REFUSED_VALUES = [
    ("llama-3.1-8b", "rope_interleaved", True),
    ("llama-3.1-8b", "hidden_act", "relu2"),
    ("llama-3.1-8b", "torch_dtype", "float8_e4m3fn"),
    ("llama-3.1-8b", "quantization_config", {"quant_method": "aqlm"}),
    ("llama-3.1-8b", "rope_scaling", {"rope_type": "linear", "factor": 8.0, "surprise": 1}),
    ("qwen2.5-0.5b", "use_mrope", True),
    ("qwen3-8b", "layer_types", ["linear_attention"] * 36),
    ("qwen3-30b-a3b", "use_sliding_window", True),
    ("qwen3-coder-480b-a35b", "shared_expert_intermediate_size", 512),
    ("gemma-3-1b", "attention_bias", True),
    ("gemma-3-1b", "attn_logit_softcapping", 50.0),
    ("gemma-3-270m", "use_bidirectional_attention", True),
    ("gemma-2-9b", "sliding_window_size", 2048),
    ("phi-4", "attention_bias", True),
    ("phi-3-mini-128k", "rope_scaling", {"type": "yarn", "short_factor": [1.0], "long_factor": [1.0]}),
    ("gpt-oss-20b", "experts_per_token", 8),
    ("minimax-m2.5", "qk_norm_type", "per_head"),
    ("minimax-m2.5", "attn_type_list", [0] + [1] * 61),
    ("mimo-7b", "attention_bias", False),
    ("mimo-v2-flash", "n_shared_experts", 1),
    ("mimo-v2-flash", "sliding_window_size", 129),
    ("command-r7b", "use_qk_norm", True),
    ("command-r7b", "order_of_interleaved_layers", "global_attn_first"),
]


@pytest.mark.parametrize("family", FAMILIES.names())
def test_every_family_has_a_model_in_the_catalog(family: str) -> None:
    assert family in model_of_each_family()


@pytest.mark.parametrize("family", FAMILIES.names())
def test_a_key_that_nobody_reads_is_an_error_naming_it(family: str) -> None:
    config = raw(model_of_each_family()[family])
    inner = config.get("text_config", config)
    inner["attention_warp_factor"] = 9
    with pytest.raises(UnsupportedModel, match="attention_warp_factor=9"):
        read_config(config, "m")


@pytest.mark.parametrize("family", FAMILIES.names())
@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size"])
def test_a_missing_size_is_an_error_naming_it(family: str, key: str) -> None:
    config = raw(model_of_each_family()[family])
    key = COUNTED_BY.get((family, key), key)
    del config.get("text_config", config)[key]
    with pytest.raises(BadInput, match=key):
        read_config(config, "m")


@pytest.mark.parametrize(("model", "key", "value"), REFUSED_VALUES)
def test_a_value_that_would_change_the_maths_is_refused(model: str, key: str, value: object) -> None:
    with pytest.raises((UnsupportedModel, BadInput)) as caught:
        read_changed(model, **{key: value})
    words = [key, "linear_attention", "relu2", "float8_e4m3fn", "aqlm", "surprise", "yarn"]
    assert any(word in str(caught.value) for word in words)


@pytest.mark.parametrize("name", model_names())
def test_every_config_of_the_catalog_is_read_in_full(name: str) -> None:
    spec = read_model(name)
    assert spec.name == name
    assert spec.total_parameters > 0


@pytest.mark.parametrize("table", TABLES)
def test_every_ignorable_key_has_a_reason(table: str) -> None:
    for key, reason in TABLES[table].items():
        assert re.search(r"\w+ \w+ ", reason), f"{key!r} needs a sentence, not {reason!r}"


def test_no_family_that_runs_ignores_how_experts_are_weighed() -> None:
    for name, family in FAMILIES.items():
        assert not (family.runs and ROUTING.keys() & (family.ignorable or {}).keys()), name


def test_an_outer_key_that_nobody_reads_is_an_error() -> None:
    with pytest.raises(UnsupportedModel, match="audio_tower=1"):
        read_changed("gemma-3-4b", audio_tower=1)
