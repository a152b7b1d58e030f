"""The roofline: how long a prefill and a decode step take, from bytes, FLOPs and what the hardware reaches.

A step takes t_memory = weights read / (eta_W * BW) + cache read / (eta_KV * BW) and t_compute = FLOPs / (eta_C * C).
If reading and computing overlap perfectly it takes the longer of the two, if they do not overlap the sum: both bounds
are kept. What no roofline explains is a constant per layer and step: launches and synchronisation, more of them where
a layer has routed experts, and the latency of two all-reduces where ranks split it; all fitted to published figures.
Where each kernel was measured alone (this machine), a prefill's head comes on top: it reads while nothing multiplies,
and so do what every chunk takes, choosing blocks and what each further sequence adds.
Floors are the same formulas with every efficiency at 1 and no constant: they cannot be beaten on that hardware.
"""

from dataclasses import dataclass
from functools import cached_property

from windowtax.plan.schemes import WeightScheme, weight_scheme
from windowtax.plan.weights import WeightBytes
from windowtax.spec.attention.block_topk import BlockTopKAttention
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.cache import CacheLayout
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.step_costs import Shape

SENT_TO_ALL_BYTES = 8 << 20
"""Up to here each rank sends all it has to all others at once; more goes round in a ring (the size up to which vLLM's
own all-reduce kernels are taken by default, vllm-project/vllm#52555)."""

ALL_REDUCES_PER_LAYER = 2
"""Tensor parallelism adds up the ranks' parts after attention and after the MLP (Shoeybi 2019, arXiv 1909.08053)."""

