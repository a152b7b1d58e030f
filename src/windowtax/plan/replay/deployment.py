"""One replica that a trace can be played on: ranks, pool, tiers and clock, all from the planner's own parts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from windowtax.base.errors import BadInput, DoesNotFit
from windowtax.base.units import format_bytes
from windowtax.cache.manager import CacheManager
from windowtax.cache.offload import OffloadSpace
from windowtax.cache.tiers import DEVICE, DISK, HOST
from windowtax.plan.fit import Sizing
from windowtax.plan.plan import make_rank
from windowtax.plan.replay.away import HostRoom, away_space
from windowtax.plan.replay.played import Outcome
from windowtax.plan.replay.step_time import StepTimer
from windowtax.plan.replay.tiers import DISK_BYTES_PER_S, HOST_BYTES_PER_S, PrefixTiers, Tier, kept_block_bytes
from windowtax.plan.replay.trace import Trace
from windowtax.plan.roofline import Rank
from windowtax.plan.schemes import CHECKPOINT, chosen_cache_dtype, weight_scheme
from windowtax.plan.simulate import Observer, Simulator
from windowtax.schedule.scheduler import DEFAULT_STEP_TOKENS, SchedulerConfig
from windowtax.spec.cache import CacheLayout
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import Workload

DEFAULT_MAX_SEQUENCES = 256


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """How a replica is set up. tensor_parallel: ranks; None for the fewest that hold the trace's longest request.

    host_bytes, disk_bytes: of one replica, 0 for none. host_bytes_per_s: to each accelerator. disk_bytes_per_s: of
    all disks of a replica together. prefix_cache: whether earlier prompts are found again; without it every prompt
    is computed.
    """

    cache_dtype: str = CHECKPOINT
    weights: str = CHECKPOINT
    tensor_parallel: int | None = None
    step_tokens: int = DEFAULT_STEP_TOKENS
    max_sequences: int = DEFAULT_MAX_SEQUENCES
    prefix_cache: bool = True
    policy: str = "lru"
    host_bytes: int = 0
    disk_bytes: int = 0
    host_bytes_per_s: float = HOST_BYTES_PER_S.value
    disk_bytes_per_s: float = DISK_BYTES_PER_S.value

    def __post_init__(self) -> None:
        for name in ("step_tokens", "max_sequences", "host_bytes_per_s", "disk_bytes_per_s"):
            if getattr(self, name) <= 0:
                raise BadInput(f"{name} is {getattr(self, name)}: it must be above 0.")


@dataclass(frozen=True, kw_only=True)
class Replica:
    """num_blocks: of one rank's pool, per group. block_bytes: of one block of the trace, on all ranks. cache_dtype: in
    what bits it is kept."""

    options: ReplayOptions
    rank: Rank
    num_blocks: tuple[int, ...]
    timer: StepTimer
    block_tokens: int
    block_bytes: int
    cache_dtype: str

    @property
    def accelerators(self) -> int:
        """Of one replica."""
        return self.rank.tensor_parallel

    @property
    def pool_bytes(self) -> int:
        """KV cache of the whole replica."""
        return self.rank.layout.pool_bytes(self.num_blocks) * self.accelerators

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """What there is below the device."""
        options = self.options
        found: list[Tier] = []
        if options.host_bytes:
            rate = options.host_bytes_per_s * self.accelerators
            found.append(Tier(name=HOST, num_bytes=options.host_bytes, bytes_per_s=rate))
        if options.disk_bytes:
            found.append(Tier(name=DISK, num_bytes=options.disk_bytes, bytes_per_s=options.disk_bytes_per_s))
        return tuple(found)

    @property
    def tier_names(self) -> list[str]:
        """Where prefixes are kept, the fastest tier first."""
        return [DEVICE, *(tier.name for tier in self.tiers)] if self.options.prefix_cache else []

    def simulator(
        self, stop: Callable[[Outcome], bool] | None = None, observe: Observer | None = None
    ) -> tuple[Simulator, PrefixTiers | None]:
        """A fresh one, with nothing cached."""
        options, cache = self.options, CacheManager(self.rank.layout, self.num_blocks)
        prefix = None
        if options.prefix_cache:
            prefix = PrefixTiers(
                cache, self.block_tokens, tiers=self.tiers, ranks=self.accelerators, policy=options.policy
            )
        if options.host_bytes:
            cache.space = self._space(prefix)
        config = SchedulerConfig(max_step_tokens=options.step_tokens, max_sequences=options.max_sequences)
        return Simulator(cache, config, self.timer, prefix, stop=stop, observe=observe), prefix

    def _space(self, prefix: PrefixTiers | None) -> OffloadSpace:
        """Where preempted sequences wait: in the host memory that keeps prefixes too."""
        layout, options = self.rank.layout, self.options
        on_change = None if prefix is None else partial(prefix.fit_tier, HOST)
        room = HostRoom(options.host_bytes, self.accelerators, on_change)
        block_bytes = [layout.block_bytes(group) for group in range(len(layout.groups))]
        return away_space(room, block_bytes, options.host_bytes_per_s, self.timer)


def replica_sizes(spec: ModelSpec, hardware: Hardware, trace: Trace, options: ReplayOptions) -> list[Replica]:
    """Replicas of all sizes that could serve the trace, the smallest first; only the asked one where one is asked for.

    Those on which the longest request does not fit are left out, unless it fits on none. Raises DoesNotFit where not
    even the weights and a typical request fit a node, BadInput for ranks that the heads do not allow.
    """
    sizing = Sizing(
        spec=spec,
        hardware=hardware,
        workload=Workload(context_tokens=max(2, trace.longest.num_tokens), output_tokens=1),
        scheme=weight_scheme(options.weights, spec),
        dtype=chosen_cache_dtype(options.cache_dtype, spec),
        chunk_tokens=options.step_tokens,
    )
    sizes = sizing.tensor_parallel_sizes()
    if options.tensor_parallel is not None:
        if not sizing.splits(options.tensor_parallel):
            raise BadInput(
                f"{spec.name} cannot be split over {options.tensor_parallel} ranks.", f"Take one of {sizes}."
            )
        sizes = [options.tensor_parallel]
    holding: list[Replica] = []
    rest: list[Replica] = []
    for ranks in sizes:
        made = _replica(sizing, ranks, trace, options)
        if made is not None:
            longest = made.rank.layout.peak_blocks(trace.longest.num_tokens, options.step_tokens)
            fits = all(need <= have for need, have in zip(longest, made.num_blocks, strict=True))
            (holding if fits else rest).append(made)
    if not holding and not rest:
        weights = make_rank(sizing, sizes[-1]).weights.resident
        raise DoesNotFit(
            f"{spec.name} takes {format_bytes(weights)} of weights on each of {sizes[-1]} x {hardware.title}, and "
            f"{format_bytes(hardware.usable_bytes)} of each are usable: there is no room for a request of this trace.",
            "Take hardware with more memory, or keep the weights in fewer bits (--weights).",
        )
    return holding or rest[-1:]


def _replica(sizing: Sizing, ranks: int, trace: Trace, options: ReplayOptions) -> Replica | None:
    rank = make_rank(sizing, ranks)
    activations = sizing.activation_bytes(options.max_sequences)
    room = sizing.hardware.usable_bytes - rank.weights.resident - activations
    blocks = _pool(rank.layout, room, trace, options.step_tokens)
    if blocks is None:
        return None
    return Replica(
        options=options,
        rank=rank,
        num_blocks=blocks,
        timer=StepTimer(rank),
        block_tokens=trace.block_tokens,
        block_bytes=kept_block_bytes(rank.layout, trace.block_tokens) * ranks,
        cache_dtype=sizing.dtype.name,
    )


def _pool(layout: CacheLayout, room: int, trace: Trace, step_tokens: int) -> tuple[int, ...] | None:
    """Blocks per group that fill the room: enough for the longest request, the rest as typical requests need them.

    None where not even a request of mean length has room.
    """
    mean = (trace.num_prompt_tokens + trace.num_output_tokens) // len(trace.requests)
    typical = layout.peak_blocks(max(1, mean), step_tokens)
    longest = layout.peak_blocks(trace.longest.num_tokens, step_tokens)
    for least in (longest, typical):
        if layout.pool_bytes(least) > room:
            continue
        low, high = 0, room // max(1, layout.pool_bytes(typical)) + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if layout.pool_bytes(_filled(least, typical, middle)) <= room else (low, middle)
        blocks = _filled(least, typical, low)
        if len(blocks) == 1:
            return (room // layout.block_bytes(0),)
        return blocks
    return None


def _filled(least: tuple[int, ...], typical: tuple[int, ...], requests: int) -> tuple[int, ...]:
    return tuple(max(floor, requests * count) for floor, count in zip(least, typical, strict=True))
