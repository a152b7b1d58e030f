"""The plan: what a context window costs on a model, a piece of hardware and a traffic. Bytes, seconds, dollars."""

from dataclasses import dataclass

from windowtax.base.units import format_bytes
from windowtax.plan.fit import DEFAULT_CHUNK_TOKENS, Fit, Sizing, fewest_accelerators, fit_to
from windowtax.plan.roofline import Bound, Rank
from windowtax.plan.schemes import CHECKPOINT, WeightScheme, weight_scheme
from windowtax.plan.weights import WeightBytes
from windowtax.price.own import OwnBill, own_bill
from windowtax.spec.cache import DEFAULT_BLOCK_SIZE, CacheLayout
from windowtax.spec.dtypes import CacheDtype, cache_dtype
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import Workload


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """How the model is held. accelerators: exactly so many; None for the fewest that hold the workload.

    weights: a scheme of plan/weights.py. chunk_tokens: most tokens of one request that a step of prefill computes.
    """

    cache_dtype: str = "bf16"
    weights: str = CHECKPOINT
    accelerators: int | None = None
    block_size: int = DEFAULT_BLOCK_SIZE
    chunk_tokens: int = DEFAULT_CHUNK_TOKENS


@dataclass(frozen=True, kw_only=True)
class Times:
    """How long things take on one group of the deployment.

    ttft: reading one prompt, alone. tpot: one decode step of all the group's users, each with a full window.
    loaded_tpot_s: between tokens under steady load, when each user who is done is followed by another one whose prompt
    is read between the others' steps: with perfect overlap, and with none. decode_s: all output tokens after the first,
    undisturbed. output_tokens_per_s: of the whole deployment under that load, without overlap. cache_share: of the
    bytes that the tpot step reads.
    """

    ttft: Bound
    tpot: Bound
    loaded_tpot_s: tuple[float, float]
    decode_s: float
    output_tokens_per_s: float
    cache_share: float

    @property
    def call_s(self) -> float:
        """From the request to its last token, undisturbed."""
        return self.ttft.overlap_s + self.decode_s


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Dollars. usd_per_hour: of all accelerators. bill: of one call while the machines are busy.

    usd_per_user_hour: of holding one window for an hour, where as many users share the machines as fit.
    """

    usd_per_hour: float
    usd_per_user_hour: float
    bill: OwnBill


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a plan says. times is None where the workload does not fit, costs also where no price is known.

    layout: the whole model's cache, one rank. choices: one group of each tensor-parallel size, for comparison.
    """

    sizing: Sizing
    layout: CacheLayout
    weights: WeightBytes
    fit: Fit
    choices: tuple[Fit, ...]
    rank: Rank
    times: Times | None
    costs: Costs | None
    warnings: tuple[str, ...]

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.sizing.spec

    @property
    def hardware(self) -> Hardware:
        """One accelerator and its node."""
        return self.sizing.hardware

    @property
    def workload(self) -> Workload:
        """What is asked."""
        return self.sizing.workload

    @property
    def scheme(self) -> WeightScheme:
        """In what bits the weights are."""
        return self.sizing.scheme

    @property
    def dtype(self) -> CacheDtype:
        """In what bits the cache is."""
        return self.sizing.dtype


def make_plan(spec: ModelSpec, hardware: Hardware, workload: Workload, options: PlanOptions = PlanOptions()) -> Plan:
    """Plans. Raises UnknownName for a dtype or scheme there is not, BadInput for what makes no sense together."""
    sizing = Sizing(
        spec=spec,
        hardware=hardware,
        workload=workload,
        scheme=weight_scheme(options.weights, spec),
        dtype=cache_dtype(options.cache_dtype),
        block_size=options.block_size,
        chunk_tokens=options.chunk_tokens,
    )
    fit = fewest_accelerators(sizing) if options.accelerators is None else fit_to(sizing, options.accelerators)
    rank = make_rank(sizing, fit.deployment.tensor_parallel)
    times = _times(sizing, fit, rank) if fit.fits else None
    return Plan(
        sizing=sizing,
        layout=sizing.layout(),
        weights=WeightBytes.of(spec, sizing.scheme),
        fit=fit,
        choices=tuple(sizing.alone(size) for size in sizing.tensor_parallel_sizes()),
        rank=rank,
        times=times,
        costs=_costs(sizing, fit, times),
        warnings=tuple(_warnings(sizing, fit)),
    )