_ACTIVATION_BYTES = 2


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The parts of a time, in s, and the bytes and FLOPs of one rank that they come from.

    hidden_s: what is sent while another batch is computed, where nothing stands in the way.
    """

    memory_s: float
    compute_s: float
    link_s: float = 0.0
    overhead_s: float = 0.0
    hidden_s: float = 0.0
    bytes: float
    flops: float

    @property
    def overlap_s(self) -> float:
        """Where reading and computing overlap perfectly: the lower bound, and the figure that reports show."""
        return max(self.memory_s, self.compute_s) + self.link_s + self.overhead_s

    @property
    def serial_s(self) -> float:
        """Where nothing overlaps: the upper bound."""
        return self.memory_s + self.compute_s + self.link_s + self.overhead_s + self.hidden_s

    @property
    def bound_by(self) -> str:
        """ "memory" or "compute", whichever takes longer."""
        return "memory" if self.memory_s >= self.compute_s else "compute"


@dataclass(frozen=True, kw_only=True)
class Floor:
    """The least that a computation needs: seconds, and the bytes read and FLOPs done in them."""

    seconds: float
    bytes: float
    flops: float
    bound_by: str


@dataclass(frozen=True, kw_only=True)
class Rank:
    """One of `tensor_parallel` equal ranks: the whole model's spec, and this rank's weights and cache.

    ring: groups of ranks that each hold an equal part of every sequence's cache.
    """

    spec: ModelSpec
    hardware: Hardware
    scheme: WeightScheme
    weights: WeightBytes
    layout: CacheLayout
    tensor_parallel: int = 1
    ring: int = 1

    def decode(self, context_tokens: int, users: int) -> Bound:
        """One decode step of `users` sequences that hold `context_tokens` tokens each, the new one included."""
        read = users * self.layout.read_bytes(context_tokens) / self.ring
        attention = users * self.spec.attention_flops(context_tokens - 1, 1) / self.ring
        extra_s = self.further_s(users) + users * self.choose_s(context_tokens)
        return self._bound(self.weights.read(users), read, attention, chunks=[users], sampled=users, extra_s=extra_s)

    def prefill(self, num_tokens: int, start: int, chunk_tokens: int) -> Bound:
        """Reading `num_tokens` tokens behind `start` cached ones, alone, in chunks; every chunk reads all weights."""
        chunks = range(start, start + num_tokens, chunk_tokens)
        sizes = [min(chunk_tokens, chunks.stop - first) for first in chunks]
        weights = sum(self.weights.read(size) for size in sizes)
        read = sum(self.layout.read_bytes(first) for first in chunks if first)
        attention = self.spec.attention_flops(start, num_tokens)
        if self.hardware.steps is None:
            return self._bound(weights, read, attention, chunks=sizes, sampled=1)
        weights -= len(sizes) * self.weights.head
        extra_s = max(self.weights.head / self.weight_bytes_per_s, self.matrices_s(0, 1))
        extra_s += sum(self.chunk_s(size) for size in sizes)
        return self._bound(weights, read, attention, chunks=sizes, sampled=0, extra_s=extra_s)

    def step_s(
        self, context_tokens: int, users: int, chunk_tokens: int = 0, chunk_start: int = 0, positions: int = 1
    ) -> float:
        """One step of an engine, s: `users` sequences decode while `chunk_tokens` of a prompt are read beside them.

        Between the two bounds: the kernels of a step run one after another, and only inside each do reading and
        computing overlap. So max(weights, matrices) + max(decoders' cache, their scores) + max(the prompt's cache, its
        scores) + link + overhead. Without a chunk this is nearly `decode(...).overlap_s`. positions: tokens of
        each decoding sequence that the step computes, drafted ones included; its cache is read once for all of them.
        """
        decoded = users * positions
        tokens, sampled = decoded + chunk_tokens, decoded + (chunk_tokens > 0)
        seconds = max(self.weights_s(tokens), self.matrices_s(tokens, sampled))
        if users:
            read = self.layout.read_bytes(context_tokens)
            flops = self.spec.attention_flops(context_tokens - positions, positions)
            seconds += self._scores_s(users * read / self.ring, users * flops / self.ring)
        if chunk_tokens:
            read, flops = self.layout.read_bytes(chunk_start), self.spec.attention_flops(chunk_start, chunk_tokens)
            seconds += self._scores_s(read / self.ring if chunk_start else 0, flops / self.ring)
            seconds += self.chunk_s(chunk_tokens)
        seconds += self.further_s(users) + users * self.choose_s(context_tokens)
        return seconds + self.link_s(tokens) + self.overhead_s

    def weights_s(self, tokens: int) -> float:
        """Reading the weights that a step over `tokens` tokens needs, s."""
        return self.weights.read(tokens) / self.weight_bytes_per_s

    def matrices_s(self, tokens: int, sampled: int) -> float:
        """Multiplying `tokens` tokens by all layers, and `sampled` of them by the head, s."""
        flops = (
            tokens * (self.spec.layer_flops_per_token + self.widened_flops) + sampled * self.spec.head_flops_per_token
        )
        return flops / self.hardware.flops_per_s(self.scheme.compute) / self.tensor_parallel

    @cached_property
    def widened_flops(self) -> float:
        """FLOPs per token that could be done while routed experts' weights are widened; 0 where they are not."""
        share = self.hardware.widened_experts
        if share is None:
            return 0.0
        layers = (weight for layer in self.spec.layers for weight in layer.mlp.weights(self.spec.hidden_size))
        routed = [weight for weight in layers if weight.active < 1 and weight.is_matrix]
        compute = self.scheme.compute
        widened = (weight for weight in routed if self.hardware.widens(self.scheme.bits_of(weight), compute))
        return 2 * sum(weight.active_count for weight in widened) * (1 / share.value - 1)

    @property
    def score_element(self) -> str:
        """The type of attention scores: 16 bits even where the matrices are quantised."""
        return "fp32" if self.scheme.compute == "fp32" else "bf16"

    @cached_property
    def experts_per_token(self) -> list[float]:
        """Of each layer with routed experts, in order: to how many of them one token goes."""
        return expert_layers(self.spec)

    @cached_property
    def overhead_s(self) -> float:
        """Of one step, s: its own, launches of all layers, more with routed experts, latency of the all-reduces."""
        hardware, layers = self.hardware, len(self.spec.layers)
        seconds = layers * hardware.layer_overhead_s.value
        seconds += 0.0 if hardware.step_overhead_s is None else hardware.step_overhead_s.value
        seconds += len(self.experts_per_token) * hardware.expert_overhead_s.value
        if self.tensor_parallel > 1 and hardware.all_reduce_s is not None:
            seconds += ALL_REDUCES_PER_LAYER * layers * hardware.all_reduce_s.value
        return seconds

    @cached_property
    def _shape(self) -> Shape:
        return shape_of(self.spec)

    def further_s(self, sequences: int) -> float:
        """What all sequences of a decode step but the first add to its overhead, s."""
        steps = self.hardware.steps
        if steps is None:
            return 0.0
        return steps.further_sequences_s(sequences, len(self.spec.layers), self._shape.query_numbers)

    def chunk_s(self, tokens: int) -> float:
        """What a chunk of a prompt takes whatever its tokens, beyond a step's own overhead, s."""
        steps = self.hardware.steps
        return 0.0 if steps is None else steps.chunk_s(tokens, len(self.spec.layers), self._shape.layer_numbers)

    def choose_s(self, context_tokens: int) -> float:
        """Choosing blocks for one token of one sequence, beyond the bytes that it reads, s."""
        steps = self.hardware.steps
        if steps is None:
            return 0.0
        kinds = [layer.attention for layer in self.spec.layers if isinstance(layer.attention, BlockTopKAttention)]
        numbers = (kind.summary_numbers(context_tokens) for kind in kinds)
        return sum(steps.choose_s(one) for one in numbers if one)

    @property
    def weight_bytes_per_s(self) -> float:
        """B/s that reading these weights really reaches."""
        return self.hardware.weight_bytes_per_s(self.scheme.bits, self.scheme.compute)

    def _scores_s(self, read_bytes: float, flops: float) -> float:
        """A kernel of attention, s: reading its cache and computing overlap."""
        return max(read_bytes / self.hardware.cache_bytes_per_s, self._score_s(flops))

    def _score_s(self, flops: float) -> float:
        return flops / self.hardware.score_flops_per_s(self.score_element) / self.tensor_parallel

    def _bound(
        self,
        weights: float,
        cache: float,
        attention_flops: float,
        *,
        chunks: list[int],
        sampled: int,
        extra_s: float = 0.0,
    ) -> Bound:
        """chunks: the tokens of each step. sampled: how many of them all pass the head. extra_s: more overhead."""
        tokens = sum(chunks)
        matrix_flops = tokens * self.spec.layer_flops_per_token + sampled * self.spec.head_flops_per_token
        return Bound(
            memory_s=weights / self.weight_bytes_per_s + cache / self.hardware.cache_bytes_per_s,
            compute_s=self.matrices_s(tokens, sampled) + self._score_s(attention_flops),
            link_s=sum(self.link_s(size) for size in chunks),
            overhead_s=len(chunks) * self.overhead_s + extra_s,
            bytes=weights + cache,
            flops=(matrix_flops + attention_flops) / self.tensor_parallel,
        )

    def link_s(self, tokens: int) -> float:
        """Sending, s: a ring all-reduce sends 2 (n - 1) / n of the activations over each link.

        Of many tokens its steps also take longer to begin than `overhead_s` counts.
        """
        ranks, link = self.tensor_parallel, self.hardware.link_bytes_per_s
        if ranks == 1 or link is None:
            return 0.0
        summed = tokens * self.spec.hidden_size * _ACTIVATION_BYTES
        seconds = summed * 2 * (ranks - 1) / ranks / (link.value * self.hardware.link_efficiency.value)
        if summed > SENT_TO_ALL_BYTES:
            seconds += self._ring_start_s
        return ALL_REDUCES_PER_LAYER * len(self.spec.layers) * seconds

    @property
    def _ring_start_s(self) -> float:
        """What the 2 (n - 1) steps of a ring take beside their bytes, s, beyond the latency of every all-reduce."""
        hop, least = self.hardware.all_reduce_hop_s, self.hardware.all_reduce_s
        if hop is None or least is None:
            return 0.0
        return max(0.0, 2 * (self.tensor_parallel - 1) * hop.value - least.value)


