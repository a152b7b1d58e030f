"""RoPE tables against transformers' (goldens), strict reading of configs, and the command line's overrides."""

import json
import math
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from windowtax.base.errors import BadInput, UnknownName, UnsupportedModel, WindowtaxError
from windowtax.base.strict import StrictConfig
from windowtax.spec.rope import (
    ROPE_SCALINGS,
    Rope,
    RopeScaling,
    find_scaling,
    parse_rope_override,
    read_rope,
    read_rope_by_kind,
)
from windowtax.spec.rope.base import plain_inv_freq
from windowtax.spec.rope.dynamic import DynamicScaling
from windowtax.spec.rope.factors import FactorsScaling
from windowtax.spec.rope.linear import LinearScaling
from windowtax.spec.rope.llama3 import Llama3Scaling
from windowtax.spec.rope.longrope import LongRopeScaling
from windowtax.spec.rope.none import NoScaling
from windowtax.spec.rope.ntk import NtkScaling
from windowtax.spec.rope.proportional import ProportionalScaling
from windowtax.spec.rope.yarn import YarnScaling

FOLDER = Path(__file__).parents[1] / "goldens" / "rope"
GOLDENS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
FLOAT32 = 8e-7  # double precision against float32, derived in goldens/rope/README.md
REMADE = 3e-7  # float32 against float32 on another CPU, same page
WITNESSED_OTHERWISE = {"ntk": "test_ntk_is_dynamic_at_one_length", "factors": "test_factors_carry_llama3"}

PLAIN = Rope(10000.0, 64, NoScaling())
LLAMA31 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def read(data: dict[str, Any], head_dim: int = 64, max_context_tokens: int = 4096, **more: Any) -> Rope:
    """One Rope from a config of which every key must be read."""
    config = StrictConfig(data, "test")
    rope = read_rope(config, head_dim=head_dim, max_context_tokens=max_context_tokens, **more)
    config.finish()
    return rope


def read_golden(golden: dict[str, Any]) -> dict[str, Rope]:
    """The ropes of a golden's config, by layer kind."""
    config, heads = StrictConfig(golden["config"], golden["case"]), golden["head_dim"]
    longest, ignore = golden["config"]["max_position_embeddings"], golden["ignore"]
    if isinstance(heads, dict):
        return read_rope_by_kind(config, head_dims=heads, max_context_tokens=longest, ignore=ignore)
    return {"all": read_rope(config, head_dim=heads, max_context_tokens=longest, ignore=ignore)}


# Goldens


@pytest.mark.parametrize("name", GOLDENS)
def test_golden(name: str) -> None:
    ropes = read_golden(GOLDENS[name])
    assert set(ropes) == set(GOLDENS[name]["ropes"])
    for kind, golden in GOLDENS[name]["ropes"].items():
        rope = ropes[kind]
        assert rope.scaling.name == find_scaling(golden["rope_type"]).name
        assert rope.scaling.mla_softmax_factor() == pytest.approx(golden["mla_softmax_factor"], rel=1e-12)
        for table in golden["tables"]:
            ours = rope.table(table["context_tokens"])
            assert ours.attention_factor == pytest.approx(table["attention_factor"], rel=1e-12)
            assert ours.inv_freq == pytest.approx(table["inv_freq"], rel=FLOAT32, abs=0)


def test_every_scaling_has_a_golden_or_a_named_witness() -> None:
    in_goldens = {find_scaling(rope["rope_type"]).name for g in GOLDENS.values() for rope in g["ropes"].values()}
    assert set(ROPE_SCALINGS.names()) == in_goldens | set(WITNESSED_OTHERWISE)
    assert all(witness in globals() for witness in WITNESSED_OTHERWISE.values())


def test_regenerating_gives_the_committed_goldens(tmp_path: Path) -> None:
    made_with = {golden["transformers"] for golden in GOLDENS.values()}
    try:
        installed = version("transformers")
    except PackageNotFoundError:
        pytest.skip("transformers is not installed")
    if made_with != {installed}:
        pytest.skip(f"goldens are of transformers {made_with}, installed is {installed}")
    subprocess.run([sys.executable, FOLDER / "make.py", tmp_path], check=True, capture_output=True)
    remade = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(remade) == set(GOLDENS)
    for name, golden in GOLDENS.items():
        assert_same(remade[name], golden, name)


