"""The core equation of article 5 with units, and the points where its terms cross (docs/equation.md).

t_mem = (w N_read(B) / eta_W + B L b / eta_KV) / BW, t_comp = B (2 N_active + F_attn(L)) / (eta_C C), and B <= room /
(L b). A step takes max(t_mem, t_comp) if reading and computing overlap perfectly, their sum if they do not, and a
constant on top.
The article's form lacks the 2 FLOPs per parameter, the attention's FLOPs, the efficiencies, the constant, the experts
that a batch touches, and the limit that memory puts on B.
"""

from collections.abc import Callable
from dataclasses import dataclass

from windowtax.plan.fit import Deployment, Sizing
from windowtax.plan.parallel import Group
from windowtax.plan.roofline import Bound, Rank

CLAIMED_SHARES = (0.68, 0.94)
"""Article 1: cache reads are "between 68 percent and 94 percent of decode latency at 500K context"."""

CLAIMED_CONTEXT_TOKENS = 500_000

_SEARCH_LIMIT = 2**40


@dataclass(frozen=True, kw_only=True)
class Equation:
    """The equation of one group of accelerators. batch: sequences per step; context_tokens: of each of them."""

    sizing: Sizing
    rank: Rank
    most_in_flight: int
    context_tokens: int
    batch: int

    @classmethod
    def of(cls, sizing: Sizing, deployment: Deployment) -> "Equation":
        """The equation of a sizing's workload on one group of a deployment; batch: the users of one of its streams."""
        ranks, stages = deployment.tensor_parallel, deployment.pipeline_stages
        group = Group.of(sizing, deployment)
        users = -(-sizing.workload.users // deployment.replicas)
        return cls(
            sizing=sizing,
            rank=group.rank,
            most_in_flight=sizing.most_users(ranks, stages, deployment.ring, deployment.expert_parallel),
            context_tokens=sizing.workload.context_tokens,
            batch=group.users_per_stream(users),
        )

    @property
    def step(self) -> Bound:
        """One decode step: both terms, both bounds."""
        return self.rank.decode(self.context_tokens, self.batch)

    @property
    def active_parameters(self) -> int:
        """N_active of the equation: numbers that one token is multiplied by, the head included, a looked-up row not."""
        return (self.rank.spec.layer_flops_per_token + self.rank.spec.head_flops_per_token) // 2

    @property
    def whole_weight_bytes(self) -> float:
        """w N_total of a rank: what a batch reads that touches every expert."""
        return self.rank.weights.always + sum(size for size, _ in self.rank.weights.routed)

    @property
    def ridge(self) -> float:
        """C / BW in FLOP per byte, from the peaks: what a byte read must be used for to keep the machine busy."""
        hardware = self.rank.hardware
        peak = hardware.peak_flops_per_s[hardware.compute_element(self.rank.scheme.compute)].value
        return peak / hardware.read_bytes_per_s.value

    @property
    def sweet_spot_batch(self) -> float:
        """B* = (C / BW) (w / 2) N_total / N_active, from the peaks: computing takes as long as reading the weights."""
        return self.ridge * self.whole_weight_bytes * self.rank.tensor_parallel / (2 * self.active_parameters)

    @property
    def reached_sweet_spot_batch(self) -> float:
        """B* with what is really reached of both peaks."""
        hardware = self.rank.hardware
        element = hardware.compute_element(self.rank.scheme.compute)
        reading = hardware.weight_bytes_per_s(self.rank.scheme.bits, element) / hardware.read_bytes_per_s.value
        return self.sweet_spot_batch * hardware.compute_efficiency[element].value / reading

    @property
    def cache_passes_weights_tokens(self) -> int | None:
        """The context from which one step reads more cache than weights; None where windows and states never do."""
        weights = self.rank.weights.read(self.batch)
        return _first(lambda tokens: self._cache_bytes(tokens, self.batch) >= weights)

    @property
    def prefill_equal_tokens(self) -> int | None:
        """L_eq: the prompt whose attention takes as many FLOPs as all matrices do; twice a short prompt's per token."""
        spec = self.rank.spec
        return _first(lambda tokens: spec.attention_flops(0, tokens) >= tokens * spec.layer_flops_per_token)

    @property
    def decode_equal_tokens(self) -> int | None:
        """The context at which one token's attention takes as many FLOPs as its matrices: about half of L_eq."""
        spec = self.rank.spec
        matrices = spec.layer_flops_per_token + spec.head_flops_per_token
        return _first(lambda tokens: spec.attention_flops(tokens - 1, 1) >= matrices)

    def cache_share(self, context_tokens: int | None = None, batch: int | None = None) -> float:
        """Share of the bytes that a decode step reads which are cache."""
        users = batch or self.batch
        cache = self._cache_bytes(context_tokens or self.context_tokens, users)
        return cache / (cache + self.rank.weights.read(users))

    def cache_time_share(self, context_tokens: int | None = None, batch: int | None = None) -> float:
        """Share of a decode step's time, its constant included, that goes to reading the cache."""
        tokens, users = context_tokens or self.context_tokens, batch or self.batch
        cache_s = self._cache_bytes(tokens, users) / self.rank.hardware.cache_bytes_per_s
        return cache_s / self.rank.step_s(tokens, users)

    def batch_for_share(self, share: float, context_tokens: int) -> int | None:
        """The fewest sequences of this length whose cache takes such a share of a step's time; None: no number does."""
        if self.cache_time_share(context_tokens, 2**20) < share:
            return None
        return _first(lambda users: self.cache_time_share(context_tokens, users) >= share)

    def _cache_bytes(self, context_tokens: int, users: int) -> float:
        return users * self.rank.layout.read_bytes(context_tokens) / self.rank.ring


def _first(reached: Callable[[int], bool]) -> int | None:
    """The smallest number from 1 on for which something that stays true has become true."""
    high = 1
    while not reached(high):
        high *= 2
        if high > _SEARCH_LIMIT:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
