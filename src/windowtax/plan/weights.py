"""Weight bytes: what the parameters take in memory, and how many of them a step reads."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from windowtax.plan.schemes import WeightScheme
from windowtax.spec.model import ModelSpec
from windowtax.spec.weights import Weight


@dataclass(frozen=True)
class WeightBytes:
    """Weight bytes of one tensor-parallel rank (or of the whole model, where it is one rank).

    resident: held in memory. always: read in every step. routed: (bytes, share that one token uses) of the experts.
    per_token: of the embedding rows that each token looks up. head: the output head, among those that are always read.
    """

    resident: int
    always: float
    routed: tuple[tuple[float, float], ...]
    per_token: float
    head: float = 0.0

    @classmethod
    def of(
        cls, spec: ModelSpec, scheme: WeightScheme, tensor_parallel: int = 1, expert_parallel: int = 1
    ) -> "WeightBytes":
        """Counts a rank's share. expert_parallel: ranks that share the routed experts, where more than tensor_parallel.

        Raises BadInput where the heads do not divide.
        """
        resident = always = per_token = head = 0.0
        routed: defaultdict[float, float] = defaultdict(float)
        for weight, copies in _rank_weights(spec, tensor_parallel, max(tensor_parallel, expert_parallel)):
            size = scheme.bytes_of(weight) * copies
            resident += size
            if weight.name == "embedding":
                per_token = size / spec.vocab_size
            if weight.name == ("embedding" if spec.tie_embeddings else "head"):
                head = size
            if weight.active < 1:
                routed[float(weight.active)] += size
            elif weight.name != "embedding" or spec.tie_embeddings:
                always += size
        return cls(ceil(resident), always, tuple((size, share) for share, size in routed.items()), per_token, head)

    def read(self, tokens: int) -> float:
        """Bytes that a step over `tokens` tokens reads.

        Of routed experts those that at least one token chose: routed * (1 - (1 - k/E) ** tokens), as if each token
        chose at random.
        """
        experts = sum(size * (1 - (1 - share) ** tokens) for size, share in self.routed)
        return self.always + experts + self.per_token * tokens


def _rank_weights(spec: ModelSpec, tensor_parallel: int, expert_ranks: int) -> Iterator[tuple[Weight, float]]:
    """Each tensor of a rank with its number of copies, a fraction where the rank holds a part of it.

    Attention is split as its kind says (KV heads are copied where there are fewer heads than ranks), MLP matrices,
    embedding and head evenly, routed experts over `expert_ranks`; norms are on every rank.
    """
    shard = spec.shard(tensor_parallel)
    for layer, count in Counter(shard.layers).items():
        for weight in layer.weights(spec.hidden_size):
            split = weight.name.startswith("mlp.") and weight.is_matrix
            ranks = expert_ranks if weight.active < 1 else tensor_parallel
            yield weight, count / ranks if split else count
    for weight in replace(shard, layers=()).weights():
        yield weight, 1 / tensor_parallel if weight.is_matrix else 1
