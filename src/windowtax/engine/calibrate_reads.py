"""How fast a step reads by the bytes that it reads again and again.

The gauge reads in a row and nothing else, so a shared cache holds more for it than for a step: near that cache's end
steps of models of noise tell, weights and then a cache of several lengths. Elsewhere the gauge does.
"""

from dataclasses import dataclass

from windowtax.engine.noise import NoiseModel, median, medians_in_turns
from windowtax.spec.step_costs import Curve, kernel_s, on_curve

_CACHE_BYTES = tuple(count << 20 for count in (8, 24, 40, 56, 72, 88, 120, 184))
_TOKENS_STEP = 64
_DECODES, _HALVINGS = 20, 40


@dataclass(frozen=True, slots=True)
class Reads:
    """How fast all threads read here: by working set (bytes, B/s; rising); the last is what main memory gives."""

    curve: Curve

    def s_per_byte(self, working_set_bytes: float) -> float:
        """What reading a byte takes, s."""
        return 1 / on_curve(self.curve, working_set_bytes)

    def with_steps(self, steps: "list[Step]", constant_s: float, weights: Curve, cache: Curve) -> "Reads":
        """The same with what steps found. weights, cache: (s of plain reading, s of a byte) of their kernels, near and
        far; constant_s: of each step."""
        sizes = [step.weight_bytes + step.cache_bytes for step in steps]
        read_s = [step.read_s(constant_s, weights, cache) for step in steps]
        found = [(float(size), 1 / one) for size, one in zip(sizes, read_s, strict=True)]
        near = [point for point in self.curve if point[0] < min(sizes)]
        return Reads((*near, *sorted(found), *(point for point in self.curve if point[0] > max(sizes))))


@dataclass(frozen=True, slots=True)
class Step:
    """A decode step that reads so many bytes, and its s."""

    weight_bytes: int
    cache_bytes: int
    seconds: float

    def read_s(self, constant_s: float, weights: Curve, cache: Curve) -> float:
        """What plain reading takes per byte, s, where its kernels take what this step took: by halving."""
        low, high = weights[0][0], weights[-1][0]
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            spent = self.weight_bytes * kernel_s(weights, middle) + self.cache_bytes * kernel_s(cache, middle)
            low, high = (middle, high) if constant_s + spent < self.seconds else (low, middle)
        return low


class StepReads:
    """Decode steps of one model, behind contexts of several lengths."""

    def __init__(self, model: NoiseModel) -> None:
        self._model = model
        self._times: dict[int, list[float]] = {}

    def time(self) -> None:
        """Once more, with caches that lie elsewhere in memory."""
        per_token = self._model.read_bytes("bf16", _TOKENS_STEP) / _TOKENS_STEP
        for wanted in _CACHE_BYTES:
            tokens = round(wanted / per_token / _TOKENS_STEP) * _TOKENS_STEP
            times = medians_in_turns({"": self._model.decode("bf16", tokens)}, 1, _DECODES)
            self._times.setdefault(self._model.read_bytes("bf16", tokens), []).append(times[""])

    @property
    def steps(self) -> list[Step]:
        """The medians."""
        weights = self._model.decoder.step_weight_bytes
        return [Step(weights, size, median(times)) for size, times in self._times.items()]


def ends(near: tuple[float, float], far: tuple[float, float]) -> Curve:
    """Near and far as a curve of a kernel: reading may be as fast in both."""
    (near_read, near_s), (far_read, far_s) = near, far
    return (min(near_read, far_read), max(near_s, 1e-15)), (far_read, max(far_s, 1e-15))
