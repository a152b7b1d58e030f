"""How X-rays look in a terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from windowtax.base.units import format_seconds
from windowtax.cli.columns import columns
from windowtax.price.xray.analysis import TierReading, Verdict, XRay
from windowtax.price.xray.article import objections
from windowtax.price.xray.backtest import Backtest
from windowtax.price.xray.latency import LatencyTrial, LatencyXRay
from windowtax.price.xray.priors import Interval, priors
from windowtax.price.xray.report import (
    amount,
    architectures_line,
    bits_words,
    formula_table,
    interval_table,
    latency_table,
    layers_line,
    likelihood_words,
    published_line,
    score_table,
    sharing_line,
    span,
)
from windowtax.price.xray.shape import PriceShape


def print_xray(console: Console, found: XRay, reading: TierReading | None) -> None:
    """The list's shape, every hypothesis about one tier, article 5's inference, and what other prices allow."""
    _print_shape(console, found.shape)
    if reading is None:
        _block(console, "No tier", [
            "This list has no length tier, so no kink can be explained. That may mean a small cache, a short window, "
            "few long requests, or a policy: the absence fits all of them.",
        ])  # fmt: skip
    else:
        tokens = reading.findings.tier.threshold_tokens
        _heading(console, f"Rival explanations of the step at {tokens:,} tokens")
        lines = _summary(reading)
        console.print(columns(console, lines, right=range(2, len(lines[0])), names=2, indent=2))
        note = (
            "KV bytes per token: 5 %, 50 %, 95 % of what the stated priors allow (assumed). A likelihood is given only "
            "where the back-test supports one."
        )
        console.print(Padding(Text(note, style="dim"), (0, 0, 0, 2)))
        for verdict in reading.verdicts:
            _print_verdict(console, verdict)
        _print_article(console, reading)
    _print_readings(console, found)
    _print_bounds(console, found)
    if reading is not None:
        _print_priors(console, reading)


def print_backtest(console: Console, found: Backtest, trials: Sequence[LatencyTrial]) -> None:
    """The tool's own error, on prices and on latencies."""
    low, high = found.kink_errors
    _heading(console, "Open weights with a length tier: what the X-ray says, and what is true")
    console.print(columns(console, formula_table(found)))
    console.print()
    console.print(columns(console, interval_table(found)))
    _block(console, "", [
        "true: what a further token keeps, in FP8. article: article 5's formula and its 300. 2 FLOPs: the same with "
        "two FLOPs per parameter on an H100 in bf16. L_eq: where prefill attention costs as much as the matrices, over "
        "the threshold. H1 to H4: the truth is in the 5 to 95 % interval, or that is so many times too low or too "
        "high; H5: the threshold is a window or shared with other models of the seller.",
        f"The decode-KV kink (H1) fails: its formula is {low:.0f} to {high:.0f} times too low.",
    ])  # fmt: skip
    _heading(console, "Scores, on the first threshold of each model")
    console.print(columns(console, score_table(found)))
    _block(console, "", [
        f"bits: against knowing nothing but the smallest and the largest published cache. {len(found.rows)} rows of "
        f"{found.sellers} makers: models of one maker are not independent, so these are weak witnesses. H5 is right "
        "where the threshold is a window or shared, which is easily so; H2 and H5 do not exclude each other.",
    ])  # fmt: skip
    _heading(console, "Latency instead of price: published ITL slopes")
    console.print(columns(console, latency_table(trials)))
    _block(console, "", [
        "found: at the share that this chip reaches on a cache, which was fitted to these slopes, so errors say how "
        "well one constant serves them all. The interval comes from a prior that does not know them.",
    ])  # fmt: skip


