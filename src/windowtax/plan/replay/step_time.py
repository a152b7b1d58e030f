"""How long a step of the scheduler takes, by the roofline, whatever mixture of prompts and decodes it is.

The formula is Rank.step_s of plan/roofline.py with every sequence at its own length: the kernels of a step run one
after another, and inside each reading and computing overlap. So max(weights, matrices) + max(decoders' cache, their
scores) + for each piece of a prompt max(its cache, its scores) + link + overhead.
"""

from windowtax.plan.roofline import ALL_REDUCES_PER_LAYER, Rank
from windowtax.schedule.step import Step

_ACTIVATION_BYTES = 2


class StepTimer:
    """Seconds of a step on one group of `rank.tensor_parallel` accelerators.

    Sums over decoders are kept as whole numbers, so that a sum over one step and the same sum moved on by some steps
    are equal to the last bit.
    """

    def __init__(self, rank: Rank) -> None:
        spec, hardware, ranks = rank.spec, rank.hardware, rank.tensor_parallel
        self._rank = rank
        self._bytes_per_s = hardware.achieved_bytes_per_s
        self._matrix_flops_per_s = hardware.flops_per_s(rank.scheme.compute) * ranks
        self._score_flops_per_s = hardware.flops_per_s("fp32" if rank.scheme.compute == "fp32" else "bf16") * ranks
        self._layer_flops = spec.layer_flops_per_token
        self._head_flops = spec.head_flops_per_token
        self._overhead_s = len(spec.layers) * hardware.layer_overhead_s.value
        self._link_s_per_token = 0.0
        if ranks > 1 and hardware.link_bytes_per_s is not None:
            sent = ALL_REDUCES_PER_LAYER * len(spec.layers) * spec.hidden_size * _ACTIVATION_BYTES
            link = hardware.link_bytes_per_s.value * hardware.bandwidth_efficiency.value
            self._link_s_per_token = sent * 2 * (ranks - 1) / ranks / link
        self._decodes: dict[int, tuple[int, int]] = {}
        self._weights: dict[int, float] = {}
        self.slope = self._find_slope()

    def _find_slope(self) -> tuple[int, int] | None:
        """What one more token of context adds to a decoder's bytes and FLOPs; None where that is not a constant.

        With full attention in every layer it is: all tokens are read, and scores are two FLOPs per number and token.
        """
        if set(self._rank.spec.kinds) != {"full"}:
            return None
        (read_1, flops_1), (read_2, flops_2) = self.decode_cost(1), self.decode_cost(2)
        return read_2 - read_1, flops_2 - flops_1

    def decode_cost(self, context_tokens: int) -> tuple[int, int]:
        """Cache bytes read and score FLOPs of one decoder whose context, the new token included, is so long."""
        found = self._decodes.get(context_tokens)
        if found is None:
            read = self._rank.layout.read_bytes(context_tokens)
            found = (read, self._rank.spec.attention_flops(context_tokens - 1, 1))
            self._decodes[context_tokens] = found
        return found

    def decode_s(self, users: int, read_bytes: int, score_flops: int) -> float:
        """A step of decoders only, given their summed costs."""
        return self._shared_s(users, users) + self._scores_s(read_bytes, score_flops)

    def step_s(self, step: Step) -> float:
        """Any step."""
        users = read = flops = tokens = sampled = 0
        prompts_s = 0.0
        for chunk in step.chunks:
            count, start = chunk.num_tokens, chunk.start
            if count == 1 and start:
                more_read, more_flops = self.decode_cost(start + 1)
                users += 1
                read += more_read
                flops += more_flops
                continue
            tokens += count
            sampled += chunk.samples
            cached = self._rank.layout.read_bytes(start) if start else 0
            prompts_s += self._scores_s(cached, self._rank.spec.attention_flops(start, count))
        decoders_s = self._scores_s(read, flops) if users else 0.0
        return self._shared_s(users + tokens, users + sampled) + decoders_s + prompts_s

    def _scores_s(self, read_bytes: float, flops: float) -> float:
        memory_s, compute_s = read_bytes / self._bytes_per_s, flops / self._score_flops_per_s
        return memory_s if memory_s > compute_s else compute_s

    def _shared_s(self, tokens: int, sampled: int) -> float:
        """What all sequences share: weights and matrices, link, overhead."""
        read = self._weights.get(tokens)
        if read is None:
            read = self._weights[tokens] = self._rank.weights.read(tokens) / self._bytes_per_s
        compute_s = (tokens * self._layer_flops + sampled * self._head_flops) / self._matrix_flops_per_s
        shared_s = read if read > compute_s else compute_s
        return shared_s + tokens * self._link_s_per_token + self._overhead_s
