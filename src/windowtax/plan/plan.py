"""The plan: what a context window costs on a model, a piece of hardware and a traffic. Bytes, seconds, dollars."""

from dataclasses import dataclass

from windowtax.base.errors import BadInput
from windowtax.base.units import format_bytes, format_seconds
from windowtax.plan.equation import Equation
from windowtax.plan.fit import DEFAULT_CHUNK_TOKENS, Deployment, Fit, Sizing, fewest_accelerators, fit_to
from windowtax.plan.knee import Load, LoadPoint, Promise, Slo, fewest_for
from windowtax.plan.parallel import Group, Parallel, fit_parallel
from windowtax.plan.roofline import Bound, Rank
from windowtax.plan.schemes import CHECKPOINT, WeightScheme, cache_dtype_from, chosen_cache_dtype, weight_scheme
from windowtax.plan.weights import WeightBytes
from windowtax.price.own import OwnBill, own_bill
from windowtax.spec.cache import DEFAULT_BLOCK_SIZE, CacheLayout
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import Workload


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """How the model is held. accelerators: exactly so many; None for the fewest that hold the workload.

    cache_dtype, weights: names of spec/dtypes.py and plan/schemes.py, "checkpoint" for the model's own. chunk_tokens:
    most tokens of one request that a step of prefill computes. parallel: exactly this arrangement. slo: what users are
    promised; the fewest accelerators that keep it are taken.
    """

    cache_dtype: str = CHECKPOINT
    weights: str = CHECKPOINT
    accelerators: int | None = None
    block_size: int = DEFAULT_BLOCK_SIZE
    chunk_tokens: int = DEFAULT_CHUNK_TOKENS
    parallel: Parallel | None = None
    slo: Slo | None = None


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
    cache_dtype_from: who chose it: "given", "checkpoint" or "default". equation, load: None where not even one window
    fits. slo: what was promised; promise: what keeps it, None where nothing does.
    """

    sizing: Sizing
    cache_dtype_from: str
    layout: CacheLayout
    weights: WeightBytes
    fit: Fit
    choices: tuple[Fit, ...]
    group: Group
    times: Times | None
    costs: Costs | None
    warnings: tuple[str, ...]
    equation: Equation
    load: Load | None
    slo: Slo | None = None
    promise: Promise | None = None

    @property
    def rank(self) -> Rank:
        """One rank of a group."""
        return self.group.rank

    @property
    def users_per_replica(self) -> int:
        """Users of the fullest replica."""
        return replica_users(self.sizing, self.fit)

    @property
    def point(self) -> LoadPoint | None:
        """What the fullest replica's users see under steady load."""
        return None if self.load is None else self.load.at(self.users_per_replica)

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.sizing.spec

    @property
    def hardware(self) -> Hardware:
        """One accelerator and its node, as it reads this cache."""
        return self.sizing.reading

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
        dtype=chosen_cache_dtype(options.cache_dtype, spec),
        block_size=options.block_size,
        chunk_tokens=options.chunk_tokens,
    )
    promise = _promise(sizing, options)
    fit = promise.fit if promise else _fit(sizing, options)
    group = Group.of(sizing, fit.deployment)
    times = _times(sizing, fit, group) if fit.fits else None
    return Plan(
        sizing=sizing,
        cache_dtype_from=cache_dtype_from(options.cache_dtype, spec),
        layout=sizing.layout(),
        weights=WeightBytes.of(spec, sizing.scheme),
        fit=fit,
        choices=tuple(sizing.alone(size) for size in sizing.tensor_parallel_sizes()),
        group=group,
        times=times,
        costs=_costs(sizing, fit, times),
        warnings=(*_warnings(sizing, fit), *_broken_promise(sizing, fit, options, promise)),
        equation=Equation.of(sizing, fit.deployment),
        load=Load.of(sizing, fit.deployment) if fit.budget.most_users else None,
        slo=options.slo,
        promise=promise,
    )


def _fit(sizing: Sizing, options: PlanOptions) -> Fit:
    if options.parallel is not None:
        if options.accelerators is not None:
            raise BadInput("--gpus and --parallel both say how many accelerators there are.", "Give one of them.")
        return fit_parallel(sizing, options.parallel)
    return fewest_accelerators(sizing) if options.accelerators is None else fit_to(sizing, options.accelerators)


