"""How long a step of the scheduler takes, by the roofline, whatever mixture of prompts and decodes it is.

The formula is Rank.step_s of plan/roofline.py with every sequence at its own length: the kernels of a step run one
after another, and inside each reading and computing overlap. So max(weights, matrices) + max(decoders' cache, their
scores) + for each piece of a prompt max(its cache, its scores) + link + overhead.
"""

from collections.abc import Sequence

from windowtax.plan.roofline import Rank
from windowtax.schedule.step import Step


class StepTimer:
    """Seconds of a step on one group of `rank.tensor_parallel` accelerators.

    Sums over decoders are kept as whole numbers, so that a sum over one step and the same sum moved on by some steps
    are equal to the last bit.
    """

    def __init__(self, rank: Rank) -> None:
        hardware, ranks = rank.hardware, rank.tensor_parallel
        self._rank = rank
        self._cache_bytes_per_s = hardware.cache_bytes_per_s
        self._score_flops_per_s = hardware.score_flops_per_s(rank.score_element) * ranks
        self._decodes: dict[int, tuple[int, int]] = {}
        self._shared: dict[int, tuple[float, float]] = {}
        self._first = self.decode_cost(1)
        self.slope = self._find_slope()

    def _find_slope(self) -> tuple[int, int] | None:
        """What one more token of context adds to a decoder's bytes and FLOPs; None where that is not a constant.

        With full attention in every layer it is: all tokens are read, and scores are two FLOPs per number and token.
        """
        if set(self._rank.spec.kinds) != {"full"}:
            return None
        read, flops = self.decode_cost(2)
        return read - self._first[0], flops - self._first[1]

    def decode_cost(self, context_tokens: int) -> tuple[int, int]:
        """Cache bytes read and score FLOPs of one decoder whose context, the new token included, is so long."""
        found = self._decodes.get(context_tokens)
        if found is None:
            read = self._rank.layout.read_bytes(context_tokens)
            found = (read, self._rank.spec.attention_flops(context_tokens - 1, 1))
            self._decodes[context_tokens] = found
        return found

    def decode_costs(self, contexts: Sequence[int]) -> tuple[int, int]:
        """The same, summed over some decoders."""
        if self.slope is None:
            costs = [self.decode_cost(context) for context in contexts]
            return sum(cost[0] for cost in costs), sum(cost[1] for cost in costs)
        (read, flops), further = self._first, sum(contexts) - len(contexts)
        return len(contexts) * read + further * self.slope[0], len(contexts) * flops + further * self.slope[1]

    def decode_s(self, users: int, read_bytes: int, score_flops: int) -> float:
        """A step of decoders only, given their summed costs."""
        return self._shared_s(users, users) + self._scores_s(read_bytes, score_flops)

    def mixed_s(self, users: int, read_bytes: int, score_flops: int, start: int, count: int) -> float:
        """A step of such decoders and a piece of a prompt, not its last: `count` tokens behind `start`."""
        decoders_s = self._scores_s(read_bytes, score_flops)
        return self._shared_s(users + count, users) + decoders_s + self._prompt_s(start, count)

    def prefill_s(self, num_tokens: int) -> float:
        """A prompt of so many tokens alone, in one step: the least that computing it takes."""
        return self._shared_s(num_tokens, 1) + self._prompt_s(0, num_tokens)

    def step_s(self, step: Step) -> float:
        """Any step."""
        contexts: list[int] = []
        tokens = sampled = 0
        prompts_s = 0.0
        for chunk in step.chunks:
            count, start = chunk.num_tokens, chunk.start
            if count == 1 and start:
                contexts.append(start + 1)
                continue
            tokens += count
            sampled += chunk.samples
            prompts_s += self._prompt_s(start, count)
        users, decoders_s = len(contexts), self._scores_s(*self.decode_costs(contexts))
        return self._shared_s(users + tokens, users + sampled) + decoders_s + prompts_s

    def _prompt_s(self, start: int, count: int) -> float:
        """Scores of a piece of a prompt, and reading what is cached before it."""
        cached = self.decode_costs((start,))[0] if start else 0
        return self._scores_s(cached, self._rank.spec.attention_flops(start, count))

    def _scores_s(self, read_bytes: float, flops: float) -> float:
        memory_s, compute_s = read_bytes / self._cache_bytes_per_s, flops / self._score_flops_per_s
        return memory_s if memory_s > compute_s else compute_s

    def _shared_s(self, tokens: int, sampled: int) -> float:
        """What all sequences share: weights and matrices, link, overhead."""
        known = self._shared.get(tokens)
        if known is None:
            rank = self._rank
            known = self._shared[tokens] = rank.weights_s(tokens), rank.link_s(tokens) + rank.overhead_s
        weights_s, rest_s = known
        compute_s = self._rank.matrices_s(tokens, sampled)
        return (weights_s if weights_s > compute_s else compute_s) + rest_s
