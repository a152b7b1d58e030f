"""A group of accelerators at work: tensor, pipeline, expert and ring parallelism, with what each sends over the links.

Data parallelism needs no arithmetic of its own: replicas of a group answer different requests.
"""

from dataclasses import dataclass, replace

from windowtax.base.errors import BadInput
from windowtax.base.sourced import Basis, Sourced
from windowtax.plan.fit import Deployment, Fit, Sizing
from windowtax.plan.ring import RingPrefill, ring_prefill
from windowtax.plan.roofline import Bound, Rank
from windowtax.plan.weights import WeightBytes
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec

ASSUMED_NETWORK = Sourced(50e9, "B/s", Basis.ASSUMED, "a 400 Gb/s adapter per accelerator", "2026-11-21")

_ACTIVATION_BYTES = 2
_SIZES = ("tp", "pp", "ep", "ring", "dp")


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """What a caller asks for. tp: ranks that split every layer. pp: stages. ep: ranks that share the experts.

    ring: parts of each sequence. dp: copies of all this; 0 for as many as the users need.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    ring: int = 1
    dp: int = 0

    def deployment(self, sizing: Sizing) -> Deployment:
        """The arrangement for this workload, with the replicas that its users need. Raises BadInput."""
        self._check(sizing.spec)
        replicas = self.dp
        if not replicas:
            most = sizing.most_users(self.tp, self.pp, self.ring, self.ep)
            replicas = -(-sizing.workload.users // most) if most else 1
        return Deployment(
            tensor_parallel=self.tp,
            pipeline_stages=self.pp,
            replicas=replicas,
            ring=self.ring,
            expert_parallel=self.ep,
        )

    def _check(self, spec: ModelSpec) -> None:
        experts = expert_layers(spec)
        if self.ep > 1 and not experts:
            raise BadInput(f"{spec.name} has no experts to share: ep={self.ep} makes no sense.", "Leave ep away.")
        if self.ep > 1 and self.ep % self.tp:
            raise BadInput(
                f"ep={self.ep} is no multiple of tp={self.tp}.", "Experts are shared by whole sets of ranks."
            )
        if self.ep > 1 and self.ring > 1:
            raise BadInput("ep and ring are not computed together.", "Take one of them.")
        if self.pp > 1 and self.ring > 1:
            raise BadInput("pp and ring are not computed together.", "Take one of them.")
        if self.pp > len(spec.layers):
            raise BadInput(f"{spec.name} has {len(spec.layers)} layers, too few for pp={self.pp} stages.")


def parse_parallel(text: str) -> Parallel:
    """Parallel from "tp=8,pp=2" (tp, pp, ep, ring, dp). Raises BadInput."""
    hint = f"Write it as tp=8,pp=2 with any of {', '.join(_SIZES)}."
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, equals, size = (word.strip() for word in part.partition("="))
        if name not in _SIZES or not equals or not size.isdecimal() or int(size) < 1 or name in sizes:
            raise BadInput(f"{part.strip()!r} is no kind of parallelism and its size.", hint)
        sizes[name] = int(size)
    return Parallel(**sizes)


def fit_parallel(sizing: Sizing, parallel: Parallel) -> Fit:
    """How the workload fits an arrangement that the caller chose. Raises BadInput where it cannot be made."""
    return sizing.fit(parallel.deployment(sizing))


def expert_layers(spec: ModelSpec) -> list[float]:
    """For each layer with routed experts, how many experts one token goes to there (k)."""
    found: list[float] = []
    for layer in spec.layers:
        routed = [weight for weight in layer.mlp.weights(spec.hidden_size) if weight.active < 1 and weight.is_matrix]
        if routed:
            found.append(float(routed[0].active * routed[0].shape[0]))
    return found


@dataclass(frozen=True, kw_only=True)
class Group:
    """One replica: it answers like a Rank, for `users` sequences of the whole group, with everything sent counted."""

    rank: Rank
    deployment: Deployment

    @classmethod
    def of(cls, sizing: Sizing, deployment: Deployment) -> "Group":
        """The group of a deployment. Raises BadInput where the heads do not divide."""
        ranks, experts = deployment.tensor_parallel, deployment.expert_parallel
        weights = WeightBytes.of(sizing.spec, sizing.scheme, ranks, experts)
        # Tokens of all attention groups choose among the experts of a rank: 1 - (1 - share) ** (groups * tokens).
        groups = deployment.attention_groups
        routed = tuple((size, 1 - (1 - share) ** groups) for size, share in weights.routed)
        rank = Rank(
            spec=sizing.spec,
            hardware=sizing.hardware,
            scheme=sizing.scheme,
            weights=replace(weights, routed=routed) if groups > 1 else weights,
            layout=sizing.layout(ranks),
            tensor_parallel=ranks,
            ring=deployment.ring,
        )
        return cls(rank=rank, deployment=deployment)

    @property
    def streams(self) -> int:
        """Batches that are under way at the same time: one per pipeline stage and attention group."""
        return self.deployment.pipeline_stages * self.deployment.attention_groups

    def users_per_stream(self, users: int) -> int:
        """Sequences of the fullest stream."""
        return -(-users // self.streams)

    def decode(self, context_tokens: int, users: int) -> Bound:
        """One token for each of `users` sequences. Stages work on different users at the same time."""
        held = self.users_per_stream(users)
        return self._sent(self.rank.decode(context_tokens, held), held)

    def step_s(self, context_tokens: int, held: int, chunk_tokens: int = 0, chunk_start: int = 0) -> float:
        """One step of one stream with `held` sequences and a prompt's chunk, s: see Rank.step_s."""
        step = self.rank.step_s(context_tokens, held, chunk_tokens, chunk_start)
        return step + self.sent_s(held + chunk_tokens)

    def prefill(self, num_tokens: int, start: int, chunk_tokens: int) -> Bound:
        """Reading a prompt, alone. In a pipeline, chunks follow each other from stage to stage; a ring takes it whole.

        Flow of equal stages: all chunks' time / stages, and (stages - 1) / stages of the longest chunk to fill and
        drain. Where experts are shared, the other attention groups read a prompt of their own meanwhile.
        """
        stages = self.deployment.pipeline_stages
        if self.rank.ring > 1:
            return self.ring(num_tokens, start).bound
        bound = self.rank.prefill(num_tokens, start, chunk_tokens)
        if stages > 1:
            last = (num_tokens - 1) % chunk_tokens + 1
            longest = self.rank.prefill(last, start + num_tokens - last, chunk_tokens)
            if last < chunk_tokens < num_tokens:
                full = self.rank.prefill(chunk_tokens, start + num_tokens - last - chunk_tokens, chunk_tokens)
                longest = max(longest, full, key=lambda chunk: chunk.overlap_s)
            bound = _pipelined(bound, longest, stages)
        return self._sent(bound, num_tokens)

    def ring(self, num_tokens: int, start: int = 0) -> RingPrefill:
        """A prompt read by the ring: each of its groups takes an equal part of the queries."""
        crosses = self.rank.tensor_parallel * self.rank.ring > self.rank.hardware.node_size
        return ring_prefill(self.rank, self._link(crosses), num_tokens, start)

    def sent_s(self, tokens: int) -> float:
        """Seconds that `tokens` tokens of a stream spend between stages, between experts, and in a ring's sums."""
        spec, deployment, ranks = self.rank.spec, self.deployment, self.rank.tensor_parallel
        state = tokens * spec.hidden_size * _ACTIVATION_BYTES
        seconds = 0.0
        if deployment.pipeline_stages > 1:
            crosses = ranks * deployment.pipeline_stages > self.rank.hardware.node_size
            seconds += (deployment.pipeline_stages - 1) * state / ranks / self._link(crosses)
        experts = deployment.expert_parallel
        if deployment.attention_groups > 1:
            # Each token goes to k experts and comes back: two all-to-alls; those on the own rank stay.
            away = sum(expert_layers(spec)) * (experts - 1) / experts
            seconds += 2 * state / ranks * away / self._link(experts > self.rank.hardware.node_size)
        if self.rank.ring > 1:
            # Partial outputs of the parts of the context are summed up, as in an all-reduce.
            crosses = ranks * self.rank.ring > self.rank.hardware.node_size
            share = 2 * (self.rank.ring - 1) / self.rank.ring
            seconds += len(spec.layers) * state / ranks * share / self._link(crosses)
        return seconds

    def _sent(self, bound: Bound, tokens: int) -> Bound:
        return replace(bound, link_s=bound.link_s + self.sent_s(tokens))

    def _link(self, crosses_nodes: bool) -> float:
        return link_bytes_per_s(self.rank.hardware, crosses_nodes)


def link_bytes_per_s(hardware: Hardware, crosses_nodes: bool) -> float:
    """B/s that one accelerator really sends, inside its node or, where the group is larger, to other nodes."""
    network = hardware.network_bytes_per_s or ASSUMED_NETWORK
    link = network if crosses_nodes else hardware.link_bytes_per_s or network
    return link.value * hardware.bandwidth_efficiency.value


def _pipelined(whole: Bound, longest: Bound, stages: int) -> Bound:
    """`stages` equal stages: whole / stages + (stages - 1) / stages x the longest chunk, part by part."""

    def part(all_chunks: float, chunk: float) -> float:
        return (all_chunks + (stages - 1) * chunk) / stages

    return Bound(
        memory_s=part(whole.memory_s, longest.memory_s),
        compute_s=part(whole.compute_s, longest.compute_s),
        link_s=part(whole.link_s, longest.link_s),
        overhead_s=part(whole.overhead_s, longest.overhead_s),
        bytes=whole.bytes,
        flops=whole.flops,
    )
