"""Whole documents: the live page and the report, one file each, with style and script from static/."""

import json
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from windowtax.base.errors import WindowtaxError
from windowtax.plan.page.controls import controls_html, hints, positions, steps_json
from windowtax.plan.page.form import Form
from windowtax.plan.page.fragments import figures_html, plots_html, tables_html
from windowtax.plan.page.planner import Planner
from windowtax.plan.page.plots import Plot, plots
from windowtax.plan.page.view import look, look_around

REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""What a browser may load for a report: what stands in it, and nothing from anywhere."""


@cache
def asset(name: str) -> str:
    """The text of a file in static/."""
    return files("windowtax.plan.page").joinpath("static", name).read_text(encoding="utf-8")


def figures_json(planner: Planner, form: Form) -> dict[str, Any]:
    """What the live page fetches at each change: the plan itself, and the HTML that shows it. Raises as look does."""
    view, catalog = look(planner, form), planner.start.device(form.hardware, None)
    return {
        "plan": view.data,
        "command": view.command,
        "title": view.title,
        "positions": positions(view),
        "hints": hints(view, catalog),
        "figures": figures_html(view),
        "tables": tables_html(view),
    }


def plots_json(planner: Planner, form: Form) -> dict[str, Any]:
    """What the live page fetches once the sliders rest: the plots and their table. Raises as look does."""
    around = look_around(planner, form)
    return {"plots": plots_html(plots(around), around)}


def live_page(planner: Planner, form: Form, framed: bool = False) -> str:
    """The page with its controls; its figures are there at once, its plots follow. Raises as look does.

    framed: it stands inside another page, which has the header.
    """
    view = look(planner, form)
    catalog = planner.start.device(form.hardware, None)
    return _fill(
        title=view.title,
        head='<link rel="stylesheet" href="page.css"><script src="tips.js" defer></script>'
        '<script src="page.js" defer></script>',
        kind="live framed" if framed else "live",
        controls=f"""<form id="form" class="controls" autocomplete="off"><details open><summary>The question</summary>
{controls_html(planner.start, view, catalog)}</details></form>""",
        alert='<div id="alert" class="alert" role="alert" hidden></div>',
        figures=figures_html(view),
        plots='<p class="waiting">Drawing …</p>',
        tables=tables_html(view),
        command=escape(view.command),
        foot='<a id="save" class="button" href="report.html" download="windowtax.html">Save this view as one file</a>',
        data=f'<script type="application/json" id="steps">{json.dumps(steps_json())}</script>',
    )


def error_page(error: WindowtaxError) -> str:
    """What a browser shows that was sent here with words that make no question."""
    return _fill(
        title="windowtax",
        head='<link rel="stylesheet" href="page.css">',
        kind="report",
        controls="",
        alert=f'<div class="alert" role="alert"><b>{escape(error.message)}</b> {escape(error.hint)}</div>',
        figures='<p><a class="button" href="./">Begin again</a></p>',
        plots="",
        tables="",
        command="",
        foot="",
        data="",
    )


def report(planner: Planner, form: Form) -> str:
    """One self-contained file: the view, its plots and tables. It asks nothing of any network. Raises as look does."""
    view, around = look(planner, form), look_around(planner, form)
    made = f"Written by windowtax on {datetime.now(tz=UTC).date().isoformat()}. It needs no network to be read."
    return _fill(
        title=view.title,
        head=f"""<meta http-equiv="Content-Security-Policy" content="{REPORT_POLICY}">
<style>{asset("page.css")}</style>""",
        kind="report",
        controls="",
        alert="",
        figures=figures_html(view),
        plots=plots_html(plots(around), around, Plot.svg),
        tables=tables_html(view),
        command=escape(view.command),
        foot=f"<p>{made}</p>",
        data=f"<script>{asset('tips.js')}</script>",
    )


def _fill(**parts: str) -> str:
    """The one template, with every part given. Parts are HTML, except the title, which is text."""
    parts["title"] = escape(parts["title"])
    return Template(asset("page.html")).substitute(parts)
