"""Tables at any width: nothing is cut, whatever the terminal leaves."""

import io
import re

import pytest
from rich.console import Console

from windowtax.cli.columns import columns

LINES = [
    ("", "prompt tokens", "per call", "per session", "what it moves"),
    ("long context, no cache", "4,000,000", "$1.0000", "$20.00", "L: becomes a constant; what lies between is lost"),
    ("retrieval", "80,000", "$0.0200", "$0.4000", "prompt tokens computed"),
]


def printed(width: int, **options) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    console.print(columns(console, LINES, **options))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [46, 60, 80, 100, 140])
@pytest.mark.parametrize("indent", [0, 2])
def test_no_figure_is_cut_and_every_row_keeps_its_name(width, indent):
    lines = printed(width, right=(1, 2, 3), indent=indent)
    text = "\n".join(lines)
    assert "…" not in text and max(map(len, lines)) <= width
    for row in LINES:
        for cell in row[:4]:
            assert cell in text
        assert set(re.findall(r"\w+", row[4])) <= set(re.findall(r"\w+", text))
    tables = 1 + lines.count("")
    assert text.count("long context, no cache") == tables
    assert (tables == 1) is (width > 80)


def test_figures_stand_under_each_other():
    first, second = printed(140)[1:3]
    assert first.index("$20.00") + len("$20.00") == second.index("$0.4000") + len("$0.4000")


def test_figures_only():
    assert printed(140, right=range(5), names=1)[2].startswith(" ")