def make_rank(sizing: Sizing, tensor_parallel: int) -> Rank:
    """One rank of a group, ready to be timed."""
    return Rank(
        spec=sizing.spec,
        hardware=sizing.hardware,
        scheme=sizing.scheme,
        weights=WeightBytes.of(sizing.spec, sizing.scheme, tensor_parallel),
        layout=sizing.layout(tensor_parallel),
        tensor_parallel=tensor_parallel,
    )


def _times(sizing: Sizing, fit: Fit, rank: Rank) -> Times:
    workload, users = sizing.workload, fit.budget.users
    computed = workload.prompt_tokens - workload.cached_tokens
    ttft = rank.prefill(computed, workload.cached_tokens, sizing.chunk_tokens)
    first, last = (rank.decode(tokens, users) for tokens in (workload.prompt_tokens + 1, workload.context_tokens))
    steps = workload.output_tokens - 1
    # A step takes longer as the window fills, and nearly in a straight line: the mean of both ends times the steps.
    decode_s = steps * (first.overlap_s + last.overlap_s) / 2
    others = users - 1
    memory_s = steps * (first.memory_s + last.memory_s) / 2 + others * ttft.memory_s
    compute_s = steps * (first.compute_s + last.compute_s) / 2 + others * ttft.compute_s
    rest_s = steps * (last.link_s + last.overhead_s) + others * ttft.link_s
    low_s, high_s = max(memory_s, compute_s) + rest_s, decode_s + others * ttft.overlap_s
    loaded = (min(low_s, high_s) / steps, high_s / steps) if steps else (last.overlap_s, last.overlap_s)
    return Times(
        ttft=ttft,
        tpot=last,
        loaded_tpot_s=loaded,
        decode_s=decode_s,
        output_tokens_per_s=workload.users * workload.output_tokens / (ttft.overlap_s + high_s),
        cache_share=users * rank.layout.read_bytes(workload.context_tokens) / last.bytes,
    )


def _costs(sizing: Sizing, fit: Fit, times: Times | None) -> Costs | None:
    price, workload, deployment = sizing.hardware.usd_per_hour, sizing.workload, fit.deployment
    if price is None or times is None:
        return None
    bill = own_bill(
        price.value * deployment.accelerators / deployment.replicas,
        prefill_s=times.ttft.overlap_s,
        decode_s=times.decode_s,
        prompt_tokens=workload.prompt_tokens,
        output_tokens=workload.output_tokens,
        sharers=fit.budget.users,
    )
    hour = price.value * deployment.accelerators
    return Costs(usd_per_hour=hour, usd_per_user_hour=hour / fit.most_users, bill=bill)


def _warnings(sizing: Sizing, fit: Fit) -> list[str]:
    spec, workload, deployment = sizing.spec, sizing.workload, fit.deployment
    found: list[str] = []
    if workload.context_tokens > spec.max_context_tokens:
        found.append(
            f"{workload.context_tokens:,} tokens are beyond the {spec.max_context_tokens:,} that {spec.name} was made "
            "for: this is arithmetic only, the model was not trained for it. --rope lays a scaling over it."
        )
    if not fit.fits:
        found.append(_does_not_fit(sizing, fit))
    if fit.nodes > 1:
        arrangement = (
            f"{deployment.pipeline_stages} nodes that share the layers"
            if deployment.pipeline_stages > 1
            else f"{deployment.replicas} copies of the model on {deployment.tensor_parallel} accelerators each"
        )
        found.append(
            f"This does not fit on one node of {sizing.hardware.node_size}: it takes {fit.nodes} nodes "
            f"({deployment.accelerators} accelerators; {arrangement})."
        )
    if deployment.pipeline_stages > 1 and fit.fits:
        found.append(
            "Times count the stages one after another, as for a single request. With enough requests in flight the "
            f"stages work at the same time, and a call costs down to 1/{deployment.pipeline_stages} of what is shown."
        )
    if fit.kv_copies > 1:
        found.append(
            f"There are fewer KV heads than ranks: the {deployment.tensor_parallel} ranks together store the cache "
            f"{fit.kv_copies:.3g} times."
        )
    computed = sizing.hardware.compute_element(sizing.scheme.compute)
    if computed != sizing.scheme.compute:
        found.append(f"{sizing.hardware.title} has no {sizing.scheme.compute} arithmetic: it computes in {computed}.")
    return found


def _does_not_fit(sizing: Sizing, fit: Fit) -> str:
    budget = fit.budget
    return (
        f"This does not fit: {format_bytes(-budget.left_bytes)} are missing on each of {fit.deployment.accelerators} "
        f"accelerators. They hold {fit.most_users:,} of {sizing.workload.users:,} windows of "
        f"{sizing.workload.context_tokens:,} tokens."
    )