def assert_same(left: Any, right: Any, where: str) -> None:
    """Equal JSON, floats up to REMADE."""
    if isinstance(right, dict):
        assert left.keys() == right.keys(), where
        for key in right:
            assert_same(left[key], right[key], f"{where}.{key}")
    elif isinstance(right, list):
        assert len(left) == len(right), where
        for i, value in enumerate(right):
            assert_same(left[i], value, f"{where}[{i}]")
    elif isinstance(right, float):
        assert left == pytest.approx(right, rel=REMADE, abs=0), where
    else:
        assert left == right, where


def test_ntk_is_dynamic_at_one_length() -> None:
    golden = GOLDENS["dynamic-2"]
    rope = read_golden(golden)["all"]
    assert isinstance(rope.scaling, DynamicScaling)
    for table in golden["ropes"]["all"]["tables"]:
        # Dynamic NTK by 2 from 4,096 at context c is static NTK by 2c / 4096 - 1, and by 1 up to 4,096.
        factor = 2 * max(table["context_tokens"], 4096) / 4096 - 1
        static = Rope(rope.theta, rope.rotary_dim, NtkScaling(factor)).table(1)
        assert static.inv_freq == pytest.approx(table["inv_freq"], rel=FLOAT32)


@pytest.mark.parametrize("factor", [1.0, 4.0, 7.5])
def test_ntk_slows_the_slowest_pair_by_its_factor_and_the_fastest_not_at_all(factor: float) -> None:
    plain, scaled = plain_inv_freq(10000.0, 64), NtkScaling(factor).table(10000.0, 64, 1).inv_freq
    assert scaled[0] == plain[0] == 1.0
    assert plain[-1] / scaled[-1] == pytest.approx(factor, rel=1e-12)


def test_factors_carry_llama3() -> None:
    golden = GOLDENS["llama3-llama-3.1-8b"]
    factors: list[float] = []
    for freq in plain_inv_freq(500000.0, 128):  # as llama.cpp writes rope_freqs.weight
        wavelength = 2 * math.pi / freq
        smooth = min(max((8192 / wavelength - 1) / (4 - 1), 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / 8 + smooth))
    rope = Rope(500000.0, 128, FactorsScaling(tuple(factors)))
    assert rope.table(1).inv_freq == pytest.approx(golden["ropes"]["all"]["tables"][0]["inv_freq"], rel=FLOAT32)
    assert rope.scaling.extends(131072) == 131072


# Reading configs


def test_both_spellings_read_alike() -> None:
    old = {"rope_theta": 5e5, "partial_rotary_factor": 0.5, "rope_scaling": {"type": "linear", "factor": 2}}
    inner = {"rope_type": "linear", "rope_theta": 5e5, "partial_rotary_factor": 0.5, "factor": 2.0}
    assert read(old) == read({"rope_parameters": inner}) == Rope(5e5, 32, LinearScaling(2.0))


def test_aliases_and_defaults() -> None:
    assert find_scaling("su") is LongRopeScaling
    assert find_scaling("default") is NoScaling
    assert read({}) == PLAIN
    assert read({}, default_theta=1e6, default_partial_rotary_factor=0.5) == Rope(1e6, 32, NoScaling())
    assert read({"rope_scaling": None, "rope_theta": 10000}) == PLAIN
    assert read({"rope_parameters": {"rope_type": None, "rope_theta": 10000}}) == PLAIN
    assert read({"rope_scaling": {"type": "default", "rope_type": "default"}}) == PLAIN


def test_su_with_the_original_length_beside_the_dict() -> None:
    scaling = {"type": "su", "short_factor": [1] * 32, "long_factor": [2.0] * 32}
    rope = read({"original_max_position_embeddings": 4096, "rope_scaling": scaling}, max_context_tokens=131072)
    assert rope.scaling == LongRopeScaling((1.0,) * 32, (2.0,) * 32, 32.0, 4096)
    assert rope.table(4097).inv_freq[0] == rope.table(4096).inv_freq[0] / 2


