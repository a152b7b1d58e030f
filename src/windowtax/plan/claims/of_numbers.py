"""Formulas over stated inputs and published figures: the arithmetic that a text asks for, and nothing hidden in it."""

import math
import tomllib
from functools import cache
from pathlib import Path

from windowtax.base.errors import UnknownName
from windowtax.base.sourced import Basis, Sourced
from windowtax.catalog.read import read_model
from windowtax.plan.claims.formula import formula
from windowtax.spec.rope.base import Rope

_FILE = Path(__file__).with_name("published.toml")


@cache
def published_figures() -> dict[str, Sourced]:
    """Figures that others published, by name, each with unit, source and the day it was checked."""
    entries = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {
        name: Sourced(
            value=float(entry["value"]),
            unit=entry["unit"],
            basis=Basis(entry.get("basis", "measured")),
            source=entry["source"],
            date=entry["date"],
        )
        for name, entry in entries.items()
    }


def published_figure(name: str) -> Sourced:
    """One of them. Raises UnknownName."""
    if name not in published_figures():
        raise UnknownName(f"There is no published figure called {name!r} in {_FILE.name}.")
    return published_figures()[name]


@formula("", "a published figure, as its source prints it", Basis.MEASURED)
def published(figure: str) -> float:
    found = published_figure(figure)
    return found.value / 100 if found.unit == "%" else found.value


@formula("tokens", "a published count of tokens", Basis.MEASURED)
def published_tokens(figure: str) -> float:
    return published_figure(figure).value


@formula("USD/h", "a published rent", Basis.DATASHEET)
def published_rent(figure: str) -> float:
    return published_figure(figure).value


@formula("USD", "published device hours times a stated rent")
def hours_times_rent(figure: str, usd_per_hour: float) -> float:
    return published_figure(figure).value * usd_per_hour


@formula("USD", "tokens times a stated price per million")
def tokens_at(tokens: float, usd_per_mtok: float) -> float:
    return tokens * usd_per_mtok / 1e6


@formula("", "one published figure over another")
def published_ratio(figure: str, other: str) -> float:
    return published_figure(figure).value / published_figure(other).value


@formula("", "the product of the numbers that the text gives")
def product(a: float, b: float, c: float = 1, d: float = 1, e: float = 1, f: float = 1) -> float:
    return a * b * c * d * e * f


@formula("", "the sum of the numbers that the text gives")
def total(a: float, b: float, c: float = 0, d: float = 0) -> float:
    return a + b + c + d


@formula("tokens", "the sum of two counts of tokens")
def count(a: float, b: float) -> float:
    return a + b


@formula("tokens", "devices times tokens of each")
def count_product(a: float, b: float) -> float:
    return a * b


@formula("", "words over words per page")
def pages(words: float, words_per_page: float) -> float:
    return words / words_per_page


@formula("", "a / b")
def quotient(a: float, b: float) -> float:
    return a / b


@formula("", "1 - a / b")
def one_minus(a: float, b: float = 1) -> float:
    return 1 - a / b


@formula("", "orders of magnitude between the widest and the leanest cache growth")
def orders_between(model: str, other: str) -> float:
    from windowtax.plan.claims.of_cache import growth_ratio

    return math.log10(growth_ratio(model, other))


@formula("", "n x n: entries of the score matrix of one head")
def score_entries(tokens: float) -> float:
    return tokens * tokens


@formula("B", "n x n x bytes: the score matrix of one head of one layer")
def score_bytes(tokens: float, bytes_each: float = 2) -> float:
    return tokens * tokens * bytes_each


@formula("B", "query, key, value and output of one head: 4 x tokens x head dim x bytes")
def flash_bytes(tokens: float, head_dim: float, bytes_each: float = 2) -> float:
    return 4 * tokens * head_dim * bytes_each


@formula("", "the same at so many times the tokens, over it")
def flash_growth(tokens: float, times: float, head_dim: float) -> float:
    return flash_bytes(tokens * times, head_dim) / flash_bytes(tokens, head_dim)


@formula("tokens", "the window that a model's config claims: max_context_tokens")
def context_claimed(model: str) -> float:
    return read_model(model).max_context_tokens


@formula("", "one number of a model's config, read through its ModelSpec")
def config_number(model: str, key: str) -> float:
    spec = read_model(model)
    if key == "layers":
        return len(spec.layers)
    if key in ("total_parameters", "active_parameters", "hidden_size", "vocab_size"):
        return float(getattr(spec, key))
    first = spec.layers[0].attention
    return float(getattr(first, key))


@formula("", "the factor by which RoPE's positions are stretched, from the model's config")
def rope_factor(model: str) -> float:
    rope: Rope | None = getattr(read_model(model).layers[0].attention, "rope", None)
    return 1.0 if rope is None else float(getattr(rope.scaling, "factor", 1))


@formula("tokens", "layers x window: how far information can travel through stacked windows, in theory")
def stacked_window(model: str) -> float:
    return sum(layer.attention.context_read(2**40) for layer in read_model(model).layers)


@formula("tokens", "tokens of two-step retrieval: previews of all matches, and some full records")
def two_step_tokens(matches: float, preview_tokens: float, record_tokens: float, full_records: float) -> float:
    return matches * preview_tokens + full_records * record_tokens


@formula("tokens", "steps x (all matches in full - two-step retrieval)")
def two_step_saving(
    steps: float, matches: float, preview_tokens: float, record_tokens: float, full_records: float
) -> float:
    fetched = two_step_tokens(matches, preview_tokens, record_tokens, full_records)
    return steps * (matches * record_tokens - fetched)


@formula("", "work per kept token when k tokens are drafted: (k + 1) / expected tokens per check, each accepted with a")
def speculative_work(drafted: float, accepted: float) -> float:
    """Leviathan et al. 2023 (arXiv 2211.17192), section 3.1: a check keeps (1 - a^(k+1)) / (1 - a) tokens."""
    return (drafted + 1) * (1 - accepted) / (1 - accepted ** (drafted + 1))


@formula("", "how the rows that one layer reads grow with the context: the exponent p of L^p, between two contexts")
def read_exponent(pattern: str, short: float, long: float) -> float:
    """pattern: "strided", which reads 2 sqrt(L) (Child et al. 2019, arXiv 1904.10509), or a model, whose first layer is
    asked for context_read (of a sparse layer its selection, not the index)."""
    if pattern == "strided":
        rows = [2 * math.sqrt(tokens) for tokens in (short, long)]
    else:
        first = read_model(pattern).layers[0].attention
        rows = [float(first.context_read(int(tokens))) for tokens in (short, long)]
    return math.log(rows[1] / rows[0]) / math.log(long / short)
