"""Weight schemes: in what bits a model's parameters are kept."""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, prod

from windowtax.base.errors import UnknownName
from windowtax.spec.dtypes import CacheDtype, cache_dtype
from windowtax.spec.model import ModelSpec
from windowtax.spec.weights import Weight

CHECKPOINT = "checkpoint"
"""The scheme, or the cache dtype, that stands for what the model was published in or calibrated for."""
PLAIN_CACHE = "bf16"
"""What a cache is kept in where a checkpoint says nothing."""


class Quantised(StrEnum):
    """Which tensors a scheme quantises; all others are kept in a plain type."""

    LAYERS = "layers"
    """Matrices of the layers. Embedding, head and routers are not: FP8 checkpoints keep them in bf16."""
    EXPERTS = "experts"
    """Only routed experts (gpt-oss)."""
    FEED_FORWARD = "feed-forward parts"
    """Matrices of feed-forward parts, routers left out."""
    MATRICES = "all matrices"
    """Embedding and head too (GGUF files)."""


@dataclass(frozen=True, slots=True)
class WeightScheme:
    """bits: of one quantised number. scale_bits: beside them, once per row, or once per `group` numbers of a row.

    which: what is quantised. kept_bits: of all other numbers. compute: the element type they are multiplied in; where
    that is wider than what is stored, weights are widened on the way. others: the scheme of the layers' other matrices,
    where these are quantised too.
    """

    name: str
    bits: int
    kept_bits: int
    compute: str
    which: Quantised = Quantised.LAYERS
    scale_bits: int = 0
    group: int | None = None
    others: "WeightScheme | None" = None

    def bytes_of(self, weight: Weight) -> float:
        """Bytes of one tensor, its scales included."""
        if not self._quantises(weight):
            if self.others is not None:
                return self.others.bytes_of(weight)
            return weight.count * self.kept_bits / 8
        return weight.count * self.bits / 8 + self.scale_bytes(weight)

    def scale_bytes(self, weight: Weight) -> float:
        """Bytes of the scales of a quantised tensor."""
        groups = ceil(weight.shape[-1] / self.group) if self.group else 1
        return prod(weight.shape[:-1]) * groups * self.scale_bits / 8

    def bits_of(self, weight: Weight) -> int:
        """Bits of one number of a tensor, its scales aside."""
        if self._quantises(weight):
            return self.bits
        return self.kept_bits if self.others is None else self.others.bits_of(weight)

    @property
    def note(self) -> str:
        """What is in which bits, for a report."""
        if self.bits == self.kept_bits:
            return f"all in {self.name}"
        scale = f"{self.scale_bits} bits of scales per {f'{self.group} numbers' if self.group else 'row'}"
        rest = f"{self.kept_bits} bits" if self.others is None else f"{self.others.name} ({self.others.note})"
        return f"{self.which} in {self.bits} bits, {scale}; the rest in {rest}"

    def _quantises(self, weight: Weight) -> bool:
        if not weight.is_matrix:
            return False
        if self.which is Quantised.EXPERTS:
            return weight.active < 1
        if self.which is Quantised.FEED_FORWARD:
            return weight.name.startswith("mlp.") and not weight.name.endswith("router")
        return self.which is Quantised.MATRICES or not (
            weight.name in ("embedding", "head") or weight.name.endswith("router")
        )


@dataclass(frozen=True, slots=True)
class BlockwiseScheme(WeightScheme):
    """4-bit numbers as bitsandbytes keeps them: blocks of `group` run on over the ends of rows (0.50, functional.py,
    quantize_4bit), and each matrix has a table of the 16 values, fp32.

    nested: so many scales share one fp32 scale and are one byte each (double quantisation; QLoRA, arXiv 2305.14314,
    section 3), with a table of 256 values and a mean beside them; None: scales are fp32.
    """

    nested: int | None = None

    def scale_bytes(self, weight: Weight) -> float:
        """Scales, and the tables of each matrix."""
        matrices, numbers = prod(weight.shape[:-2]), prod(weight.shape[-2:])
        blocks = ceil(numbers / (self.group or numbers))
        each = 16 * 4 + (blocks * 4 if self.nested is None else blocks + ceil(blocks / self.nested) * 4 + 256 * 4 + 4)
        return matrices * each

    @property
    def note(self) -> str:
        """What is in which bits, for a report."""
        scale = "fp32" if self.nested is None else f"1-byte scale, itself scaled per {self.nested}, per"
        each = f"a {scale} {'scale per ' if self.nested is None else ''}{self.group} numbers"
        return f"{self.which} in {self.bits} bits, {each}; the rest in {self.kept_bits} bits"


