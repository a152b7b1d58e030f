"""Decode steps without a context, of models of noise: what a step, a layer, a sequence and a byte of weights take.

Bytes are timed near, where a shared cache gives them, and far, in steps that read more than any cache holds. A step
behind one that swept the caches would not do: it finds its program, buffers and page tables as cold as its weights.
"""

from dataclasses import dataclass

import numpy as np

from windowtax.engine.calibrate_reads import Reads, ends
from windowtax.engine.noise import NoiseModel, bare_spec, large_spec, medians_in_turns, small_spec
from windowtax.ops.native import NativeState
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.step_costs import Curve, on_curve

_ROWS = (1, 2, 4, 8, 16)
"""The last is the most that native code multiplies as the rows of a decode step (native/src/program/linear.h)."""
_FEW_LAYERS, _MANY_LAYERS = 2, 34
_HEADS = (2, 16)
"""Query heads of 64 of the models that constants come from."""
_STORED_LAYERS, _FULL_LAYERS, _FAR_STORED_LAYERS, _FAR_FULL_LAYERS = 16, 5, 28, 8
_DECODES, _FAR_DECODES, _TURNS = 12, 8, 3


@dataclass(frozen=True, slots=True)
class Constants:
    """Of a decode step, whatever its bytes, s: once, per layer; and the same for each further sequence. What layers
    take goes by the numbers of all query heads."""

    step_s: float
    layer_s: Curve
    sequence_s: float
    sequence_layer_s: Curve

    def of(self, layers: int, query_numbers: float, sequences: int = 1) -> float:
        """All of them, s."""
        more = sequences - 1
        layer_s = on_curve(self.layer_s, query_numbers) + more * on_curve(self.sequence_layer_s, query_numbers)
        return self.step_s + more * self.sequence_s + layers * layer_s


@dataclass(frozen=True, slots=True)
class Sized:
    """What of a model of noise its step takes time for."""

    layers: int
    query_numbers: float
    weight_bytes: int

    @classmethod
    def of(cls, model: NoiseModel) -> "Sized":
        """Of one whose layers are alike."""
        return cls(model.num_layers, query_numbers(model), model.decoder.step_weight_bytes)


@dataclass(frozen=True, slots=True)
class Weights:
    """Seconds of a decode step, each sequence without a context. models: those of little but constants, then one of
    stored and one of full weights, which a shared cache may hold. near_s: of each of them by the number of sequences,
    in turns of their own. far: a larger one of stored and of full weights, and its s with one sequence."""

    models: list[Sized]
    near_s: dict[int, list[float]]
    far: list[tuple[Sized, float]]

    def constants(self) -> Constants:
        """From models that differ in layers and heads, and one sequence or many."""
        (one_s, one), (many_s, many) = (self._constants(rows) for rows in (_ROWS[0], _ROWS[-1]))
        more = _ROWS[-1] - _ROWS[0]
        return Constants(
            step_s=one_s,
            layer_s=one,
            sequence_s=max(0.0, many_s - one_s) / more,
            sequence_layer_s=tuple(
                (numbers, max(1e-9, value - least) / more)
                for (numbers, least), (_, value) in zip(one, many, strict=True)
            ),
        )

    def _constants(self, rows: int) -> tuple[float, Curve]:
        """Of a step, and by query numbers of each layer, s. The tiny models' own bytes take what the large one's do."""
        *tiny, stored, _ = self.models
        *tiny_s, stored_s, _ = self.near_s[rows]
        numbers = sorted({one.query_numbers for one in tiny})
        known = np.array([[1.0, *(one.layers * (one.query_numbers == n) for n in numbers)] for one in tiny])
        byte_s, step_s, layers = 0.0, 0.0, list[float]()
        for _ in range(4):
            beyond = np.array([s - one.weight_bytes * byte_s for one, s in zip(tiny, tiny_s, strict=True)])
            step_s, *layers = np.maximum(np.linalg.lstsq(known, beyond, rcond=None)[0], 1e-9).tolist()
            layer_s = on_curve(list(zip(numbers, layers, strict=True)), stored.query_numbers)
            byte_s = max(0.0, stored_s - step_s - stored.layers * layer_s) / stored.weight_bytes
        return step_s, tuple(zip(numbers, layers, strict=True))

    def s_per_byte(self, constants: Constants, reads: Reads) -> dict[str, Curve]:
        """By the bits of the weights: (s of plain reading, s of a byte), near and far."""
        near = zip(self.models[-2:], self.near_s[_ROWS[0]][-2:], strict=True)
        found: dict[str, Curve] = {}
        for name, *places in zip(("int4", "bf16"), near, self.far, strict=True):
            spent = [(s - constants.of(one.layers, one.query_numbers)) / one.weight_bytes for one, s in places]
            read = [reads.s_per_byte(one.weight_bytes) for one, _ in places]
            found[name] = ends(*zip(read, spent, strict=True))
        return found

    def by_rows(self, constants: Constants) -> dict[str, Curve]:
        """By the bits of the weights: (rows, least s of a byte)."""
        found: dict[str, Curve] = {}
        for name, index in (("int4", -2), ("bf16", -1)):
            model = self.models[index]
            spent = {
                rows: times[index] - constants.of(model.layers, model.query_numbers, rows)
                for rows, times in self.near_s.items()
            }
            least = spent.pop(_ROWS[0])
            found[name] = tuple((float(rows), max(least, s) / model.weight_bytes) for rows, s in spent.items())
        return found


def time_weights(native: NativeState, threads: int) -> tuple[Weights, NoiseModel]:
    """Also returns the model of stored weights."""
    tiny = [
        NoiseModel(bare_spec(heads=heads, kv_heads=heads // 2, layers=layers), "stored", native, threads)
        for heads in _HEADS
        for layers in (_FEW_LAYERS, _MANY_LAYERS)
    ]
    stored = NoiseModel(small_spec(layers=_STORED_LAYERS), "stored", native, threads)
    full = NoiseModel(small_spec(layers=_FULL_LAYERS), "full", native, threads)
    models = [*tiny, stored, full]
    near_s: dict[int, list[float]] = {}
    for rows in _ROWS:
        works = {str(index): model.decode("bf16", 1, rows) for index, model in enumerate(models)}
        near_s[rows] = list(medians_in_turns(works, _TURNS, _DECODES).values())
    far: list[tuple[Sized, float]] = []
    for weights, layers in (("stored", _FAR_STORED_LAYERS), ("full", _FAR_FULL_LAYERS)):
        model = NoiseModel(large_spec(layers), weights, native, threads)
        times = medians_in_turns({"": model.decode("bf16", 1)}, 1, _FAR_DECODES)
        far.append((Sized.of(model), times[""]))
    return Weights([Sized.of(model) for model in models], near_s, far), stored


def query_numbers(model: NoiseModel) -> float:
    """Of all query heads of a layer."""
    attention = model.spec.layers[0].attention
    assert isinstance(attention, SoftmaxAttention)
    return float(attention.num_query_heads * attention.head_dim)
