"""Ring attention (Liu et al. 2023, arXiv 2310.01889): a prompt in equal parts, keys and values passed on in a circle.

In each of `ring` hops a group of ranks computes its queries against one part of the keys and sends that part on. What
a hop sends is hidden where it takes less time than what the hop computes; only the rest is waited for.
"""

from dataclasses import dataclass

from windowtax.plan.roofline import Bound, Rank


@dataclass(frozen=True, kw_only=True)
class RingPrefill:
    """A prefill on a ring, in s. bound: the whole of it, with the hops' waiting as link_s.

    hop_compute_s, hop_send_s: of one hop in all layers. hidden_from_tokens: least tokens per part whose sending is
    hidden. contiguous_s: where parts are not interleaved: under a causal mask the last part then works (2 ring - 1) /
    ring times as long as its share (Brandon et al. 2023, Striped Attention, arXiv 2311.09431).
    """

    bound: Bound
    hop_compute_s: float
    hop_send_s: float
    hidden_from_tokens: int
    contiguous_s: float

    @property
    def waiting_share(self) -> float:
        """Share of the time that is spent waiting for keys and values."""
        return self.bound.link_s / self.bound.overlap_s


def ring_prefill(rank: Rank, link_bytes_per_s: float, num_tokens: int, start: int = 0) -> RingPrefill:
    """Reading `num_tokens` behind `start` on `rank.ring` groups like `rank`, each with all weights.

    Parts are interleaved (striped or zigzag), so that all groups have the same work. link_bytes_per_s: of one
    accelerator to its neighbour; the ranks of a group send their own heads side by side.
    """
    spec, ring = rank.spec, rank.ring
    part = -(-num_tokens // ring)
    scores = rank.hardware.flops_per_s(rank.score_element) * rank.tensor_parallel
    attention_s = spec.attention_flops(start, num_tokens) / ring / scores
    matrices = part * spec.layer_flops_per_token + spec.head_flops_per_token
    sent = rank.layout.bytes_for(start + num_tokens) / ring
    hop_compute, hop_send = attention_s / ring, sent / link_bytes_per_s
    waiting = (ring - 1) * max(0.0, hop_send - hop_compute)
    own = rank.prefill(part, 0, part)
    bound = Bound(
        memory_s=rank.weights_s(part),
        compute_s=rank.matrices_s(part, 1) + attention_s,
        link_s=own.link_s + waiting,
        overhead_s=own.overhead_s,
        bytes=rank.weights.read(part),
        flops=(matrices + spec.attention_flops(start, num_tokens) / ring) / rank.tensor_parallel,
    )
    return RingPrefill(
        bound=bound,
        hop_compute_s=hop_compute,
        hop_send_s=hop_send,
        hidden_from_tokens=_hidden_from(rank, link_bytes_per_s, scores),
        contiguous_s=bound.overlap_s + attention_s * (ring - 1) / ring,
    )


def _hidden_from(rank: Rank, link_bytes_per_s: float, scores_per_s: float) -> int:
    """Tokens per part n where n x bytes per token / link = n^2 x FLOPs per pair / 2 / C: halves, by the causal mask."""
    layout, tokens = rank.layout, 2**30
    per_token = layout.growth_bytes_per_token
    per_pair = (rank.spec.attention_flops(2 * tokens, 1) - rank.spec.attention_flops(tokens, 1)) / tokens
    if not per_pair:
        return 0
    return int(-(-per_token / link_bytes_per_s * scores_per_s * 2 // per_pair))
