"""Many tokens at once through models of noise: products, and what a chunk takes whatever its tokens, by the size of
matrices; scores by the size of heads."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from windowtax.engine.calibrate_decode import Constants
from windowtax.engine.noise import NoiseModel, Work, median, medians_in_turns, spec_of_noise
from windowtax.ops.native import NativeState
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.model import ModelSpec
from windowtax.spec.step_costs import Curve

_FEW_TOKENS, _MANY_TOKENS, _PREFIX_TOKENS = 512, 2048, 14_336
"""The prefix so long that the keys of a head do not lie in a second-level cache: near the end of a long prompt they do
not."""
_PARTS = {"few": (0, _FEW_TOKENS), "many": (0, _MANY_TOKENS), "far": (_PREFIX_TOKENS, _MANY_TOKENS)}
_STEPS, _PASSES = 2, 3
_BUDGET_S = 20.0
"""After this no other pass begins: without tiles a single one may take long."""


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Chunks of one model, s: of few and of many tokens at the beginning, and of many behind a long prefix."""

    spec: ModelSpec
    few_s: float
    many_s: float
    far_s: float

    def rates(self, constants: Constants) -> tuple[float, float, float]:
        """FLOP/s of products, FLOP/s of attention's scores, of those that the long prefix adds; and s per number of the
        layers' matrices that every chunk takes."""
        spec, attention = self.spec, self.attention
        few, many, far = (spec.attention_flops(start, tokens) for start, tokens in _PARTS.values())
        scores = (far - many) / max(self.far_s - self.many_s, 1e-6)
        constant_s = constants.of(len(spec.layers), attention.num_query_heads * attention.head_dim)
        few_s, many_s = self.few_s - few / scores - constant_s, self.many_s - many / scores - constant_s
        per_token_s = max(many_s - few_s, 0.5 * many_s, 1e-9) / (_MANY_TOKENS - _FEW_TOKENS)
        once_s = max(0.0, many_s - _MANY_TOKENS * per_token_s)
        numbers = spec.layer_flops_per_token / 2
        return spec.layer_flops_per_token / per_token_s, scores, once_s / numbers

    @property
    def attention(self) -> SoftmaxAttention:
        """Of every layer."""
        found = self.spec.layers[0].attention
        assert isinstance(found, SoftmaxAttention)
        return found


@dataclass(frozen=True, slots=True)
class Prefills:
    """Of models of several sizes of matrices and heads."""

    shapes: list[Prefilled]

    def rates(self, constants: Constants) -> tuple[Curve, Curve, Curve]:
        """By the numbers of a layer's matrices FLOP/s of products, by head size those of scores, and by the numbers again
        s per number and chunk."""
        products: dict[float, float] = {}
        scores: dict[float, float] = {}
        once: dict[float, float] = {}
        for one in self.shapes:
            numbers = one.spec.layer_flops_per_token / 2 / len(one.spec.layers)
            products[numbers], scores[float(one.attention.head_dim)], once[numbers] = one.rates(constants)
        return tuple(sorted(products.items())), tuple(sorted(scores.items())), tuple(sorted(once.items()))


def time_prefills(native: NativeState, threads: int, between: Callable[[], None]) -> Prefills:
    """In passes, each with weights and caches that lie elsewhere in memory. between: called between them."""
    specs, times = _shapes(), dict[tuple[int, str], list[float]]()
    began = time.perf_counter()
    while not times or (len(times[0, "few"]) < _PASSES and time.perf_counter() - began < _BUDGET_S):
        if times:
            between()
        works: dict[tuple[int, str], Work] = {}
        for index, spec in enumerate(specs):
            model = NoiseModel(spec, "stored", native, threads)
            works |= {(index, part): model.step("bf16", *asked) for part, asked in _PARTS.items()}
        for name, seconds in medians_in_turns(works, _STEPS).items():
            times.setdefault(name, []).append(seconds)
    return Prefills(
        [Prefilled(spec, *(median(times[index, part]) for part in _PARTS)) for index, spec in enumerate(specs)]
    )


def _shapes() -> list[ModelSpec]:
    """Matrices of 3, 12 and 59 million numbers per layer; heads of 64, 256 and 128."""
    return [
        spec_of_noise(heads=8, kv_heads=2, head_dim=64, hidden=512, inner=1536, layers=8, vocab=2048),
        spec_of_noise(heads=4, kv_heads=2, head_dim=256, hidden=1024, inner=3072, layers=4, vocab=2048),
        spec_of_noise(heads=16, kv_heads=4, head_dim=128, hidden=2048, inner=8192, layers=2, vocab=2048),
    ]