def print_latency(console: Console, found: LatencyXRay) -> None:
    """What a line of ITL against context says."""
    line, device = found.line, found.hardware
    console.print(Text(f"ITL against context on {found.accelerators} x {device.title}", style="bold"))
    rows = [
        ("", "value", "", ""),
        ("slope", f"{line.slope * 1e9:,.3f} ns/token", f"95 %: {line.low_slope * 1e9:,.3f} to "
         f"{line.high_slope * 1e9:,.3f}, {line.points} points, Theil-Sen", "measured"),
        ("intercept", format_seconds(line.intercept), f"largest residual {format_seconds(line.spread)}", "measured"),
        ("KV bytes per token", amount(found.cache_bytes.median or 0.0), _edges(found.cache_bytes), "derived"),
        ("weights read per step", amount(found.weight_bytes.median or 0.0), _edges(found.weight_bytes), "derived"),
    ]  # fmt: skip
    console.print(_told(rows))
    efficiency, rate = device.bandwidth_efficiency, device.read_bytes_per_s
    _block(console, "", [
        f"b = slope x {efficiency.value:g} x {rate.value / 1e12:g} TB/s x {found.accelerators} / batch {found.batch}; "
        f"bandwidth: {rate.source} ({rate.basis}); efficiency: {efficiency.source} ({efficiency.basis}). Edges: "
        f"efficiency "
        f"{priors()['slope_efficiency'].span}; step constant {priors()['step_constant_s'].span} s (assumed).",
        *found.warnings,
    ])  # fmt: skip
    _heading(console, "What keeps so much")
    _block(console, "", [
        f"layers that see the whole context: {layers_line(found.cache_bytes)}",
        sharing_line(found.cache_bytes),
        f"published: {published_line(found.cache_bytes) or 'none of the catalog'}",
    ])  # fmt: skip


def _edges(interval: Interval) -> str:
    return f"5 to 95 %: {amount(interval.low)} to {amount(interval.high)}"


def _print_shape(console: Console, shape: PriceShape) -> None:
    console.print(Text(f"{shape.provider}/{shape.model}", style="bold"))
    output = "no output price" if shape.output_usd_per_mtok is None else (
        f"output ${shape.output_usd_per_mtok:g} ({shape.output_ratio:.3g} x input)"
    )  # fmt: skip
    read = "cached input not priced" if shape.cache_read_usd_per_mtok is None else (
        f"cached input ${shape.cache_read_usd_per_mtok:g} ({shape.read_discount:.3g} times cheaper)"
    )  # fmt: skip
    lines = [f"per million tokens: input ${shape.input_usd_per_mtok:g}, {output}, {read}"]
    for tier in shape.tiers:
        above = "" if tier.output_step is None else f", output x{tier.output_step:.3g} (${tier.output_usd_per_mtok:g})"
        lines.append(
            f"above {tier.threshold_tokens:,} prompt tokens: input x{tier.input_step:.3g} "
            f"(${tier.input_usd_per_mtok:g}){above}, on the whole request"
        )
    if shape.storage_usd_per_mtok_hour is not None:
        lines.append(f"storage of a cache: ${shape.storage_usd_per_mtok_hour:g} per million tokens and hour")
    lines.append(f"{shape.source}{f', checked {shape.date}' if shape.date else ''}")
    _block(console, "", lines)


def _summary(reading: TierReading) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("", "hypothesis", "5 %", "50 %", "95 %", "back-test", "bits", "likelihood")]
    for verdict in reading.verdicts:
        low, median, high = span(verdict.interval)
        score = verdict.score
        rows.append((
            verdict.hypothesis.name, verdict.hypothesis.title, low, median, high, f"{score.inside} of {score.cases}",
            bits_words(score), likelihood_words(score),
        ))  # fmt: skip
    return rows


