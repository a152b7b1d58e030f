"""Tables for a terminal of any width: columns that do not fit stand below, under their row names; nothing is cut."""

from collections.abc import Collection, Sequence

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

GAP = 2
_WORDS_WIDTH = 24
"""Columns of words wrap where they have at least so much room."""


def columns(
    console: Console,
    lines: Sequence[Sequence[str]],
    *,
    right: Collection[int] | None = None,
    names: int = 1,
    indent: int = 0,
) -> Group:
    """Aligned columns; the first line names them.

    right: columns of figures, all but the first `names` unless given; the others are words and may wrap. names: leading
    columns that say what a row is; they are repeated where the others are dealt out to several tables. indent: blanks
    before each line.
    """
    figures = range(names, len(lines[0])) if right is None else right
    widths = [max(map(len, column)) + GAP for column in zip(*lines, strict=True)]
    for index in set(range(names, len(widths))) - set(figures):
        widths[index] = min(widths[index], _WORDS_WIDTH + GAP)
    parts = _parts(widths, names, console.width - indent + GAP)
    fixed = {*range(names), *figures}
    tables = [_table([[line[index] for index in part] for line in lines], part, figures, fixed) for part in parts]
    spaced = [piece for one in tables for piece in (Text(""), one)][1:]
    return Group(*(Padding(piece, (0, 0, 0, indent)) for piece in spaced))


def _parts(widths: Sequence[int], names: int, room: int) -> list[list[int]]:
    """Column indices of each table: the names, and as many others as there is room for."""
    head = list(range(names))
    parts: list[list[int]] = [[*head]]
    for index in range(names, len(widths)):
        if len(parts[-1]) > names and sum(widths[one] for one in (*parts[-1], index)) > room:
            parts.append([*head])
        parts[-1].append(index)
    return parts


def _table(
    lines: Sequence[Sequence[str]], part: Sequence[int], figures: Collection[int], fixed: Collection[int]
) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for index, name in zip(part, lines[0], strict=True):
        side = "right" if index in figures else "left"
        table.add_column(Text(name, style="dim"), justify=side, no_wrap=index in fixed)
    for line in lines[1:]:
        table.add_row(*(Text(cell) for cell in line))
    return table
