"""Hardware: what a planner must know of a chip, each number with its unit, its basis, its source and its date."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf

from windowtax.base.errors import BadInput
from windowtax.base.sourced import Basis, Sourced
from windowtax.base.units import format_bytes
from windowtax.spec.dtypes import element_type
from windowtax.spec.step_costs import Curve, Shape, StepCosts, kernel_s, on_curve

WIDER = {"int4": "bf16", "fp4": "bf16", "int8": "bf16", "fp8": "bf16", "fp16": "bf16", "bf16": "fp32"}
"""Where a chip has no rate for an element type, numbers are widened to this one before they are multiplied."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One accelerator (or one CPU machine), and the node it stands in.

    memory_bytes: B. read_bytes_per_s: B/s from its own memory. peak_flops_per_s: dense FLOP/s by element type.
    compute_efficiency: share of that peak a prefill reaches, by the same element types; widened_experts: share of that
    again which routed experts reach whose weights are widened first, None for all of it. usable_memory: share of memory
    that weights, cache and activations may take.

    Shares of read_bytes_per_s that a step reaches: bandwidth_efficiency on weights, widening_efficiency on weights that
    are widened before they are multiplied, cache_efficiency on the cache. link_efficiency: share of links and network
    that is reached. What no roofline explains: layer_overhead_s, s per layer and step (launches, synchronisation);
    expert_overhead_s, s more of a layer with routed experts (choosing, sorting, more and smaller kernels);
    all_reduce_s, s until a few tokens are summed up over all ranks, however few their bytes; None without links.
    all_reduce_hop_s, s of each of the 2 (n - 1) steps in which n ranks pass on what is too large to send to all at
    once, beside its bytes; None where nobody says.

    link_bytes_per_s: B/s per direction to the other accelerators of the node, None where there are none.
    network_bytes_per_s: B/s per direction and accelerator to other nodes, None where nobody says.
    usd_per_hour: USD/h for one accelerator, None where nobody rents it out.

    Where it was measured apart: attention_efficiency, share of the peak that attention's scores reach in a prefill;
    cache_efficiency_by_dtype, cache_efficiency for a cache of that dtype (see `for_cache`); step_overhead_s, s
    once per step, whatever its layers; read_curve, (bytes, B/s) by rising bytes: how fast so many bytes are read again
    and again where the chip's own caches hold some of them (see `reading`), and best_curve the same at its best, for
    floors; steps, what kernels take by shape and place of their bytes (see `for_model`, `reading` and `for_rows`).
    """

    name: str
    title: str
    memory_bytes: Sourced
    usable_memory: Sourced
    read_bytes_per_s: Sourced
    bandwidth_efficiency: Sourced
    widening_efficiency: Sourced
    cache_efficiency: Sourced
    peak_flops_per_s: Mapping[str, Sourced]
    compute_efficiency: Mapping[str, Sourced]
    link_efficiency: Sourced
    layer_overhead_s: Sourced
    expert_overhead_s: Sourced
    accelerators_per_node: Sourced
    link_bytes_per_s: Sourced | None = None
    all_reduce_s: Sourced | None = None
    all_reduce_hop_s: Sourced | None = None
    network_bytes_per_s: Sourced | None = None
    usd_per_hour: Sourced | None = None
    widened_experts: Sourced | None = None
    attention_efficiency: Sourced | None = None
    step_overhead_s: Sourced | None = None
    cache_efficiency_by_dtype: Mapping[str, Sourced] = field(default_factory=dict[str, Sourced])
    read_curve: tuple[tuple[float, float], ...] = ()
    best_curve: Curve = ()
    steps: StepCosts | None = None

    @property
    def node_size(self) -> int:
        """Accelerators in one node."""
        return int(self.accelerators_per_node.value)

    @property
    def usable_bytes(self) -> int:
        """Bytes of one accelerator that weights, cache and activations may take."""
        return int(self.memory_bytes.value * self.usable_memory.value)

    def compute_element(self, element: str) -> str:
        """The type in which numbers of `element` are multiplied here. Raises BadInput where no rate is known."""
        found = element
        while found not in self.peak_flops_per_s:
            if found not in WIDER:
                known = ", ".join(self.peak_flops_per_s)
                raise BadInput(f"{self.title}: no FLOP rate is known for {element}.", f"Rates are known for: {known}.")
            found = WIDER[found]
        return found

    def flops_per_s(self, element: str) -> float:
        """FLOP/s that a prefill really reaches with numbers of `element`: peak times efficiency. Raises BadInput."""
        found = self.compute_element(element)
        return self.peak_flops_per_s[found].value * self.compute_efficiency[found].value

    def score_flops_per_s(self, element: str) -> float:
        """FLOP/s that attention's scores really reach with numbers of `element`. Raises BadInput."""
        if self.attention_efficiency is None:
            return self.flops_per_s(element)
        return self.peak_flops_per_s[self.compute_element(element)].value * self.attention_efficiency.value

    def for_cache(self, dtype: str) -> "Hardware":
        """The same chip as it reads a cache of that dtype, where that was measured; what is behind a plus aside. After
        `reading`."""
        name = dtype.partition("+")[0]
        found = self.cache_efficiency_by_dtype.get(name)
        if found is None or self.steps is None:
            return self if found is None else replace(self, cache_efficiency=found)
        begin_s = self.steps.begin_s.get(name, 0.0)
        return replace(
            self,
            cache_efficiency=found,
            layer_overhead_s=replace(self.layer_overhead_s, value=self.layer_overhead_s.value + begin_s),
            steps=self.steps.for_cache(name),
        )

    def reading(self, working_set_bytes: float) -> "Hardware":
        """The same chip as it reads so many bytes at every step, where that was measured for several sizes.

        What kernels take there per byte is known where they were measured too, near and far. To be called before
        `for_cache`.
        """
        if not self.read_curve:
            return self
        rate = on_curve(self.read_curve, working_set_bytes)
        where = f"by working set: here {format_bytes(working_set_bytes)}, again and again"
        read = replace(
            self,
            read_bytes_per_s=replace(
                self.read_bytes_per_s, value=rate, source=f"{self.read_bytes_per_s.source}; {where}"
            ),
            read_curve=(),
            best_curve=(),
        )
        return read if self.steps is None else read._kernels(self.steps, 1 / rate)

    def _kernels(self, steps: StepCosts, read_s: float) -> "Hardware":
        """The same where plain reading takes so many s per byte."""

        def share(known: Sourced, curve: Curve) -> Sourced:
            return replace(known, value=read_s / kernel_s(curve, read_s))

        by_dtype = {name: share(one, steps.caches[name]) for name, one in self.cache_efficiency_by_dtype.items()}
        return replace(
            self,
            bandwidth_efficiency=share(self.bandwidth_efficiency, steps.weights_wide),
            widening_efficiency=share(self.widening_efficiency, steps.weights_narrow),
            cache_efficiency=by_dtype["bf16"],
            cache_efficiency_by_dtype=by_dtype,
        )

    def for_model(self, shape: Shape) -> "Hardware":
        """The same chip as it multiplies matrices and heads of these shapes, where that was measured for several."""
        if self.steps is None or not shape.layer_numbers:
            return self
        peak, steps = self.peak_flops_per_s[self.compute_element("bf16")].value, self.steps

        def measured(known: Sourced, value: float, words: str) -> Sourced:
            return replace(known, value=value, source=f"{known.source}; {words}")

        products, words = dict(self.compute_efficiency), f"here layers of {shape.layer_numbers / 1e6:.1f} million"
        products["bf16"] = measured(products["bf16"], on_curve(steps.products, shape.layer_numbers) / peak, words)
        if not shape.head_size or self.attention_efficiency is None:
            return replace(self, compute_efficiency=products)
        words = f"here heads of {shape.head_size:.0f}, {shape.group:.0f} queries each"
        scores = on_curve(steps.scores, shape.head_size) / peak
        layer_s = on_curve(steps.layer_s, shape.query_numbers)
        return replace(
            self,
            compute_efficiency=products,
            attention_efficiency=measured(self.attention_efficiency, scores, words),
            layer_overhead_s=measured(self.layer_overhead_s, layer_s, words),
            steps=steps.for_group(shape.group),
        )

    def for_rows(self, rows: int) -> "Hardware":
        """The same chip as it multiplies so many rows in a decode step: reading goes on beside it, so whichever takes
        longer counts. After `reading`."""
        if self.steps is None or rows <= 1:
            return self

        def share(known: Sourced, curve: Curve) -> Sourced:
            most = 1 / (on_curve(curve, rows) * self.read_bytes_per_s.value)
            return known if most >= known.value else replace(known, value=most, source=f"{known.source}; {rows} rows")

        return replace(
            self,
            bandwidth_efficiency=share(self.bandwidth_efficiency, self.steps.rows_wide),
            widening_efficiency=share(self.widening_efficiency, self.steps.rows_narrow),
        )

    @property
    def achieved_bytes_per_s(self) -> float:
        """B/s that a step really reaches on weights: bandwidth times efficiency."""
        return self.read_bytes_per_s.value * self.bandwidth_efficiency.value

    @property
    def cache_bytes_per_s(self) -> float:
        """B/s that a step really reaches on the cache."""
        return self.read_bytes_per_s.value * self.cache_efficiency.value

    def widens(self, bits: int, element: str) -> bool:
        """Whether weights kept in so many bits are widened before they are multiplied as `element`, or wider here."""
        computed = self.compute_element(element)
        return bits < (4 if computed == "fp4" else element_type(computed).bits)

    def weight_bytes_per_s(self, bits: int, element: str) -> float:
        """B/s reached on weights kept in so many bits and multiplied as `element`, or wider where this chip must."""
        share = self.widening_efficiency if self.widens(bits, element) else self.bandwidth_efficiency
        return self.read_bytes_per_s.value * share.value

    def as_floor(self) -> "Hardware":
        """The same chip with all efficiencies at 1 and no overhead: times computed with it cannot be beaten."""
        one = Sourced(1.0, "fraction", Basis.DERIVED, "floor: the full rate", self.read_bytes_per_s.date)
        none = Sourced(0.0, "s", Basis.DERIVED, "floor: no overhead", self.read_bytes_per_s.date)
        return replace(
            self,
            bandwidth_efficiency=one,
            widening_efficiency=one,
            cache_efficiency=one,
            compute_efficiency=dict.fromkeys(self.peak_flops_per_s, one),
            layer_overhead_s=none,
            expert_overhead_s=none,
            link_efficiency=one,
            all_reduce_s=none,
            all_reduce_hop_s=None,
            widened_experts=None,
            attention_efficiency=None,
            step_overhead_s=None,
            cache_efficiency_by_dtype={},
            read_curve=self.best_curve or self.read_curve,
            best_curve=(),
            steps=None,
        )

    def priced(self, usd_per_hour: float, date: str) -> "Hardware":
        """The same chip at a price that the caller states. Raises BadInput below zero, and for what is no number."""
        if not 0 <= usd_per_hour < inf:
            raise BadInput(f"A price of {usd_per_hour:g} USD per hour makes no sense.", "Give dollars, such as 2.95.")
        return replace(self, usd_per_hour=Sourced(usd_per_hour, "USD/h", Basis.ASSUMED, "given by the caller", date))
