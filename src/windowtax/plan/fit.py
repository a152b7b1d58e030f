"""Fit: how much memory of one accelerator goes where, and how many accelerators hold a workload.

A deployment is replicas of a group; a group is pipeline stages of tensor-parallel ranks. Inside a node the ranks split
every layer; only where not even one window fits on a node are the layers dealt out over several nodes (stages).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from windowtax.base.errors import BadInput
from windowtax.plan.roofline import as_asked
from windowtax.plan.schemes import WeightScheme
from windowtax.plan.weights import WeightBytes
from windowtax.schedule.scheduler import DEFAULT_STEP_TOKENS
from windowtax.spec.cache import DEFAULT_BLOCK_SIZE, CacheLayout
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.workload import Workload

DEFAULT_CHUNK_TOKENS = DEFAULT_STEP_TOKENS
"""Most tokens that a step of prefill computes: as our own scheduler cuts prompts."""

_MOST_STAGES = 64
_ACTIVATION_BYTES = 2
_LOGIT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """How accelerators are arranged.

    ring: groups of ranks that each hold a part of every sequence. expert_parallel: ranks that share the routed experts;
    where they are more than tensor_parallel x ring, so many of them attend for their own share of the users. overlap:
    batches that take turns, so that one is computed while the other is sent to its experts; 1 or 2.
    """

    tensor_parallel: int
    pipeline_stages: int = 1
    replicas: int = 1
    ring: int = 1
    expert_parallel: int = 1
    overlap: int = 1

    @property
    def attention_groups(self) -> int:
        """Sets of ranks that attend for different users behind the same experts."""
        return max(1, self.expert_parallel // (self.tensor_parallel * self.ring))

    @property
    def accelerators(self) -> int:
        """All of them."""
        ranks = self.tensor_parallel * self.attention_groups * self.ring
        return ranks * self.pipeline_stages * self.replicas


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Bytes of the fullest accelerator of a group. The cache is counted as allocated: whole blocks, chunk headroom.

    activations_bytes: of one prefill chunk and the logits of all users. users: those whose cache
    this accelerator holds a part of. most_users: windows that the whole group holds. longest_context_tokens: at these
    users; None where windows and states only make it unbounded.
    """

    memory_bytes: int
    usable_bytes: int
    weights_bytes: int
    activations_bytes: int
    cache_bytes_per_user: int
    users: int
    most_users: int
    longest_context_tokens: int | None

    @property
    def cache_bytes(self) -> int:
        """Of all users of the group."""
        return self.cache_bytes_per_user * self.users

    @property
    def left_bytes(self) -> int:
        """Usable bytes that nothing takes; below zero is what is missing."""
        return self.usable_bytes - self.weights_bytes - self.activations_bytes - self.cache_bytes


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A deployment and what it holds. kv_copies: how often the ranks of a group store each cached byte together."""

    deployment: Deployment
    budget: Budget
    kv_copies: float
    nodes: int

    @property
    def fits(self) -> bool:
        """Whether all users fit."""
        return self.budget.left_bytes >= 0

    @property
    def most_users(self) -> int:
        """Windows of this length that the whole deployment holds."""
        return self.budget.most_users * self.deployment.replicas


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """Everything a fit is computed from: the model in these bits, on this hardware, for this workload."""

    spec: ModelSpec
    hardware: Hardware
    workload: Workload
    scheme: WeightScheme
    dtype: CacheDtype
    block_size: int = DEFAULT_BLOCK_SIZE
    chunk_tokens: int = DEFAULT_CHUNK_TOKENS

    @property
    def reading(self) -> Hardware:
        """The accelerator as it runs this model, with a cache of this dtype and steps of this workload."""
        users = self.workload.users
        read = users * self.layout().read_bytes(self.workload.context_tokens)
        read += WeightBytes.of(self.spec, self.scheme).read(users)
        return as_asked(self.hardware, self.spec, self.dtype.name, read_bytes=read, users=users)

    def layout(self, tensor_parallel: int = 1) -> CacheLayout:
        """The cache of one rank."""
        return self.spec.shard(tensor_parallel).layout(self.dtype, self.block_size)

    def tensor_parallel_sizes(self) -> list[int]:
        """Powers of two up to a node that the heads allow."""
        sizes = [2**power for power in range(self.hardware.node_size.bit_length())]
        return [size for size in sizes if size <= self.hardware.node_size and self.splits(size)]

    def splits(self, tensor_parallel: int) -> bool:
        """Whether the heads can be split over so many ranks."""
        try:
            self.spec.shard(tensor_parallel)
        except BadInput:
            return False
        return True

    def activation_bytes(self, users: int) -> int:
        """Derived: chunk * (2 * hidden + outputs of the widest part of a layer) * 2 B + users * vocabulary * 4 B.

        The residual stream and its normed copy stay while one attention or MLP holds the outputs of its matrices;
        logits are kept in fp32 for each sampled position. Not divided by the ranks: an upper bound.
        """
        return self._chunk_activation_bytes() + users * self.spec.vocab_size * _LOGIT_BYTES

    def _chunk_activation_bytes(self) -> int:
        widest = 0
        for layer in set(self.spec.layers):
            for part in (layer.attention, layer.mlp):
                matrices = (weight for weight in part.weights(self.spec.hidden_size) if weight.is_matrix)
                widest = max(widest, sum(weight.active_count // weight.shape[-1] for weight in matrices))
        tokens = min(self.chunk_tokens, self.workload.context_tokens)
        return tokens * (2 * self.spec.hidden_size + widest) * _ACTIVATION_BYTES

    def group(self, tensor_parallel: int, stages: int, users: int, ring: int = 1, expert_parallel: int = 1) -> Budget:
        """The budget of the fullest accelerator of a group with so many users."""
        usable, activations = self.hardware.usable_bytes, self._chunk_activation_bytes()
        logits = self.spec.vocab_size * _LOGIT_BYTES
        groups = max(1, expert_parallel // (tensor_parallel * ring))
        held = -(-users // groups)
        longest, fullest = None, None
        for weights, layout in self.stages(tensor_parallel, stages, expert_parallel):
            per_user = -(-layout.pool_bytes_for(self.workload.context_tokens, self.chunk_tokens) // ring)
            room = usable - weights - activations
            reach = layout.longest_admitted(max(0, room // held - logits) * ring, self.chunk_tokens)
            longest = reach if longest is None else min(longest, reach if reach is not None else longest)
            if fullest is None or weights + held * per_user > fullest[0] + held * fullest[1]:
                fullest = (weights, per_user)
        weights, per_user = fullest or (0, 0)
        return Budget(
            memory_bytes=int(self.hardware.memory_bytes.value),
            usable_bytes=usable,
            weights_bytes=weights,
            activations_bytes=self.activation_bytes(held),
            cache_bytes_per_user=per_user,
            users=held,
            most_users=self.most_users(tensor_parallel, stages, ring, expert_parallel),
            longest_context_tokens=longest,
        )

    def most_users(self, tensor_parallel: int, stages: int, ring: int = 1, expert_parallel: int = 1) -> int:
        """Windows of the workload's length that a group holds; 0 where not even one."""
        room = self.hardware.usable_bytes - self._chunk_activation_bytes()
        logits, context = self.spec.vocab_size * _LOGIT_BYTES, self.workload.context_tokens
        held = min(
            max(0, room - weights) // (-(-layout.pool_bytes_for(context, self.chunk_tokens) // ring) + logits)
            for weights, layout in self.stages(tensor_parallel, stages, expert_parallel)
        )
        return held * max(1, expert_parallel // (tensor_parallel * ring))

    def stages(self, tensor_parallel: int, stages: int, expert_parallel: int = 1) -> Iterator[tuple[int, CacheLayout]]:
        """Weight bytes and cache of one rank of each stage: layers in order, as evenly as they divide."""
        ranks = (tensor_parallel, expert_parallel)
        if stages == 1:
            yield WeightBytes.of(self.spec, self.scheme, *ranks).resident, self.layout(tensor_parallel)
            return
        layers, total = self.spec.layers, len(self.spec.layers)
        outer = WeightBytes.of(replace(self.spec, layers=()), self.scheme, *ranks)
        embedding = ceil(outer.per_token * self.spec.vocab_size)
        # A tied head is the embedding once more: the last stage keeps its own copy.
        head = outer.resident - (0 if self.spec.tie_embeddings else embedding)
        seen: list[tuple[tuple[LayerSpec, ...], int, CacheLayout]] = []
        for stage in range(stages):
            part = layers[stage * total // stages : (stage + 1) * total // stages]
            known = next((entry for entry in seen if entry[0] == part), None)
            if known is None:
                spec = replace(self.spec, layers=part)
                inner = WeightBytes.of(spec, self.scheme, *ranks).resident - outer.resident
                known = (part, inner, spec.shard(tensor_parallel).layout(self.dtype, self.block_size))
                seen.append(known)
            ends = embedding * (stage == 0) + head * (stage == stages - 1)
            yield known[1] + ends, known[2]

    def fit(self, deployment: Deployment) -> Fit:
        """How the workload fits a given deployment."""
        users = -(-self.workload.users // deployment.replicas)
        ranks, context = deployment.tensor_parallel, self.workload.context_tokens
        whole = self.layout().bytes_for(context)
        stages, ring, experts = deployment.pipeline_stages, deployment.ring, deployment.expert_parallel
        return Fit(
            deployment=deployment,
            budget=self.group(ranks, stages, users, ring, experts),
            kv_copies=self.layout(ranks).bytes_for(context) * ranks / whole if whole else 1.0,
            nodes=-(-deployment.accelerators // self.hardware.node_size),
        )

    def alone(self, tensor_parallel: int) -> Fit:
        """One group of that size by itself, holding as many of the users as it can (at least one is asked of it)."""
        held = max(1, min(self.workload.users, self.most_users(tensor_parallel, 1)))
        part = replace(self, workload=replace(self.workload, users=held))
        return part.fit(Deployment(tensor_parallel=tensor_parallel))


def fewest_accelerators(sizing: Sizing) -> Fit:
    """The smallest deployment that holds the workload; of equally small ones the one with the fewest replicas.

    Where no number of stages holds even one window, the returned fit does not fit.
    """
    found: list[Fit] = []
    sizes = sizing.tensor_parallel_sizes()
    for ranks in sizes:
        most = sizing.most_users(ranks, 1)
        if most:
            replicas = -(-sizing.workload.users // most)
            found.append(sizing.fit(Deployment(tensor_parallel=ranks, replicas=replicas)))
    if found:
        return min(found, key=lambda fit: (fit.deployment.accelerators, fit.deployment.replicas))
    return _over_nodes(sizing, sizes[-1])


def _over_nodes(sizing: Sizing, ranks: int) -> Fit:
    """The fewest nodes when layers are dealt out: from the first number of stages that works, a few times as many.

    More stages leave more room for windows beside the weights, so they can need fewer nodes than more replicas do.
    """
    layers = len(sizing.spec.layers)
    held = {stages: sizing.most_users(ranks, stages) for stages in range(2, min(layers, _MOST_STAGES) + 1)}
    arranged = [
        Deployment(tensor_parallel=ranks, pipeline_stages=stages, replicas=-(-sizing.workload.users // most))
        for stages, most in held.items()
        if most
    ]
    if not arranged:
        return sizing.fit(Deployment(tensor_parallel=ranks, pipeline_stages=min(layers, _MOST_STAGES)))
    return sizing.fit(min(arranged, key=lambda deployment: (deployment.accelerators, deployment.pipeline_stages)))


def fit_to(sizing: Sizing, accelerators: int) -> Fit:
    """The fastest arrangement of exactly so many accelerators that holds the workload.

    That is the one without stages and with the most ranks per group; where none holds all users, the one that holds
    most. Raises BadInput where the model cannot be split over that many.
    """
    node = sizing.hardware.node_size
    sizes = [size for size in range(1, min(node, accelerators) + 1) if accelerators % size == 0 and sizing.splits(size)]
    arranged = [Deployment(tensor_parallel=size, replicas=accelerators // size) for size in sizes]
    if accelerators > node and accelerators % node == 0 and accelerators // node <= len(sizing.spec.layers):
        arranged.append(Deployment(tensor_parallel=node, pipeline_stages=accelerators // node))
    if accelerators < 1 or not arranged:
        raise BadInput(f"{accelerators} accelerators make no deployment.", "Take 1, 2, 4, 8, or whole nodes.")
    fits = [sizing.fit(deployment) for deployment in arranged]
    holding = [fit for fit in fits if fit.fits]
    if holding:
        return max(holding, key=lambda fit: (-fit.deployment.pipeline_stages, fit.deployment.tensor_parallel))
    return max(fits, key=lambda fit: (fit.most_users, fit.deployment.tensor_parallel, fit.budget.left_bytes))
