"""Formulas of article 5: what a price list would say about a machine if price were cost, and how far that is off."""

from windowtax.base.sourced import Basis, Sourced
from windowtax.catalog.hardware_catalog import hardware
from windowtax.plan.claims.formula import formula
from windowtax.plan.claims.of_cache import layout, shape
from windowtax.plan.claims.of_cache import model as read_model
from windowtax.plan.claims.of_time import ridge, weight_bytes
from windowtax.price.own_lists import MemoryTier
from windowtax.price.tiers import MTOK, Recompute, kept
from windowtax.price.xray.article import article_inference, corrected_inference
from windowtax.price.xray.backtest import known_models
from windowtax.price.xray.bounds import output_reading
from windowtax.price.xray.priors import chips

_FREE = Sourced(0.0, "USD/GB-h", Basis.ASSUMED, "what a tier costs does not bound a discount", "")


@formula("B", "the article's kink: b = N_active / L / 300, bytes read per context token: article_inference")
def kink_bytes(active: float, context: float) -> float:
    return article_inference(int(context), active).cache_bytes


@formula("B", "the kink with 2 FLOPs per parameter and a device's own peaks: corrected_inference")
def kink_bytes_on(active: float, context: float, device: str, element: str = "bf16") -> float:
    chip = hardware(device)
    return corrected_inference(int(context), active, chip.peak_flops_per_s[element].value, chip.read_bytes_per_s.value)


@formula("", "true bytes per token over the article's kink, for open weights sold with a tier (X-ray back-test)")
def kink_error(model: str, context: float) -> float:
    known = next(one for one in known_models() if one.title == model)
    return known.true_bytes / article_inference(int(context), known.active_parameters).cache_bytes


@formula("tokens", "where the article's kink would stand for a known model: L = N_active / b / 300, b in FP8")
def kink_context(model: str, dtype: str = "fp8") -> float:
    return read_model(model).active_parameters / float(layout(model, dtype).growth) / 300


@formula("", "layers that hold so many bytes per token: b / (2 x KV heads x head dim x bytes)")
def layers_in(bytes_per_token: float, kv_heads: float, head_dim: float, dtype: str = "fp8") -> float:
    return bytes_per_token / shape(1, kv_heads, head_dim, dtype).growth_bytes_per_token


@formula("", "attention FLOPs of one decoded token over those of its matrices")
def decode_attention_over_matrices(model: str, context: float) -> float:
    return read_model(model).attention_flops(int(context) - 1, 1) / read_model(model).layer_flops_per_token


@formula("", "sequences that fit: (usable memory of the devices - weights) / cache of one, rounded down")
def sequences_that_fit(
    model: str,
    context: float,
    device: str,
    devices: float,
    weights: str = "fp8",
    dtype: str = "fp8",
    memory_gb: float = 0,
) -> float:
    """memory_gb: of one device, in 10^9 B, where not what the catalog says."""
    chip = hardware(device)
    usable = memory_gb * 1e9 * chip.usable_memory.value or chip.usable_bytes
    return max(0, (usable * devices - weight_bytes(model, weights)) // layout(model, dtype).bytes_for(int(context)))


@formula("", "largest honest cache-read discount: Kept.most_discount of a million tokens in a tier of that speed")
def discount_limit(model: str, device: str, gb_per_s: float, dtype: str = "fp8", reached: float = 0.5) -> float:
    """A token is computed in 2 N_active FLOPs, in FP8 at that share of the peak; what the tier costs is not in it."""
    compute_s = 2 * read_model(model).active_parameters / (reached * hardware(device).peak_flops_per_s["fp8"].value)
    speed = Sourced(gb_per_s * 1e9, "B/s", Basis.ASSUMED, "given by the formula's caller", "")
    tier = MemoryTier(name="tier", title="a tier", usd_per_gb_hour=_FREE, read_bytes_per_s=speed, per_accelerator=True)
    return kept(layout(model, dtype), MTOK, tier, Recompute(seconds=compute_s * MTOK, usd_per_hour=0)).most_discount


@formula("", "batch at which output costs r times input if only weights are read, in FP8: OutputReading.smallest_batch")
def batch_of_ratio(ratio: float, total: float, device: str) -> float:
    """w N_total / B = r 2 N_active BW / C of a dense model, w one byte (price/xray/bounds.py: output_reading)."""
    chip = next(one for one in chips() if one.name == hardware(device).name)
    return output_reading(ratio, total, total, chip).smallest_batch


@formula("", "share of a decode step spent waiting where memory takes r times as long as computing: 1 - 1 / r")
def waiting_share(ratio: float) -> float:
    return 1 - 1 / ratio


@formula("", "C / BW of one device over that of another")
def ridge_ratio(device: str, other: str, element: str = "bf16", other_element: str = "bf16") -> float:
    return ridge(device, element) / ridge(other, other_element)
