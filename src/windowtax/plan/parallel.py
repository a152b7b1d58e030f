"""A group of accelerators at work: tensor, pipeline, expert and ring parallelism, with what each sends over the links.

Data parallelism needs no arithmetic of its own: replicas of a group answer different requests.
"""

from dataclasses import dataclass, replace
from itertools import zip_longest

from windowtax.base.errors import BadInput
from windowtax.base.sourced import Basis, Sourced
from windowtax.plan.fit import Deployment, Fit, Sizing
from windowtax.plan.ring import RingPrefill, ring_prefill
from windowtax.plan.roofline import Bound, Rank, expert_layers
from windowtax.plan.weights import WeightBytes
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec

ASSUMED_NETWORK = Sourced(50e9, "B/s", Basis.ASSUMED, "a 400 Gb/s adapter per accelerator", "2026-11-21")

_ACTIVATION_BYTES = 2
_SIZES = ("tp", "pp", "ep", "ring", "dp", "overlap")


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """What a caller asks for. tp: ranks that split every layer. pp: stages. ep: ranks that share the experts.

    ring: parts of each sequence. dp: copies of all this; 0 for as many as the users need. overlap: 2 for two batches
    that take turns, one computed while the other is on its way to or from its experts.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    ring: int = 1
    dp: int = 0
    overlap: int = 1

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
            overlap=self.overlap,
        )

    def _check(self, spec: ModelSpec) -> None:
        experts = expert_layers(spec)
        if self.ep > 1 and not experts:
            raise BadInput(f"{spec.name} has no experts to share: ep={self.ep} makes no sense.", "Leave ep away.")
        attending = self.tp * self.ring
        if self.ep > 1 and self.ep % attending:
            raise BadInput(
                f"ep={self.ep} is no multiple of tp x ring = {attending}.",
                "Experts are shared by whole sets of the ranks that attend together.",
            )
        if self.overlap > 2 or (self.overlap == 2 and self.ep <= self.tp):
            raise BadInput(
                f"overlap={self.overlap} has nothing to do here.",
                f"Two batches take turns while tokens travel to experts: overlap=2 with ep larger than tp={self.tp}.",
            )
        if self.pp > len(spec.layers):
            raise BadInput(f"{spec.name} has {len(spec.layers)} layers, too few for pp={self.pp} stages.")


def parse_parallel(text: str) -> Parallel:
    """Parallel from "tp=8,pp=2" (tp, pp, ep, ring, dp, overlap). Raises BadInput."""
    hint = f"Write it as tp=8,pp=2 with any of {', '.join(_SIZES)}."
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, equals, size = (word.strip() for word in part.partition("="))
        if name not in _SIZES or not equals or not size.isdecimal() or int(size) < 1:
            raise BadInput(f"{part.strip()!r} is no kind of parallelism and its size.", hint)
        if name in sizes:
            raise BadInput(
                f"{name} is there twice, {name}={sizes[name]} and {name}={int(size)}.", "Give each size once."
            )
        sizes[name] = int(size)
    return Parallel(**sizes)


def fit_parallel(sizing: Sizing, parallel: Parallel) -> Fit:
    """How the workload fits an arrangement that the caller chose. Raises BadInput where it cannot be made."""
    return sizing.fit(parallel.deployment(sizing))


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
            hardware=sizing.reading,
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

    def cache_bytes(self, context_tokens: int, users: int) -> float:
        """Cache that one decode step reads on the fullest rank."""
        return self.users_per_stream(users) * self.rank.layout.read_bytes(context_tokens) / self.rank.ring

    def decode(self, context_tokens: int, users: int) -> Bound:
        """One token for each of `users` sequences. Stages work on different users at the same time."""
        batches = self._batches(self.users_per_stream(users))
        bounds = [self.rank.decode(context_tokens, held) for held in batches]
        return _in_turns(bounds, [self.sent_s(held) for held in batches])

    def step_s(self, context_tokens: int, held: int, chunk_tokens: int = 0, chunk_start: int = 0) -> float:
        """One step of one stream with `held` sequences and a prompt's chunk, s: see Rank.step_s and _turns_s."""
        busy: list[float] = []
        sent: list[float] = []
        for users, tokens in zip_longest(self._batches(held), self._batches(chunk_tokens), fillvalue=0):
            busy.append(self.rank.step_s(context_tokens, users, tokens, chunk_start))
            sent.append(self.sent_s(users + tokens))
            chunk_start += tokens
        return _turns_s(busy, sent)

    def prefill(self, num_tokens: int, start: int, chunk_tokens: int) -> Bound:
        """Reading a prompt, alone. In a pipeline, chunks follow each other from stage to stage.

        Flow of equal stages: all chunks' time / stages, and (stages - 1) / stages of the longest chunk to fill and
        drain. A ring takes a prompt whole, so its stages work one after another. Where experts are shared, the other
        attention groups read a prompt of their own meanwhile.
        """
        stages, ring = self.deployment.pipeline_stages, self.rank.ring
        if ring > 1:
            part = -(-num_tokens // ring)
            moved = self._between_stages_s(part) + self._between_experts_s(part)
            return _in_turns([self.ring(num_tokens, start).bound], [moved])
        chunk_tokens = -(-chunk_tokens // self.deployment.overlap)
        bound = self.rank.prefill(num_tokens, start, chunk_tokens)
        if stages > 1:
            last = (num_tokens - 1) % chunk_tokens + 1
            longest = self.rank.prefill(last, start + num_tokens - last, chunk_tokens)
            if last < chunk_tokens < num_tokens:
                full = self.rank.prefill(chunk_tokens, start + num_tokens - last - chunk_tokens, chunk_tokens)
                longest = max(longest, full, key=lambda chunk: chunk.overlap_s)
            bound = _pipelined(bound, longest, stages)
        sent = self.sent_s(num_tokens)
        if self.deployment.overlap == 1 or num_tokens <= chunk_tokens:
            return _in_turns([bound], [sent])
        waiting = max(0.0, sent - bound.overlap_s)
        return replace(bound, link_s=bound.link_s + waiting, hidden_s=sent - waiting)

    def ring(self, num_tokens: int, start: int = 0) -> RingPrefill:
        """A prompt read by the ring: each of its groups takes an equal part of the queries."""
        return ring_prefill(self.rank, self._link(self._attending), num_tokens, start)

    def sent_s(self, tokens: int) -> float:
        """Seconds that `tokens` tokens of a stream spend between stages, between experts, and in a ring's sums.

        Between two sums all groups of a ring hold all these tokens. Each sends its part of them to their experts, and
        gathers the others' answers.
        """
        ring, experts = self.rank.ring, self.deployment.expert_parallel
        seconds = self._between_stages_s(tokens) + self._between_experts_s(tokens / ring)
        if ring > 1:
            # Partial outputs of the parts of the context are summed up, as in an all-reduce.
            times = 2 * len(self.rank.spec.layers)
            times += len(self.rank.experts_per_token) if experts > self.rank.tensor_parallel else 0
            seconds += times * self._state_bytes(tokens) * (ring - 1) / ring / self._link(self._attending)
        return seconds

    def _between_stages_s(self, tokens: int) -> float:
        stages = self.deployment.pipeline_stages
        group = self._attending * self.deployment.attention_groups
        return (stages - 1) * self._state_bytes(tokens) / self._link(group * stages)

    def _between_experts_s(self, tokens: float) -> float:
        """Each token goes to k experts and comes back: two all-to-alls; what stays on the own rank is not sent.

        There it travels in the type it is multiplied in, back in 16 bits (DeepEP README: FP8 dispatch, BF16 combine).
        """
        experts = self.deployment.expert_parallel
        if experts <= self.rank.tensor_parallel:
            return 0.0
        there = 1 if self.rank.scheme.compute == "fp8" else _ACTIVATION_BYTES
        away = sum(self.rank.experts_per_token) * (experts - 1) / experts
        both_ways = self._state_bytes(tokens) / _ACTIVATION_BYTES * (there + _ACTIVATION_BYTES)
        return both_ways * away / self._link(experts)

    def _state_bytes(self, tokens: float) -> float:
        """Hidden states of so many tokens, a rank's part of them."""
        return tokens * self.rank.spec.hidden_size * _ACTIVATION_BYTES / self.rank.tensor_parallel

    @property
    def _attending(self) -> int:
        """Ranks that attend for the same users."""
        return self.rank.tensor_parallel * self.rank.ring

    def _batches(self, count: int) -> list[int]:
        """So many sequences or tokens in batches that take turns, as evenly as they divide."""
        turns = min(self.deployment.overlap, max(1, count))
        return [(count + turn) // turns for turn in range(turns)]

    def _link(self, ranks: int) -> float:
        return link_bytes_per_s(self.rank.hardware, ranks > self.rank.hardware.node_size)


def _turns_s(busy: list[float], sent: list[float]) -> float:
    """Batches that take turns: all computing, all sending, or one batch's own way through both, whichever is longest.

    The lower bound of two-batch overlap (deepseek-ai/open-infra-index, day 6): each reads all weights for itself, and
    one batch alone has nothing to hide behind.
    """
    return max(sum(busy), sum(sent), *(own + way for own, way in zip(busy, sent, strict=True)))


def _in_turns(bounds: list[Bound], sent: list[float]) -> Bound:
    """One Bound of several batches: what cannot be hidden is waited for, what can is hidden_s."""
    busy = [bound.overlap_s for bound in bounds]
    waiting = _turns_s(busy, sent) - sum(busy)
    return Bound(
        memory_s=sum(bound.memory_s for bound in bounds),
        compute_s=sum(bound.compute_s for bound in bounds),
        link_s=sum(bound.link_s for bound in bounds) + waiting,
        overhead_s=sum(bound.overhead_s for bound in bounds),
        hidden_s=sum(sent) - waiting,
        bytes=sum(bound.bytes for bound in bounds),
        flops=sum(bound.flops for bound in bounds),
    )


def link_bytes_per_s(hardware: Hardware, crosses_nodes: bool) -> float:
    """B/s that one accelerator really sends, inside its node or, where the group is larger, to other nodes."""
    network = hardware.network_bytes_per_s or ASSUMED_NETWORK
    link = network if crosses_nodes else hardware.link_bytes_per_s or network
    return link.value * hardware.link_efficiency.value


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
