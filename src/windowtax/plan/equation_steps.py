"""The equation's lines of `windowtax plan --explain`."""

from windowtax.base.sourced import Basis
from windowtax.base.units import format_rate, format_seconds
from windowtax.plan.equation import CLAIMED_CONTEXT_TOKENS, CLAIMED_SHARES, Equation
from windowtax.plan.steps import Step

DERIVED = str(Basis.DERIVED)
_BOOK = "docs/equation.md"


def equation_steps(equation: Equation) -> list[Step]:
    """t_mem, t_comp, both bounds, B*, the limit on B, the crossings, and the cache's share at 500,000 tokens."""
    return [*_terms(equation), *_batches(equation), *_crossings(equation), _claim(equation)]


def _terms(equation: Equation) -> list[Step]:
    rank, step, batch = equation.rank, equation.step, equation.batch
    hardware, spec = rank.hardware, rank.spec
    cache = rank.layout.read_bytes(equation.context_tokens) / rank.ring
    attention = spec.attention_flops(equation.context_tokens - 1, 1)
    widened = f" + {rank.widened_flops:.4g}" if rank.widened_flops else ""
    ranks = f" / {rank.tensor_parallel} ranks" if rank.tensor_parallel > 1 else ""
    return [
        Step(
            "t_mem",
            "(w N_read(B) / eta_W + B L b / eta_KV) / BW",
            f"{rank.weights.read(batch):,.0f} B / {format_rate(rank.weight_bytes_per_s, 'B/s')} + {batch:,} x "
            f"{cache:,.0f} B / {format_rate(hardware.cache_bytes_per_s, 'B/s')}",
            format_seconds(step.memory_s),
            DERIVED,
            f"of one rank; N_read(B): of routed experts those that B tokens touch; {_BOOK}",
        ),
        Step(
            "t_comp",
            "B (2 N_active + F_attn(L)) / (eta_C C)",
            f"{batch:,} x (2 x {equation.active_parameters:,}{widened} + {attention:.4g}) FLOP / "
            f"{format_rate(hardware.flops_per_s(rank.scheme.compute), 'FLOP/s')}{ranks}",
            format_seconds(step.compute_s),
            DERIVED,
            "attention in 16 bits at that rate"
            + ("; the middle number: what could be done while experts' weights are widened" if widened else ""),
        ),
        Step(
            "T of a step",
            "max(t_mem, t_comp) ... t_mem + t_comp, + link + overhead",
            f"{step.bound_by}-bound; link {format_seconds(step.link_s)}, overhead {format_seconds(step.overhead_s)}",
            f"{format_seconds(step.overlap_s)} ... {format_seconds(step.serial_s)}",
            DERIVED,
            "perfect overlap ... no overlap",
        ),
    ]


def _batches(equation: Equation) -> list[Step]:
    whole = equation.whole_weight_bytes * equation.rank.tensor_parallel
    return [
        Step(
            "sweet-spot batch B*",
            "(C / BW) x w N_total / (2 N_active)",
            f"{equation.ridge:,.1f} FLOP/B x {whole:,.0f} B / (2 x {equation.active_parameters:,})",
            f"{equation.sweet_spot_batch:,.0f}",
            DERIVED,
            f"from the peaks; {equation.reached_sweet_spot_batch:,.0f} with what is reached of them; at short context",
        ),
        Step(
            "B that memory allows",
            "room / bytes of one window",
            f"at {equation.context_tokens:,} tokens",
            f"{equation.most_in_flight:,}",
            DERIVED,
            "less than B*: the sweet spot is out of reach at this context"
            if equation.most_in_flight < equation.sweet_spot_batch
            else "",
        ),
    ]


def _crossings(equation: Equation) -> list[Step]:
    return [
        Step(
            "cache reads pass weight reads",
            "B L b = w N_read(B)",
            f"B = {equation.batch:,}",
            _tokens(equation.cache_passes_weights_tokens),
            DERIVED,
            "",
        ),
        Step(
            "prompt of equal FLOPs L_eq",
            "attention(L) = 2 L N_active; about N_active / (heads x head_dim x full layers)",
            "",
            _tokens(equation.prefill_equal_tokens),
            DERIVED,
            "a prompt token costs twice that of a short prompt; one decoded token reaches this at "
            + _tokens(equation.decode_equal_tokens),
        ),
    ]


def _claim(equation: Equation) -> Step:
    tokens, shares = CLAIMED_CONTEXT_TOKENS, CLAIMED_SHARES
    users = [equation.batch_for_share(share, tokens) for share in shares]
    said = ", ".join(
        f"{share:.0%} from B = {count:,}" if count else f"{share:.0%} at no B"
        for share, count in zip(shares, users, strict=True)
    )
    return Step(
        f"cache's share of a step at {tokens:,}",
        "B L b / (eta_KV BW) / T",
        f"B = 1: {equation.cache_time_share(tokens, 1):.0%}; {said}",
        f"{equation.cache_time_share(tokens):.0%} at B = {equation.batch:,}",
        DERIVED,
        "article 1 says 68 to 94 percent: that needs a batch between these two",
    )


def _tokens(count: int | None) -> str:
    return "never" if count is None else f"{count:,} tokens"
