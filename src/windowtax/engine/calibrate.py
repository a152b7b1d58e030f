"""What our own engine reaches on this machine: steps of models of noise, and the planner's rates from them.

The same program runs as for a real model, so every figure has everything in it: kernels, threads, waiting. The unknowns
come from differences: constants and weights in calibrate_weights.py, caches and choosing blocks in calibrate_caches.py,
reading in calibrate_reads.py, products and scores in calibrate_prefill.py. No rate comes from a model that has a name.
"""

from collections.abc import Callable
from dataclasses import dataclass

from windowtax.catalog.machine import EngineRates
from windowtax.engine.calibrate_caches import Caches, Chosen, time_caches, time_choosing
from windowtax.engine.calibrate_prefill import Prefills, time_prefills
from windowtax.engine.calibrate_reads import Reads, Step, StepReads
from windowtax.engine.calibrate_weights import Sized, Weights, time_weights
from windowtax.engine.noise import median
from windowtax.ops.native import NativeState

_OUTSIDE_STEPS = 36
_SEQUENCES = (1, 8)


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of steps of models of noise. What the engine reaches follows from them and from how fast one reads here,
    which is measured meanwhile, again and again, because minutes differ. reading: steps of `read_by` that read more and
    more. outside_s: what steps of 1 and of 8 sequences take outside the model."""

    level: str
    weights: Weights
    caches: Caches
    read_by: Sized
    reading: list[Step]
    outside_s: tuple[float, float]
    prefills: Prefills
    choosing: list[Chosen]

    def rates(self, reads: Reads) -> EngineRates:
        """What the planner asks for."""
        constants, caches = self.weights.constants(), self.caches.s_per_byte(reads)
        weights, one = self.weights.s_per_byte(constants, reads), self.read_by
        constant_s = constants.of(one.layers, one.query_numbers)
        products, scores, widening = self.prefills.rates(constants)
        one_s, many_s = self.outside_s
        further_s = max(0.0, (many_s - one_s) / (_SEQUENCES[1] - _SEQUENCES[0]))
        choose_layer_s, scored_number_s = self.caches.choosing(self.choosing, reads)
        return EngineRates(
            level=self.level,
            read_curve=reads.with_steps(self.reading, constant_s, weights["int4"], caches["bf16"]).curve,
            weight_s_per_byte=weights,
            cache_s_per_byte=caches,
            rows_s_per_byte=self.weights.by_rows(constants),
            group_s_per_byte=self.caches.by_group(),
            product_flops_per_s=products,
            attention_flops_per_s=scores,
            widening_s_per_number=widening,
            layer_s=constants.layer_s,
            begin_s=self.caches.begin_s(),
            sequence_layer_s=constants.sequence_layer_s,
            step_overhead_s=constants.step_s + one_s,
            sequence_s=constants.sequence_s + further_s,
            scored_number_s=scored_number_s,
            choose_layer_s=choose_layer_s,
        )


def time_steps(native: NativeState, threads: int, between: Callable[[], None]) -> Timings:
    """Half a minute. Needs the native kernels. between: called between its parts."""
    weights, stored = time_weights(native, threads)
    reads = StepReads(stored)

    def pause() -> None:
        between()
        reads.time()

    pause()
    caches = time_caches(native, threads, stored, pause)
    between()
    one_s, many_s = (median(stored.outside(sequences, _OUTSIDE_STEPS)) for sequences in _SEQUENCES)
    choosing = time_choosing(native, threads, stored)
    pause()
    prefills = time_prefills(native, threads, between)
    reads.time()
    return Timings(native.level, weights, caches, Sized.of(stored), reads.steps, (one_s, many_s), prefills, choosing)