def _print_verdict(console: Console, verdict: Verdict) -> None:
    hypothesis = verdict.hypothesis
    _heading(console, f"{hypothesis.name} {hypothesis.title}")
    low, median, high = span(verdict.interval)
    interval = (
        "no machine of the priors could do it" if verdict.interval is None else f"{low} to {high}, median {median}"
    )
    if hypothesis.only_bounds and verdict.interval is not None:
        interval = f"at most {high}; nothing else follows for the cache"
    lines = [("claim", hypothesis.claim), ("formula", hypothesis.formula), ("KV bytes per token", interval)]
    if verdict.fits:
        lines.append(("layers inside", architectures_line(verdict.fits)))
        lines.append(("published inside", _short(verdict)))
    if verdict.interval is not None and not hypothesis.only_bounds:
        lines.append(("hybrid or shared", sharing_line(verdict.interval)))
    lines += [("for", text) for text in verdict.speaks_for] or [("for", "nothing on this list")]
    lines += [("against", text) for text in verdict.speaks_against] or [("against", "nothing on this list")]
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 1), expand=True)
    table.add_column(width=18, no_wrap=True, style="dim")
    table.add_column(ratio=1)
    before = ""
    for label, text in lines:
        table.add_row(Text("" if label == before else label), Text(text))
        before = label
    console.print(table)


def _short(verdict: Verdict, most: int = 6) -> str:
    names = [f"{one.model} {one.dtype} {one.growth_bytes:,} B" for one in verdict.published]
    if not names:
        return "no model of the catalog"
    step = max(1, len(names) // most)
    shown = names[::step][:most]
    return "; ".join(shown) + (f"; {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def _print_article(console: Console, reading: TierReading) -> None:
    article = reading.article
    score = reading.verdicts[0].score
    _block(console, "Article 5's inference", [
        f"b = N_active / L / 300 = {article.active_parameters / 1e9:g} billion / {article.threshold_tokens:,} / 300 = "
        f"{article.cache_bytes:,.0f} B, or {article.layers:.2f} layers of 8 x 128 in FP8, read as one cache shared "
        "by all layers. The arithmetic holds; the inference does not:",
        *(f"- {text}" for text in objections(article)),
        f"- on open weights it found the cache in {score.inside} of {score.cases} cases (windowtax xray --backtest)",
    ])  # fmt: skip


def _print_readings(console: Console, found: XRay) -> None:
    """What article 5 reads off each price of this list, and what is to be said to that."""
    for index, reading in enumerate(found.article_readings):
        if not index:
            _heading(console, "What article 5 would read off the other prices")
        console.print(Padding(Text(f"{reading.price}: {reading.says}"), (0, 0, 0, 2)))
        console.print(Padding(Text(f"judged: {reading.judged}"), (0, 0, 0, 4)))


def _print_bounds(console: Console, found: XRay) -> None:
    lines: list[str] = []
    for bound in found.bounds:
        low, median, high = span(bound.limit)
        limit = high if low == high else f"{median} ({low} to {high})"
        lines.append(f"{bound.name}: b <= {limit}. {bound.why}")
    if found.output is not None:
        out = found.output
        lines.append(
            f"output {out.ratio:.3g} x input: {amount(out.read_bytes)} read per output token, if prices were costs and "
            f"{out.active_parameters / 1e9:g} billion parameters ran in FP8 on {out.chip}: a batch of "
            f"{out.smallest_batch:.0f} with no cache, or any larger one with a cache of up to {amount(out.read_bytes)} "
            "for the whole context. A curve, not a point"
        )
    if lines:
        _block(console, "What the other prices allow (upper bounds, derived)", lines)


def _print_priors(console: Console, reading: TierReading) -> None:
    asked = dict.fromkeys(name for verdict in reading.verdicts for name in verdict.hypothesis.asks)
    lines = [f"{name}: {priors()[name].span} {priors()[name].unit}" for name in asked]
    _block(console, "Stated priors (assumed; why and when: --json, catalog/xray/priors.toml)", [";  ".join(lines)])


def _heading(console: Console, title: str) -> None:
    console.print(Text(f"\n{title}", style="bold cyan"))


def _block(console: Console, title: str, lines: Iterable[str]) -> None:
    if title:
        _heading(console, title)
    for line in lines:
        console.print(Padding(Text(line), (0, 0, 0, 2)))


def _told(lines: Sequence[tuple[str, ...]]) -> Table:
    """Figures in the second column, words in the others, which wrap."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for index, name in enumerate(lines[0]):
        table.add_column(Text(name, style="dim"), justify="right" if index == 1 else "left")
    for line in lines[1:]:
        table.add_row(*(Text(cell) for cell in line))
    return table
