"""What a technique is: two states of a deployment, without it and with it, and the equation evaluated on both."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from windowtax.base.registry import Registry
from windowtax.base.sourced import Sourced
from windowtax.plan.equation import Equation
from windowtax.plan.fit import Deployment, Sizing
from windowtax.plan.parallel import Group
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec

PATHS = {
    1: "less work: fewer FLOPs or weights per token",
    2: "better amortisation: fewer cache bytes, or more tokens for the same reads",
    3: "other hardware constants: bandwidth, compute, memory",
    4: "efficiency factors towards 1",
}
"""Article 5 names the first three; the fourth is what its own fourth closing question asks for."""

_BOTH_PASSES = 4
"""Scores written, read by the softmax, written again, and read once more, where a kernel does not keep them on chip."""

ALONE = Deployment(tensor_parallel=1)


@dataclass(frozen=True, kw_only=True)
class State:
    """A machine under a load: what the equation is evaluated from. workload.users are the batch.

    The equation knows one machine: `chips` chips are taken as one with all their memory, bandwidth and compute, every
    cached byte kept once and nothing sent. deployment says what else is asked of such machines. prompt_spec: the model
    as it reads prompts, where that is not how it decodes. tokens_per_step: output tokens of a sequence per step;
    positions: tokens computed for them. slots_filled: share of the batch that works on unfinished requests.
    window_tokens: tokens that memory is kept for, more than context_tokens where it is reserved ahead. shared_tokens:
    of these, tokens whose cache all users hold together. scores_in_memory: whether prefill writes its scores to
    memory. prompts_between: prompts read between a user's tokens on the same machine. gap_tokens: prompt tokens that a
    decoding user waits for at once. extra_bytes: cache that fits into memory other than the accelerators'.
    reload_bytes_per_s: rate at which a prompt's cache comes back instead of being computed.
    """

    sizing: Sizing
    chip: Hardware
    chips: int
    deployment: Deployment = ALONE
    prompt_spec: ModelSpec | None = None
    tokens_per_step: float = 1.0
    positions: int = 1
    slots_filled: float = 1.0
    window_tokens: int | None = None
    shared_tokens: int = 0
    cached_tokens: int = 0
    scores_in_memory: bool = False
    prompts_between: bool = True
    gap_tokens: int | None = None
    extra_bytes: int = 0
    reload_bytes_per_s: float | None = None

    @classmethod
    def pooled(cls, sizing: Sizing, chips: int) -> "State":
        """So many of the sizing's chips as one machine."""
        return cls(sizing=sizing, chip=sizing.hardware, chips=chips).on(sizing.hardware)

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.sizing.spec

    def of(self, spec: ModelSpec) -> "State":
        """The same with another model in its place."""
        return replace(self, sizing=replace(self.sizing, spec=spec))

    def on(self, hardware: Hardware) -> "State":
        """The same on as many of another chip."""
        return replace(self, chip=hardware, sizing=replace(self.sizing, hardware=_pool(hardware, self.chips)))

    def spread(self, ranks: int) -> "State":
        """On so many real chips as tensor-parallel ranks: copies, all-reduces and all."""
        deployment = replace(self.deployment, tensor_parallel=ranks)
        return replace(self, chips=ranks, sizing=replace(self.sizing, hardware=self.chip), deployment=deployment)


def _pool(hardware: Hardware, chips: int) -> Hardware:
    def times(figure: Sourced) -> Sourced:
        return replace(figure, value=figure.value * chips, source=f"{chips} x {figure.source}")

    link, network, price = hardware.link_bytes_per_s, hardware.network_bytes_per_s, hardware.usd_per_hour
    return replace(
        hardware,
        memory_bytes=times(hardware.memory_bytes),
        read_bytes_per_s=times(hardware.read_bytes_per_s),
        peak_flops_per_s={name: times(peak) for name, peak in hardware.peak_flops_per_s.items()},
        link_bytes_per_s=times(link) if link else None,
        network_bytes_per_s=times(network) if network else None,
        usd_per_hour=times(price) if price else None,
    )


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both states, and in words what differs, with its numbers."""

    without: State
    with_it: State
    change: str


@dataclass(frozen=True, kw_only=True)
class Technique:
    """paths: of PATHS. term: what moves in the equation. article: where article 5 (or another) puts it, "" if nowhere.

    states: makes the two states of a given one. Raises BadInput where the model or machine has no use for it.
    """

    name: str
    title: str
    paths: tuple[int, ...]
    term: str
    article: str
    source: str
    states: Callable[[State], Pair]


TECHNIQUES: Registry[Technique] = Registry("technique", "windowtax.plan.techniques")


def technique(
    name: str, title: str, *, paths: tuple[int, ...], term: str, source: str, article: str = ""
) -> Callable[[Callable[[State], Pair]], Callable[[State], Pair]]:
    """Decorator of the function that makes the two states."""

    def add(states: Callable[[State], Pair]) -> Callable[[State], Pair]:
        found = Technique(name=name, title=title, paths=paths, term=term, article=article, source=source, states=states)
        TECHNIQUES.register(name)(found)
        return states

    return add


@dataclass(frozen=True, kw_only=True)
class Worth:
    """The equation of one state.

    cache_bytes: of one window. read_bytes: of the cache per step and sequence. token_s: of one output token at the
    batch. steady_token_s: the same with other users' prompts in between, mean. gap_s: the longest wait between two
    tokens. most_users: windows that fit. usd_per_mtok: output at the batch; usd_per_mtok_full: at most_users. None: no
    price, or no window fits. sweet_spot_batch: B*.
    """

    cache_bytes: int
    read_bytes: int
    weight_bytes: int
    sweet_spot_batch: float
    ttft_s: float
    token_s: float
    steady_token_s: float
    gap_s: float
    most_users: int
    usd_per_mtok: float | None
    usd_per_mtok_full: float | None


def worth(state: State) -> Worth:
    """Evaluates the equation. All of the group's accelerators together; tensor parallelism as the deployment says."""
    sizing, group = state.sizing, Group.of(state.sizing, state.deployment)
    users, context = sizing.workload.users, sizing.workload.context_tokens
    layout, most = sizing.layout(), _most_users(state)
    decoding = min(most, _most_users(replace(state, extra_bytes=0)))
    step_s, prompt_s = _step_s(state, group, users), _prompt_s(state, group)
    others = (users - 1) * prompt_s / sizing.workload.output_tokens if state.prompts_between else 0.0
    return Worth(
        cache_bytes=layout.bytes_for(context),
        read_bytes=layout.read_bytes(context),
        weight_bytes=group.rank.weights.resident * state.deployment.tensor_parallel,
        sweet_spot_batch=Equation.of(sizing, state.deployment).sweet_spot_batch,
        ttft_s=prompt_s,
        token_s=step_s / state.tokens_per_step,
        steady_token_s=step_s / state.tokens_per_step + others,
        gap_s=_gap_s(state, group, step_s, users),
        most_users=most,
        usd_per_mtok=_usd_per_mtok(state, step_s, users),
        usd_per_mtok_full=_usd_per_mtok(state, _step_s(state, group, decoding), decoding) if decoding else None,
    )


