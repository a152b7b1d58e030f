"""Pieces of HTML: the figures, the tables and the plots of a view. Everything that came from outside is escaped."""

import json
from collections.abc import Callable, Sequence
from html import escape

from windowtax.base.units import format_bytes
from windowtax.plan.page.plots import Plot
from windowtax.plan.page.view import Around, Figure, Share, View, contexts_table
from windowtax.plan.report import Section


def figures_html(view: View) -> str:
    """The headline, the tiles, the memory bar and what must be known: what changes with every slider."""
    warnings = "".join(f"<li>{escape(text)}</li>" for text in view.warnings)
    return f"""<h2 class="headline">{escape(view.title)}</h2>
{f'<ul class="warnings" role="status">{warnings}</ul>' if warnings else ""}
<dl class="tiles">{"".join(map(_tile, view.figures))}</dl>
<section aria-labelledby="bar-title">
<h3 id="bar-title">Memory of one of {view.plan.fit.deployment.accelerators:,}
<small>{escape(view.plan.hardware.title)}, {view.plan.fit.budget.memory_bytes:,} B</small></h3>
{_bar(view.memory)}
</section>"""


def tables_html(view: View) -> str:
    """The bytes table, every section of the terminal's report, and the derivation."""
    cache = (
        f"Bytes of the KV cache ({escape(view.plan.dtype.name)}) "
        f"<small>one window of {view.form.context:,} tokens; a row is a token, or several that are kept as one</small>"
    )
    parts = [
        f'<section class="wide"><h3>{cache}</h3>{_table(view.groups, text_columns=3, total=True)}</section>',
        '<div class="sections">',
        *(_section(section) for section in view.sections),
        "</div>",
    ]
    if len(view.choices) > 1:
        parts.append(
            '<section class="wide"><h3>Ranks per group <small>* is the one taken</small></h3>'
            f"{_table(view.choices, text_columns=0)}</section>"
        )
    steps = "".join(
        f"<li><p><b>{escape(step.name)}</b> = <span class='num'>{escape(step.result)}</span> {_basis(step.basis)}</p>"
        + "".join(f"<p class='formula'>= {escape(text)}</p>" for text in (step.formula, step.numbers) if text)
        + (f"<p class='source'>{escape(step.source)}</p>" if step.source else "")
        + "</li>"
        for step in view.steps
    )
    parts.append(
        "<details class='wide'><summary>Where each figure comes from: formulas, numbers, sources</summary>"
        f"<ol class='steps'>{steps}</ol></details>"
    )
    return "\n".join(parts)


def plots_html(drawn: Sequence[Plot], around: Around, svg: Callable[[Plot], str] = Plot.svg) -> str:
    """The pictures with their legends, and the table of the same numbers. svg: draws one."""
    figures = "".join(
        f"""<figure id="plot-{plot.name}"><figcaption><b>{escape(plot.title)}</b>
<span class="unit">{plot.unit} by {plot.against}</span>
<span class="keys">{"".join(f'<i style="--key: var(--{role})">{escape(name)}</i>' for name, role in plot.keys)}</span>
</figcaption>{svg(plot)}<p class="note">{escape(plot.note)}</p></figure>"""
        for plot in drawn
    )
    return f"""<div class="plots">{figures}</div>
<section class="wide"><h3>The same in numbers <small>each window on the fewest accelerators that hold it,
unless their number is given</small></h3>{_table(contexts_table(around), text_columns=0)}</section>"""


def _tile(figure: Figure) -> str:
    raw = "" if figure.value is None else json.dumps(figure.value)
    return (
        f'<div class="tile"><dt>{escape(figure.label)} {_basis(figure.basis)}</dt>'
        f'<dd><data class="num" data-path="{figure.path}" value="{raw}">{escape(figure.text)}</data>'
        f"<small>{escape(figure.note)}</small></dd></div>"
    )


def _basis(basis: str) -> str:
    return f'<abbr class="basis basis-{escape(basis)}">{escape(basis)}</abbr>' if basis else ""


def _bar(shares: Sequence[Share]) -> str:
    parts = "".join(
        f'<span class="part part-{share.role}" style="width:{share.of_bar:.4%}" title="{escape(_said(share))}"></span>'
        for share in shares
    )
    keys = "".join(
        f'<li class="key-{share.role}"><i></i>{escape(share.name)} <b class="num">{format_bytes(share.num_bytes)}</b>'
        f"<small>{share.num_bytes:,} B</small></li>"
        for share in shares
    )
    return f'<div class="bar" aria-hidden="true">{parts}</div><ul class="bar-keys">{keys}</ul>'


def _said(share: Share) -> str:
    return f"{share.name}: {format_bytes(share.num_bytes)}"


def _section(section: Section) -> str:
    rows = "".join(
        f"<div><dt>{escape(row.label)}</dt><dd class='num'>{escape(row.value)}</dd>"
        f"<dd class='remark'>{escape(row.note)}</dd><dd>{_basis(row.basis)}</dd></div>"
        for row in section.rows
    )
    return f"<section><h3>{escape(section.title)}</h3><dl class='rows'>{rows}</dl></section>"


def _table(lines: Sequence[tuple[str, ...]], text_columns: int, total: bool = False) -> str:
    """A table with headings. text_columns: so many leading columns are words, after a first column of counts."""
    head, *body = lines

    def cell(tag: str, index: int, text: str) -> str:
        kind = "" if 0 < index < text_columns else ' class="num"'
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    head_row = "".join(cell("th", index, text) for index, text in enumerate(head))
    rows = "".join(
        f"<tr{' class=total' if total and line is lines[-1] else ''}>"
        + "".join(cell("td", index, text) for index, text in enumerate(line))
        + "</tr>"
        for line in body
    )
    return (
        f"<div class='scroll' tabindex='0'><table class='figures'><thead><tr>{head_row}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )
