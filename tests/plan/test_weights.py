"""Weight bytes against published checkpoints."""

from fractions import Fraction

import pytest

from tests.plan.specs import LLAMA_8B, LLAMA_70B, MIXTRAL, SMOLLM_135M
from windowtax.base.errors import BadInput, UnknownName
from windowtax.base.units import GB
from windowtax.catalog.read import read_model
from windowtax.plan.schemes import CHECKPOINT, SCHEMES, weight_scheme
from windowtax.plan.weights import WeightBytes
from windowtax.spec.weights import Weight


def resident(spec, scheme, ranks=1):
    return WeightBytes.of(spec, SCHEMES[scheme], ranks).resident


def test_bf16_is_two_bytes_a_parameter():
    assert resident(LLAMA_8B, "bf16") == 2 * 8_030_261_248


def test_fp8_keeps_embedding_and_head_in_bf16():
    """Trap 7 of facts/models.md: not parameters x 1 B, but 2.1 GB more (the published FP8 70B takes 72.7 GB)."""
    assert resident(LLAMA_70B, "fp8") == pytest.approx(72.7 * GB, rel=0.001)


@pytest.mark.parametrize(("model", "gigabytes"), [("gpt-oss-120b", 65.3), ("gpt-oss-20b", 13.8)])
def test_mxfp4_quantises_only_the_experts(model, gigabytes):
    """Sizes of the published checkpoints: 60.8 and 12.8 GiB (gpt-oss model card)."""
    spec = read_model(model)
    assert WeightBytes.of(spec, weight_scheme(CHECKPOINT, spec)).resident == pytest.approx(gigabytes * GB, rel=0.005)


def test_every_gguf_scheme_counts_blocks_as_ggml_does():
    gguf = pytest.importorskip("gguf")
    for block_type, (numbers, size) in gguf.GGML_QUANT_SIZES.items():
        scheme = SCHEMES.get(block_type.name.lower())
        if scheme is None or scheme.group is None:
            continue
        assert scheme.group * scheme.bits + scheme.scale_bits == size * 8 and scheme.group == numbers, block_type.name


@pytest.mark.parametrize(
    ("shape", "plain", "nested"),
    [
        ((96, 192), 9216 + 1152 + 64, 9216 + 288 + 64 + 8 + 1024 + 4),
        ((128, 8192), 524_288 + 65_536 + 64, 524_288 + 16_384 + 64 + 256 + 1024 + 4),
        ((48, 100), 2400 + 300 + 64, 2400 + 75 + 64 + 4 + 1024 + 4),
    ],
)
def test_nf4_takes_what_bitsandbytes_allocates(shape, plain, nested):
    """Sizes of the tensors that quantize_4bit of bitsandbytes 0.50.2 gave on a CPU: codes, scales, tables, the mean of
    the scales; blocks of 64 run on over the ends of rows."""
    weight = Weight("mlp.up", shape)
    assert SCHEMES["nf4"].bytes_of(weight) == plain and SCHEMES["nf4_double"].bytes_of(weight) == nested


def test_nf4_and_mxfp8_of_a_whole_model():
    """QLoRA (arXiv 2305.14314): 4.5 bits a number, 4.127 when the scales are quantised too. MX: 8.25."""
    matrices = [weight for layer in LLAMA_8B.layers for weight in layer.weights(4096) if weight.is_matrix]
    numbers = sum(weight.count for weight in matrices)
    for name, bits, tables in (
        ("nf4", 4.5, 64),
        ("nf4_double", 4 + 8 / 64 + 32 / 64 / 256, 64 + 1024 + 4),
        ("mxfp8", 8.25, 0),
    ):
        others = 2 * (LLAMA_8B.total_parameters - numbers)
        assert resident(LLAMA_8B, name) == numbers * bits / 8 + len(matrices) * tables + others


def test_experts_in_nf4_have_a_table_each():
    one, eight = (SCHEMES["nf4"].bytes_of(Weight("mlp.experts.up", (n, 128, 64), Fraction(1, n))) for n in (2, 8))
    assert eight == 4 * one


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_ranks_share_everything_but_the_norms(ranks):
    norms = sum(weight.count for weight in LLAMA_70B.weights() if not weight.is_matrix) * 2
    assert resident(LLAMA_70B, "bf16", ranks) == (resident(LLAMA_70B, "bf16") - norms) // ranks + norms


def test_more_ranks_than_kv_heads_copy_the_kv_projections():
    one_head = WeightBytes.of(LLAMA_8B, SCHEMES["bf16"], 16).resident
    even = WeightBytes.of(LLAMA_8B, SCHEMES["bf16"], 8).resident / 2
    copied = 32 * 2 * 4096 * (128 - 64) * 2
    norms = 65 * 4096 * 2
    assert one_head == even + copied + norms / 2


def test_an_untied_embedding_is_looked_up_and_not_read():
    weights = WeightBytes.of(LLAMA_8B, SCHEMES["bf16"])
    assert weights.read(1) == pytest.approx(weights.resident - 128_256 * 4096 * 2 + 4096 * 2)
    tied = WeightBytes.of(SMOLLM_135M, SCHEMES["bf16"])
    assert tied.read(1) == pytest.approx(tied.resident + 576 * 2)


def test_experts_touched_grow_with_the_batch():
    weights = WeightBytes.of(MIXTRAL, SCHEMES["bf16"])
    experts = 32 * 8 * 3 * 4096 * 14_336 * 2
    assert weights.read(1) - weights.always - weights.per_token == pytest.approx(experts * 2 / 8)
    assert weights.read(4) - weights.always - 4 * weights.per_token == pytest.approx(experts * (1 - 0.75**4))
    assert weights.read(1000) - weights.always - 1000 * weights.per_token == pytest.approx(experts)


def test_unknown_scheme_and_odd_ranks_are_refused():
    with pytest.raises(UnknownName, match="int5"):
        weight_scheme("int5", LLAMA_8B)
    with pytest.raises(BadInput, match="split over 3"):
        WeightBytes.of(LLAMA_70B, SCHEMES["bf16"], 3)