def _step_s(state: State, group: Group, users: int) -> float:
    held, context = group.users_per_stream(users), state.sizing.workload.context_tokens
    step = group.rank.step_s(context, held, positions=state.positions)
    return step + group.sent_s(held * state.positions)


def _prompt_s(state: State, group: Group) -> float:
    sizing, group = state.sizing, _prompt_group(state, group)
    prompt, cached = sizing.workload.prompt_tokens, state.cached_tokens
    if state.reload_bytes_per_s is not None:
        # The prompt's cache comes back; its last token is computed again for the logits.
        bytes_back = sizing.layout(state.deployment.tensor_parallel).bytes_for(prompt)
        return bytes_back / state.reload_bytes_per_s + group.prefill(1, prompt - 1, 1).overlap_s
    bound = group.prefill(prompt - cached, cached, sizing.chunk_tokens)
    if not state.scores_in_memory:
        return bound.overlap_s
    written = _BOTH_PASSES * 2 * prompt * prompt * _score_heads(state.spec) / state.deployment.tensor_parallel
    memory_s = bound.memory_s + written / sizing.hardware.achieved_bytes_per_s
    return max(memory_s, bound.compute_s) + bound.link_s + bound.overhead_s


def _prompt_group(state: State, group: Group) -> Group:
    if state.prompt_spec is None:
        return group
    return Group.of(replace(state.sizing, spec=state.prompt_spec), state.deployment)


def _score_heads(spec: ModelSpec) -> int:
    """Query heads of all layers that write scores."""
    return sum(getattr(layer.attention, "num_query_heads", 0) for layer in spec.layers)


def _gap_s(state: State, group: Group, step_s: float, users: int) -> float:
    if not state.prompts_between:
        return step_s
    sizing = state.sizing
    prompt = sizing.workload.prompt_tokens
    if state.gap_tokens is None:
        return _prompt_group(state, group).prefill(prompt, 0, sizing.chunk_tokens).overlap_s
    last = max(0, prompt - state.gap_tokens)
    return group.step_s(sizing.workload.context_tokens, group.users_per_stream(users), prompt - last, last)


def _most_users(state: State) -> int:
    sizing, deployment = state.sizing, state.deployment
    tokens = state.window_tokens or sizing.workload.context_tokens
    longer = replace(sizing, workload=replace(sizing.workload, context_tokens=tokens))
    stages, ring, experts = deployment.pipeline_stages, deployment.ring, deployment.expert_parallel
    if not state.shared_tokens and not state.extra_bytes:
        return longer.most_users(deployment.tensor_parallel, stages, ring, experts)
    budget = longer.group(deployment.tensor_parallel, stages, 1, ring, experts)
    room = budget.usable_bytes - budget.weights_bytes - budget.activations_bytes + state.extra_bytes
    layout = longer.layout(deployment.tensor_parallel)
    shared = layout.bytes_for(state.shared_tokens) if state.shared_tokens else 0
    own = max(1, budget.cache_bytes_per_user - shared)
    return max(0, room - shared) // own


def _usd_per_mtok(state: State, step_s: float, users: int) -> float | None:
    price = state.sizing.hardware.usd_per_hour
    if price is None:
        return None
    tokens = users * state.slots_filled * state.tokens_per_step
    return price.value * state.deployment.accelerators / 3600 * step_s / tokens * 1e6