def test_llama3_without_an_original_length_takes_the_longest() -> None:
    assert read({"rope_scaling": LLAMA31}).scaling == Llama3Scaling(8.0, 4096)


def test_dynamic_starts_at_the_longest_as_transformers_has_it() -> None:
    data = {"original_max_position_embeddings": 2048, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    assert read(data).scaling == DynamicScaling(2.0, 4096)


def test_one_mscale_alone_does_not_count() -> None:
    plain = YarnScaling(40.0, 4096).table(10000.0, 64, 1)
    assert YarnScaling(40.0, 4096, mscale=0.7).table(10000.0, 64, 1) == plain
    assert YarnScaling(40.0, 4096, mscale_all_dim=0.7).table(10000.0, 64, 1) == plain


def test_a_proportional_rope_keeps_the_whole_head() -> None:
    rope = read({"rope_parameters": {"rope_type": "proportional", "partial_rotary_factor": 0.25}})
    assert rope == Rope(10000.0, 64, ProportionalScaling(0.25))
    beside = {"partial_rotary_factor": 0.25, "rope_parameters": {"rope_type": "proportional"}}
    assert read(beside) == rope


def test_explicit_factors_from_a_dict() -> None:
    assert read({"rope_scaling": {"type": "factors", "factors": [2] * 32}}).scaling == FactorsScaling((2.0,) * 32)


def test_keys_are_ignored_only_with_a_reason() -> None:
    data = {"rope_parameters": {"rope_type": "default", "mrope_section": [11, 11, 10]}}
    with pytest.raises(UnsupportedModel, match="mrope_section"):
        read(data)
    assert read(data, ignore={"mrope_section": "text only"}) == PLAIN


BAD_CONFIGS: list[tuple[dict[str, Any], type[WindowtaxError], str]] = [
    ({"rope_scaling": {"type": "linear", "factor": 2, "alpha": 1}}, UnsupportedModel, "alpha"),
    ({"rope_scaling": {"factor": 4.0}}, UnsupportedModel, "factor"),
    ({"rope_parameters": {"llama_4_scaling_beta": None}}, UnsupportedModel, "llama_4_scaling_beta"),
    ({"rope_scaling": {"type": "mrope", "mrope_section": [1]}}, UnknownName, "mrope"),
    ({"rope_scaling": {"type": "yarnn", "factor": 4}}, UnknownName, "yarn"),
    ({"rope_scaling": {"type": "yarn", "rope_type": "linear", "factor": 4}}, BadInput, "'type' is 'yarn'"),
    ({"rope_scaling": {"type": "linear"}}, BadInput, "'factor' is missing"),
    ({"rope_scaling": {"type": "linear", "factor": "2"}}, BadInput, "'factor' is '2'"),
    ({"rope_scaling": {"type": "linear", "factor": 0.5}}, BadInput, "at least 1"),
    ({"rope_scaling": {"type": "dynamic", "factor": math.inf}}, BadInput, "at least 1"),
    ({"rope_scaling": "yarn"}, BadInput, "dict"),
    ({"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"rope_theta": 1e6}}, BadInput, "contradict"),
    ({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}}, BadInput, "'rope_theta' is 10000"),
    ({"partial_rotary_factor": 0.5, "rope_parameters": {"partial_rotary_factor": 0.25}}, BadInput, "partial"),
    ({"rope_theta": 1.0}, BadInput, "theta"),
    ({"partial_rotary_factor": 1.5}, BadInput, "96 dimensions"),
    ({"partial_rotary_factor": 0.0}, BadInput, "0 dimensions"),
    ({"partial_rotary_factor": 0.333}, BadInput, "even"),
    ({"partial_rotary_factor": 1 / 32, "rope_scaling": {"type": "ntk", "factor": 2}}, BadInput, "at least 4"),
    ({"rope_scaling": LLAMA31 | {"high_freq_factor": 0.5}}, BadInput, "below low_freq_factor"),
    ({"rope_scaling": LLAMA31 | {"low_freq_factor": 0.0}}, BadInput, "low_freq_factor"),
    ({"rope_scaling": {"type": "yarn", "factor": 2, "attention_factor": 0.0}}, BadInput, "attention_factor"),
    ({"rope_scaling": {"type": "yarn", "factor": 2, "mscale": -1.0}}, BadInput, "mscale"),
    ({"rope_scaling": {"type": "yarn", "original_max_position_embeddings": 0}}, BadInput, "trained length"),
    ({"rope_scaling": {"type": "su", "short_factor": [1] * 31, "long_factor": [1] * 32}}, BadInput, "31 short factors"),
    ({"rope_scaling": {"type": "su", "short_factor": [1] * 32, "long_factor": ["1"]}}, BadInput, "positive numbers"),
    (
        {"rope_scaling": {"type": "su", "short_factor": [1] * 32, "long_factor": [1] * 32, "factor": 2, "foo": 1}},
        UnsupportedModel,
        "foo",
    ),
    ({"rope_scaling": {"type": "factors", "factors": [0.0] * 32}}, BadInput, "positive numbers"),
    ({"rope_parameters": {"rope_type": "proportional", "partial_rotary_factor": 1.5}}, BadInput, "between 0 and 1"),
    ({"rope_parameters": {"full_attention": {}, "sliding_attention": {}}}, UnsupportedModel, "full_attention"),
]


@pytest.mark.parametrize(
    ("data", "error", "match"), BAD_CONFIGS, ids=[row[2] + str(i) for i, row in enumerate(BAD_CONFIGS)]
)
def test_bad_configs_are_refused(data: dict[str, Any], error: type[WindowtaxError], match: str) -> None:
    with pytest.raises(error, match=match):
        read(data)


KINDS = {"full_attention": 128, "sliding_attention": 64}


def read_kinds(data: dict[str, Any]) -> dict[str, Rope]:
    """Ropes by kind from a config of which every key must be read."""
    config = StrictConfig(data, "test")
    ropes = read_rope_by_kind(config, head_dims=KINDS, max_context_tokens=4096)
    config.finish()
    return ropes


def test_by_kind() -> None:
    nested = {"full_attention": {"rope_type": "linear", "factor": 8}, "sliding_attention": {"rope_theta": 1e4}}
    full, sliding = Rope(1e6, 128, LinearScaling(8.0)), Rope(1e4, 64, NoScaling())
    assert read_kinds({"rope_theta": 1e6, "rope_parameters": nested}) == {
        "full_attention": full,
        "sliding_attention": sliding,
    }
    assert read_kinds({"rope_parameters": {"full_attention": None, "sliding_attention": {}}}) == {
        "sliding_attention": sliding
    }
    assert read_kinds({"rope_parameters": {"full_attention": None, "sliding_attention": None}}) == {}
    flat = read_kinds({"rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}})
    assert flat == {"full_attention": Rope(1e4, 128, NoScaling()), "sliding_attention": sliding}


def test_by_kind_refuses_a_mismatch() -> None:
    with pytest.raises(UnsupportedModel, match="kinds of layers"):
        read_kinds({"rope_parameters": {"full_attention": {}}})
    with pytest.raises(UnsupportedModel, match="chunked_attention"):
        read_kinds({"rope_parameters": {"full_attention": {}, "sliding_attention": {}, "chunked_attention": {}}})
    thetas = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    with pytest.raises(BadInput, match="rope_theta"):
        read_kinds({"rope_theta": 5e5, "rope_parameters": thetas})
    with pytest.raises(UnsupportedModel, match=r"sliding_attention.*foo"):
        read_kinds({"rope_parameters": {"full_attention": {}, "sliding_attention": {"foo": 1}}})


# Overrides


@pytest.mark.parametrize(
    ("text", "scaling", "window_tokens"),
    [
        ("none", NoScaling(), 4096),
        ("linear:2", LinearScaling(2.0, 4096), 8192),
        ("linear:2@2K", LinearScaling(2.0, 2048), 4096),
        ("ntk:4", NtkScaling(4.0, 4096), 16384),
        ("dynamic:4", DynamicScaling(4.0, 4096), 16384),
        ("yarn:4", YarnScaling(4.0, 4096), 16384),
        (" yarn:4@8192 ", YarnScaling(4.0, 8192), 32768),
        ("yarn:1.5", YarnScaling(1.5, 4096), 6144),
        ("llama3:8", Llama3Scaling(8.0, 4096), 32768),
    ],
)
def test_override(text: str, scaling: RopeScaling, window_tokens: int) -> None:
    rope = parse_rope_override(text, PLAIN, 4096)
    assert rope == Rope(PLAIN.theta, PLAIN.rotary_dim, scaling)
    assert rope.scaling.extends(4096) == window_tokens


BAD_TEXTS = [
    "",
    "yarn",
    "yarn:",
    "yarn:x",
    "yarn:0.5",
    "yarn:nan",
    "yarn:inf",
    "yarn:4@",
    "yarn:4@x",
    "yarn@8192",
    "none:2",
]
BAD_TEXTS += [
    "none@8192",
    "default",
    "su:4",
    "longrope:4",
    "proportional:0.25",
    "factors:2",
    "mrope:4",
    "yarn:4:8",
    "4",
]


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_bad_overrides_list_the_forms(text: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_rope_override(text, PLAIN, 4096)
    assert all(
        form in error.value.hint for form in ("none", "linear:2", "ntk:4", "dynamic:4", "yarn:4", "llama3:8", "@8192")
    )


def test_overriding_a_scaled_model_needs_the_trained_length() -> None:
    scaled = Rope(500000.0, 128, Llama3Scaling(8.0, 8192))
    with pytest.raises(BadInput, match="already has a RoPE scaling"):
        parse_rope_override("yarn:4", scaled, 131072)
    assert parse_rope_override("yarn:4@8192", scaled, 131072).scaling == YarnScaling(4.0, 8192)
    assert parse_rope_override("none", scaled, 131072).scaling == NoScaling()


def test_a_proportional_rope_cannot_be_overridden() -> None:
    with pytest.raises(BadInput, match="part of its architecture"):
        parse_rope_override("yarn:4@8192", Rope(1e6, 512, ProportionalScaling(0.25)), 131072)


# The contract of every scaling

SAMPLES: list[tuple[RopeScaling, str, int]] = [
    (NoScaling(), "none", 4096),
    (LinearScaling(8.0), "linear x8", 32768),
    (NtkScaling(4.0), "ntk x4", 16384),
    (DynamicScaling(2.0, 2048), "dynamic x2 from 2,048 tokens", 4096),
    (YarnScaling(40.0, 4096), "yarn x40 from 4,096 tokens", 163840),
    (Llama3Scaling(8.0, 8192), "llama3 x8 from 8,192 tokens", 65536),
    (LongRopeScaling((1.0,) * 32, (2.0,) * 32, 32.0, 4096), "longrope x32 from 4,096 tokens", 131072),
    (ProportionalScaling(0.25, 2.0), "proportional, 25% of the head turns, x2", 8192),
    (FactorsScaling((1.0,) * 31 + (8.0,)), "32 frequency factors from 1 to 8", 4096),
]


@pytest.mark.parametrize(("scaling", "words", "window_tokens"), SAMPLES, ids=[sample[0].name for sample in SAMPLES])
def test_contract(scaling: RopeScaling, words: str, window_tokens: int) -> None:
    assert scaling.describe() == words
    assert scaling.extends(4096) == window_tokens
    rope = Rope(10000.0, 64, scaling)
    assert hash(rope) == hash(Rope(10000.0, 64, scaling))
    for context_tokens in (1, 100_000):
        table = rope.table(context_tokens)
        assert len(table.inv_freq) == 32
        assert all(0 <= freq <= 1 for freq in table.inv_freq)
        assert table.attention_factor >= 1
    with pytest.raises(BadInput):
        rope.table(0)


def test_every_scaling_has_a_sample() -> None:
    assert {sample[0].name for sample in SAMPLES} == set(ROPE_SCALINGS.names())
    assert all(name == scaling.name for name, scaling in ROPE_SCALINGS.items())


def test_no_torch_and_no_numpy() -> None:
    script = "import sys, windowtax.spec.rope as rope; rope.ROPE_SCALINGS.names(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert "windowtax.spec.rope.yarn" in loaded
    assert not {"torch", "numpy", "transformers"} & set(loaded)
