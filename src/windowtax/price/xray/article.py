"""Article 5's own inference, reproduced to the digit, and what is wrong with each of its steps.

Source: AI Era, "The Math Behind LLM Pricing 04", section III: L b / BW = N_active / C with C / BW = 300, L = 200K,
N_active = 100 billion; b = 1,667 B, "about 2 KB"; with 8 x 128 x 2 x 1 bytes per layer "effective layers = 1".
"""

from dataclasses import dataclass

from windowtax.catalog.hardware_catalog import hardware
from windowtax.catalog.read import read_model
from windowtax.price.xray.priors import chips
from windowtax.price.xray.shape import PriceShape
from windowtax.spec.dtypes import cache_dtype

MACS_PER_BYTE = 300.0
"""The article's C / BW. It fits an H100 in FP8 when C counts multiply-adds: 1,979e12 / 2 / 3.35e12 = 295."""
ARTICLE_ACTIVE_PARAMETERS = 100e9
GQA_8_128_FP8_BYTES = 2048


@dataclass(frozen=True, kw_only=True)
class ArticleInference:
    """What the article would say of a threshold. cache_bytes: its b, in B per token."""

    threshold_tokens: int
    active_parameters: float
    cache_bytes: float

    @property
    def layers(self) -> float:
        """Full layers of eight KV heads of 128 in FP8 that keep that much."""
        return self.cache_bytes / GQA_8_128_FP8_BYTES


def article_inference(
    threshold_tokens: int, active_parameters: float = ARTICLE_ACTIVE_PARAMETERS, macs_per_byte: float = MACS_PER_BYTE
) -> ArticleInference:
    """b = N_active / L / (C / BW), C in multiply-adds per second."""
    return ArticleInference(
        threshold_tokens=threshold_tokens,
        active_parameters=active_parameters,
        cache_bytes=active_parameters / threshold_tokens / macs_per_byte,
    )


def corrected_inference(
    threshold_tokens: int, active_parameters: float, flops_per_s: float, read_bytes_per_s: float
) -> float:
    """With two FLOPs per parameter and a chip's own peak rates: b = 2 N_active / L x BW / C, in B per token."""
    return 2 * active_parameters / threshold_tokens * read_bytes_per_s / flops_per_s


EXAMPLE = "llama-3.1-70b"
"""The model that objections take their figures from: the one that the article counts the cache of."""


def objections(article: ArticleInference) -> tuple[str, ...]:
    """Why the inference is weak, with figures for its own threshold and size."""
    tokens, spec = article.threshold_tokens, read_model(EXAMPLE)
    values = [
        corrected_inference(tokens, article.active_parameters, chip.flops_per_s[bits], chip.read_bytes_per_s)
        for chip in chips()
        for bits in (16, 8)
    ]
    attention, matrices = spec.attention_flops(tokens - 1, 1), spec.layer_flops_per_token + spec.head_flops_per_token
    held = sequences_held(tokens)
    return (
        "price is not cost: thresholds and steps are constants of a seller's portfolio",
        "300 is the ratio of one chip in one precision: with two FLOPs per parameter, other chips and dtypes give "
        f"{min(values):,.0f} to {max(values):,.0f} B for the same step",
        f"{article.active_parameters / 1e9:g} billion active parameters is a guess unless the seller says so, and the "
        "answer is proportional to it",
        f"decode attention is left out: {spec.name} does {attention / 1e12:.2f} TFLOP of it per token at {tokens:,} "
        f"tokens, beside {matrices / 1e12:.2f} TFLOP of matrices",
        "a batch so large that weights do not count does not fit: eight H100 hold "
        f"{held} sequences of {tokens:,} tokens of {spec.name} in FP8, where 295 would be needed",
        "only layers that see the whole context grow: few effective layers means few full layers, not one shared layer",
    )


def sequences_held(tokens: int) -> int:
    """Sequences of so many tokens that eight H100 hold of EXAMPLE, weights and cache in 8 bits."""
    spec, h100 = read_model(EXAMPLE), hardware("h100-sxm")
    room = h100.node_size * h100.usable_bytes - spec.total_parameters
    return int(room / spec.layout(cache_dtype("fp8")).bytes_for(tokens))


@dataclass(frozen=True, kw_only=True)
class ArticleReading:
    """What article 5 (sections III and IV) reads off one price, and what is to be said to it."""

    price: str
    says: str
    judged: str


def article_readings(shape: PriceShape) -> tuple[ArticleReading, ...]:
    """Its readings of the tier, of output over input, and of the cache discount, where the list has such prices."""
    found: list[ArticleReading] = []
    if not shape.tiers:
        found.append(
            ArticleReading(
                price="no length tier",
                says="long contexts do not matter to the seller, or the cache is so small that the kink never comes",
                judged="also true where the window is short, long requests are rare enough to average, or by policy: "
                "Claude Opus 4.6 lost its tier overnight with the same weights",
            )
        )
    if shape.output_ratio is not None:
        found.append(_ratio_reading(shape.output_ratio))
    if shape.read_discount is not None:
        found.append(_discount_reading(shape.read_discount))
    return tuple(found)


def _ratio_reading(ratio: float) -> ArticleReading:
    waiting = max(0.0, 1 - 1 / ratio)
    what = "prefill-heavy work" if ratio < 2 else "much optimised decoding" if ratio > 10 else "ordinary decoding"
    return ArticleReading(
        price=f"output {ratio:.3g} x input",
        says=f"{what}; memory time is {ratio:.3g} times compute time: decoding waits {100 * waiting:.0f} % of its time",
        judged="the arithmetic holds if prices are costs. Margin, reasoning tokens, speculation and prefix caching "
        "move the ratio as much, and one number fixes a curve of batch against context, not a point (below)",
    )


def _discount_reading(discount: float) -> ArticleReading:
    where = "pinned in HBM" if discount <= 10 else "pushed down to DDR or flash"
    return ArticleReading(
        price=f"cached input {discount:.3g} times cheaper",
        says=f"prefixes are {where}",
        judged="physics points the other way: loading must be that much faster than computing, so a large discount is "
        "evidence of a small cache or a fast tier. Vertex keeps prefixes in memory and in a durable tier at one "
        "discount, Anthropic sells 5 minutes and 1 hour at one read price",
    )
