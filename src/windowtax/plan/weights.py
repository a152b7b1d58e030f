"""Weight bytes: what the parameters take in memory, and how many of them a step reads."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, prod

from windowtax.base.errors import UnknownName
from windowtax.spec.dtypes import BF16, FP8, FP16, FP32, INT4, INT8, ElementType
from windowtax.spec.model import ModelSpec
from windowtax.spec.weights import Weight

CHECKPOINT = "checkpoint"
"""The scheme that stands for the type the model was published in."""


@dataclass(frozen=True, slots=True)
class WeightScheme:
    """In what bits the matrices of the layers are kept. Embedding, head, router and vectors stay in `kept`.

    scale_bits: of one scale per row, or per `group` numbers of a row. compute: the element type they are multiplied in.
    """

    name: str
    element: ElementType
    kept: ElementType
    compute: str
    scale_bits: int = 0
    group: int | None = None

    def bytes_of(self, weight: Weight) -> float:
        """Bytes of one tensor, its scales included."""
        if not weight.is_matrix or _stays(weight.name):
            return weight.count * self.kept.bits / 8
        groups = ceil(weight.shape[-1] / self.group) if self.group else 1
        return (weight.count * self.element.bits + prod(weight.shape[:-1]) * groups * self.scale_bits) / 8

    @property
    def note(self) -> str:
        """What the scheme keeps in which bits, for a report."""
        if not self.scale_bits:
            return f"all weights in {self.element.name}"
        scale = f"one {self.scale_bits}-bit scale per {f'{self.group} numbers' if self.group else 'row'}"
        return f"layers in {self.element.name}, {scale}; embedding, head, norms in {self.kept.name}"


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        WeightScheme("fp32", FP32, FP32, "fp32"),
        WeightScheme("bf16", BF16, BF16, "bf16"),
        WeightScheme("fp16", FP16, FP16, "bf16"),
        WeightScheme("fp8", FP8, BF16, "fp8", scale_bits=32),
        WeightScheme("int8", INT8, BF16, "bf16", scale_bits=32),
        WeightScheme("int4", INT4, BF16, "bf16", scale_bits=16, group=128),
    )
}


def weight_scheme(name: str, spec: ModelSpec) -> WeightScheme:
    """The scheme of that name; "checkpoint" is the type the model was published in. Raises UnknownName."""
    found = spec.weight_dtype if name == CHECKPOINT else name
    if found not in SCHEMES:
        raise UnknownName(
            f"There is no weight scheme called {found!r}.", f"There are: {CHECKPOINT}, {', '.join(SCHEMES)}."
        )
    return SCHEMES[found]


@dataclass(frozen=True)
class WeightBytes:
    """Weight bytes of one tensor-parallel rank (or of the whole model, where it is one rank).

    resident: held in memory. always: read in every step. routed: (bytes, share that one token uses) of the experts.
    per_token: of the embedding rows that each token looks up.
    """

    resident: int
    always: float
    routed: tuple[tuple[float, float], ...]
    per_token: float

    @classmethod
    def of(cls, spec: ModelSpec, scheme: WeightScheme, tensor_parallel: int = 1) -> "WeightBytes":
        """Counts a rank's share. Raises BadInput where the heads do not divide."""
        resident = always = per_token = 0.0
        routed: defaultdict[float, float] = defaultdict(float)
        for weight, copies in _rank_weights(spec, tensor_parallel):
            size = scheme.bytes_of(weight) * copies
            resident += size
            if weight.name == "embedding":
                per_token = size / spec.vocab_size
            if weight.active < 1:
                routed[float(weight.active)] += size
            elif weight.name != "embedding" or spec.tie_embeddings:
                always += size
        return cls(ceil(resident), always, tuple((size, share) for share, size in routed.items()), per_token)

    def read(self, tokens: int) -> float:
        """Bytes that a step over `tokens` tokens reads.

        Of routed experts those that at least one token chose: routed * (1 - (1 - k/E) ** tokens), as if each token
        chose at random.
        """
        experts = sum(size * (1 - (1 - share) ** tokens) for size, share in self.routed)
        return self.always + experts + self.per_token * tokens


def _rank_weights(spec: ModelSpec, tensor_parallel: int) -> Iterator[tuple[Weight, float]]:
    """Each tensor of a rank with its number of copies, a fraction where the rank holds a part of it.

    Attention is split as its kind says (KV heads are copied where there are fewer heads than ranks), MLP matrices,
    embedding and head evenly; norms are on every rank.
    """
    shard = spec.shard(tensor_parallel)
    for layer, count in Counter(shard.layers).items():
        for weight in layer.weights(spec.hidden_size):
            split = weight.name.startswith("mlp.") and weight.is_matrix
            yield weight, count / tensor_parallel if split else count
    for weight in replace(shard, layers=()).weights():
        yield weight, 1 / tensor_parallel if weight.is_matrix else 1


def _stays(name: str) -> bool:
    return name in ("embedding", "head") or name.endswith("router")