def as_asked(hardware: Hardware, spec: ModelSpec, cache_dtype: str, *, read_bytes: float, users: int) -> Hardware:
    """The chip as it runs this model's decode steps, which read so many bytes for so many users, where it was measured
    by dtype, working set, shape and rows. Called once per plan, so that all that is derived sees the same rates."""
    return hardware.for_model(shape_of(spec)).reading(read_bytes).for_cache(cache_dtype).for_rows(users)


def shape_of(spec: ModelSpec) -> Shape:
    """What of a model decides how fast kernels are."""
    kinds = [layer.attention for layer in spec.layers if isinstance(layer.attention, SoftmaxAttention)]

    def middle(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    return Shape(
        layer_numbers=spec.layer_flops_per_token / 2 / len(spec.layers) if spec.layers else 0.0,
        head_size=middle([kind.head_dim for kind in kinds]),
        query_numbers=middle([kind.num_query_heads * kind.head_dim for kind in kinds]),
        group=middle([kind.num_query_heads / kind.num_kv_heads for kind in kinds]),
    )


def expert_layers(spec: ModelSpec) -> list[float]:
    """For each layer with routed experts, how many experts one token goes to there (k)."""
    found: list[float] = []
    for layer in spec.layers:
        routed = [weight for weight in layer.mlp.weights(spec.hidden_size) if weight.active < 1 and weight.is_matrix]
        if routed:
            found.append(float(routed[0].active * routed[0].shape[0]))
    return found


def prefill_floor(
    spec: ModelSpec,
    hardware: Hardware,
    num_tokens: int,
    start: int = 0,
    *,
    layout: CacheLayout | None = None,
    weight_bytes: float | None = None,
    weight_element: str = "bf16",
    compute_element: str | None = None,
) -> Floor:
    """The least time in which this hardware can read `num_tokens` tokens behind `start` cached ones.

    weight_bytes: weights that must be read at least once, counted from the spec where None. layout: the cache, to count
    the reading of the cached tokens; not counted where None. compute_element: as the weights are multiplied unless
    given. Raises UnknownName, and BadInput where the hardware has no rate for the element.
    """
    scheme = weight_scheme(weight_element, spec)
    read = WeightBytes.of(spec, scheme).read(num_tokens) if weight_bytes is None else weight_bytes
    if layout is not None and start:
        read += layout.read_bytes(start)
    return _floor(hardware, read, spec.prefill_flops(num_tokens, start), compute_element or scheme.compute)


def decode_floor(
    spec: ModelSpec,
    hardware: Hardware,
    context_tokens: int,
    layout: CacheLayout,
    weight_bytes: float | None = None,
    batch: int = 1,
    *,
    weight_element: str = "bf16",
    compute_element: str | None = None,
) -> Floor:
    """The least time of one decode step of `batch` sequences with `context_tokens` tokens each, the new one included.

    weight_bytes: weights that one step reads (an untied embedding is looked up, not read), counted from the spec where
    None. The cache bytes are layout.read_bytes. Raises as prefill_floor does.
    """
    scheme = weight_scheme(weight_element, spec)
    read = WeightBytes.of(spec, scheme).read(batch) if weight_bytes is None else weight_bytes
    read += batch * layout.read_bytes(context_tokens)
    return _floor(hardware, read, batch * spec.decode_flops(context_tokens), compute_element or scheme.compute)


def _floor(hardware: Hardware, read: float, flops: float, element: str) -> Floor:
    peak = hardware.peak_flops_per_s[hardware.compute_element(element)].value
    memory_s, compute_s = read / hardware.reading(read).read_bytes_per_s.value, flops / peak
    bound_by = "memory" if memory_s >= compute_s else "compute"
    return Floor(seconds=max(memory_s, compute_s), bytes=read, flops=flops, bound_by=bound_by)