def _promise(sizing: Sizing, options: PlanOptions) -> Promise | None:
    """The fewest accelerators that keep the promise: of the arrangement asked for, or of any on one node."""
    slo = options.slo
    if slo is None:
        return None
    if options.accelerators is not None or (options.parallel is not None and options.parallel.dp):
        fit = _fit(sizing, options)
        if not fit.fits:
            return None
        load, users = Load.of(sizing, fit.deployment), replica_users(sizing, fit)
        most, point = load.most_users_within(slo), load.at(users)
        if most is None or not slo.kept(point):
            return None
        return Promise(slo=slo, fit=fit, users_per_replica=most.users, point=point)
    if options.parallel is not None:
        return fewest_for(sizing, slo, [options.parallel.deployment(sizing)])
    stages = fewest_accelerators(sizing).deployment
    shapes = [Deployment(tensor_parallel=size) for size in sizing.tensor_parallel_sizes()]
    return fewest_for(sizing, slo, [*shapes, stages] if stages.pipeline_stages > 1 else shapes)


def _broken_promise(sizing: Sizing, fit: Fit, options: PlanOptions, promise: Promise | None) -> list[str]:
    if options.slo is None or promise is not None or not fit.budget.most_users:
        return []
    load = Load.of(sizing, fit.deployment)
    alone, now = load.at(1), load.at(replica_users(sizing, fit))
    where = "" if options.accelerators or options.parallel else " by any arrangement on a node"
    together = f", {now.users:,} wait {format_seconds(now.ttft_s)} and {format_seconds(now.tpot_s)}"
    return [
        f"The promise of {options.slo.words} is not kept{where}: "
        f"here one user alone waits {format_seconds(alone.ttft_s)} for the first token and "
        f"{format_seconds(alone.tpot_s)} between tokens{together if now.users > 1 else ''} (means)."
    ]


def replica_users(sizing: Sizing, fit: Fit) -> int:
    """Users of the fullest replica."""
    return -(-sizing.workload.users // fit.deployment.replicas)


def make_rank(sizing: Sizing, tensor_parallel: int) -> Rank:
    """One rank of a group, ready to be timed."""
    return Rank(
        spec=sizing.spec,
        hardware=sizing.reading,
        scheme=sizing.scheme,
        weights=WeightBytes.of(sizing.spec, sizing.scheme, tensor_parallel),
        layout=sizing.layout(tensor_parallel),
        tensor_parallel=tensor_parallel,
    )


def _times(sizing: Sizing, fit: Fit, group: Group) -> Times:
    workload, users = sizing.workload, replica_users(sizing, fit)
    computed = workload.prompt_tokens - workload.cached_tokens
    ttft = group.prefill(computed, workload.cached_tokens, sizing.chunk_tokens)
    first, last = (group.decode(tokens, users) for tokens in (workload.prompt_tokens + 1, workload.context_tokens))
    steps = workload.output_tokens - 1
    # A step takes longer as the window fills, and nearly in a straight line: the mean of both ends times the steps.
    decode_s = steps * (first.overlap_s + last.overlap_s) / 2
    others = -(-users // fit.deployment.attention_groups) - 1
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
        cache_share=group.cache_bytes(workload.context_tokens, users) / last.bytes,
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
        sharers=replica_users(sizing, fit),
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
        arrangement = _arranged(deployment)
        found.append(
            f"This does not fit on one node of {sizing.hardware.node_size}: it takes {fit.nodes:,} nodes "
            f"({deployment.accelerators:,} accelerators; {arrangement})."
        )
    if deployment.pipeline_stages > 1 and fit.fits:
        found.append(
            f"The {deployment.pipeline_stages} stages work on different users at the same time; with fewer users than "
            "stages some of them wait, and are paid for."
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


def _arranged(deployment: Deployment) -> str:
    if deployment.pipeline_stages > 1:
        return f"{deployment.pipeline_stages} stages that share the layers"
    if deployment.attention_groups > 1:
        return f"experts shared by {deployment.expert_parallel} ranks"
    if deployment.ring > 1:
        return f"{deployment.ring} groups that share each sequence"
    ranks = deployment.tensor_parallel
    return f"{deployment.replicas:,} copies of the model on {ranks} accelerator{'s' if ranks > 1 else ''} each"


def _does_not_fit(sizing: Sizing, fit: Fit) -> str:
    budget = fit.budget
    return (
        f"This does not fit: {format_bytes(-budget.left_bytes)} are missing on each of {fit.deployment.accelerators} "
        f"accelerators. They hold {fit.most_users:,} of {sizing.workload.users:,} windows of "
        f"{sizing.workload.context_tokens:,} tokens."
    )
