"""Many tokens at once through models of noise: products, and what a chunk takes whatever its tokens, by the size of
matrices; scores by the size of heads."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from windowtax.engine.calibrate_weights import Constants
from windowtax.engine.noise import NoiseModel, Work, median, medians_in_turns, spec_of_noise
from windowtax.ops.native import NativeState
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.model import ModelSpec
from windowtax.spec.step_costs import Curve

_CHUNKS, _PREFIX_TOKENS = (128, 512, 2048), 14_336
"""The prefix so long that the keys of a head do not lie in a second-level cache: near the end of a long prompt they do
not."""
_PARTS = [*((0, tokens) for tokens in _CHUNKS), (_PREFIX_TOKENS, _CHUNKS[-1])]
"""(start, tokens): what each model reads."""
_STEPS, _PASSES = 2, 3
_BUDGET_S = 20.0
"""After this no other pass begins: without tiles a single one may take long."""


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Chunks of one model, s, as `_PARTS` has them: of more and more tokens, and of many behind a long prefix."""

    spec: ModelSpec
    seconds: list[float]

    def rates(self, constants: Constants) -> tuple[float, float, float]:
        """FLOP/s of products; FLOP/s of attention's scores, of those that the long prefix adds; and s per number of the
        layers' matrices that every chunk takes. The first and the last so that relative errors are least."""
        spec, attention = self.spec, self.attention
        *near, far = (spec.attention_flops(start, tokens) for start, tokens in _PARTS)
        scores = (far - near[-1]) / max(self.seconds[-1] - self.seconds[-2], 1e-6)
        constant_s = constants.of(len(spec.layers), attention.num_query_heads * attention.head_dim)
        spent = [s - flops / scores - constant_s for s, flops in zip(self.seconds, near, strict=False)]
        known = np.array([[1 / s, tokens / s] for s, tokens in zip(spent, _CHUNKS, strict=True)])
        once_s, token_s = np.linalg.lstsq(known, np.ones(len(spent)), rcond=None)[0].tolist()
        numbers = spec.layer_flops_per_token / 2
        return spec.layer_flops_per_token / max(token_s, 1e-9), scores, max(0.0, once_s) / numbers

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
        """By the numbers of a layer's matrices FLOP/s of products, by head size those of scores, and by the numbers
        again s per number and chunk."""
        products: dict[float, float] = {}
        scores: dict[float, float] = {}
        once: dict[float, float] = {}
        for one in self.shapes:
            numbers = one.spec.layer_flops_per_token / 2 / len(one.spec.layers)
            products[numbers], scores[float(one.attention.head_dim)], once[numbers] = one.rates(constants)
        return tuple(sorted(products.items())), tuple(sorted(scores.items())), tuple(sorted(once.items()))


def time_prefills(native: NativeState, threads: int, between: Callable[[], None]) -> Prefills:
    """In passes, each with weights and caches that lie elsewhere in memory. between: called between them."""
    specs, times = _shapes(), dict[tuple[int, int], list[float]]()
    began = time.perf_counter()
    while not times or (len(times[0, 0]) < _PASSES and time.perf_counter() - began < _BUDGET_S):
        if times:
            between()
        works: dict[tuple[int, int], Work] = {}
        for index, spec in enumerate(specs):
            model = NoiseModel(spec, "stored", native, threads)
            works |= {(index, part): model.step("bf16", *asked) for part, asked in enumerate(_PARTS)}
        for name, seconds in medians_in_turns(works, 1, _STEPS).items():
            times.setdefault(name, []).append(seconds)
    return Prefills(
        [
            Prefilled(spec, [median(times[index, part]) for part in range(len(_PARTS))])
            for index, spec in enumerate(specs)
        ]
    )


def _shapes() -> list[ModelSpec]:
    """Matrices of 3, 12 and 59 million numbers per layer; heads of 64, 256 and 128."""
    return [
        spec_of_noise(heads=8, kv_heads=2, head_dim=64, hidden=512, inner=1536, layers=8, vocab=2048),
        spec_of_noise(heads=4, kv_heads=2, head_dim=256, hidden=1024, inner=3072, layers=4, vocab=2048),
        spec_of_noise(heads=16, kv_heads=4, head_dim=128, hidden=2048, inner=8192, layers=2, vocab=2048),
    ]