def _gguf(name: str, bits: int, scale_bits: int, group: int) -> WeightScheme:
    """A block type of GGML, as gguf.GGML_QUANT_SIZES counts it: group * bits + scale_bits per block."""
    return WeightScheme(name, bits, 32, "bf16", Quantised.MATRICES, scale_bits, group)


_FP8 = WeightScheme("fp8", 8, 16, "fp8", scale_bits=32)

_ALL = (
    WeightScheme("fp32", 32, 32, "fp32"),
    WeightScheme("bf16", 16, 16, "bf16"),
    WeightScheme("fp16", 16, 16, "bf16"),
    _FP8,
    WeightScheme("int8", 8, 16, "bf16", scale_bits=32),
    WeightScheme("int4", 4, 16, "bf16", scale_bits=16, group=128),
    BlockwiseScheme("nf4", 4, 16, "bf16", group=64),
    BlockwiseScheme("nf4_double", 4, 16, "bf16", group=64, nested=256),
    WeightScheme("mxfp8", 8, 16, "fp8", scale_bits=8, group=32),
    WeightScheme("mxfp4", 4, 16, "bf16", Quantised.EXPERTS, scale_bits=8, group=32),
    WeightScheme("mxfp4_fp8", 4, 16, "fp8", Quantised.EXPERTS, scale_bits=8, group=32, others=_FP8),
    WeightScheme("nvfp4", 4, 16, "bf16", scale_bits=32, group=64),
    WeightScheme("nvfp4_fp8", 4, 16, "fp8", Quantised.FEED_FORWARD, scale_bits=32, group=64, others=_FP8),
    _gguf("q8_0", 8, 16, 32),
    _gguf("q6_k", 6, 144, 256),
    _gguf("q5_k", 5, 128, 256),
    _gguf("q5_1", 5, 32, 32),
    _gguf("q5_0", 5, 16, 32),
    _gguf("q4_k", 4, 128, 256),
    _gguf("q4_1", 4, 32, 32),
    _gguf("q4_0", 4, 16, 32),
    _gguf("iq4_nl", 4, 16, 32),
    _gguf("iq4_xs", 4, 64, 256),
    _gguf("q3_k", 3, 112, 256),
    _gguf("q2_k", 2, 160, 256),
)

SCHEMES = {scheme.name: scheme for scheme in _ALL}

_OTHER_NAMES = {"f32": "fp32", "f16": "fp16"}


def weight_scheme(name: str, spec: ModelSpec) -> WeightScheme:
    """The scheme of that name; "checkpoint" is the type the model was published in. Raises UnknownName."""
    asked = (spec.weight_dtype if name == CHECKPOINT else name).lower()
    found = SCHEMES.get(_OTHER_NAMES.get(asked, asked))
    if found is None:
        what = f"{spec.name} is published in" if name == CHECKPOINT else "There is no weight scheme called"
        raise UnknownName(f"{what} {asked!r}.", f"Give --weights one of: {CHECKPOINT}, {', '.join(SCHEMES)}.")
    return found


def chosen_cache_dtype(name: str, spec: ModelSpec) -> CacheDtype:
    """The cache dtype of that name; "checkpoint" is the one the model was calibrated for, bf16 where it names none.

    What stands behind a plus is chosen on top: checkpoint+edges:2. Raises UnknownName, BadInput.
    """
    base, plus, choices = name.partition("+")
    if base.lower() != CHECKPOINT:
        return cache_dtype(name)
    return cache_dtype(f"{spec.cache_dtype or PLAIN_CACHE}{plus}{choices}")


def cache_dtype_from(name: str, spec: ModelSpec) -> str:
    """Who chose it: "given" by its name, the "checkpoint" that was calibrated for it, or the "default" without one."""
    if name.partition("+")[0].lower() != CHECKPOINT:
        return "given"
    return "default" if spec.cache_dtype is None else CHECKPOINT
