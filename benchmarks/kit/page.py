"""A README with measured tables: what is measured stands between two markers, everything else is written by hand."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def put(readme: Path, text: str) -> None:
    """Puts `text` between the README's markers. Raises ValueError where it has none."""
    page = readme.read_text(encoding="utf-8")
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} has no markers {BEGIN} and {END}.")
    readme.write_text(f"{head}{BEGIN}\n\n{text.strip()}\n\n{END}{tail}", encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column on the left, numbers on the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figure(value: float | None) -> str:
    """Three digits or more, as they can be read; nothing where nothing was measured."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def measured_on(runs: Sequence[dict[str, Any]]) -> str:
    """What the pieces saw of the machine before they began: rates of a gauge, and how busy others kept it."""
    days = sorted({one["date"] for one in runs})
    text = f"{' to '.join(dict.fromkeys(days[:1] + days[-1:]))}; {len(runs)} pieces"
    for key, unit, scale in (("read_bytes_per_s", "GB/s read", 1e9), ("bf16_flops_per_s", "TFLOP/s in bf16", 1e12)):
        rates = sorted(one["gauge"][key] / scale for one in runs if one["gauge"])
        if rates:
            text += f"; gauge {statistics.median(rates):.1f} {unit} ({rates[0]:.1f} to {rates[-1]:.1f})"
    if runs:
        most = max(one["others_percent"] for one in runs)
        text += f"; before a piece others used at most {most:.0f}% of the processors"
    return text
