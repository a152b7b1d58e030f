"""`windowtax plan`, `compare`, `sweep`: words to a plan, a plan to text, JSON or CSV."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from windowtax.base.errors import BadInput
from windowtax.base.units import parse_tokens
from windowtax.cli import page, plan_text
from windowtax.cli.console import console
from windowtax.cli.plan_words import AsCsv, AsJson, Model, Models, Question, SweepQuestion, asks
from windowtax.plan.contract import plan_json, plan_row
from windowtax.plan.plan import Plan, make_plan
from windowtax.plan.schemes import chosen_cache_dtype
from windowtax.plan.sweep import at_context, parse_contexts
from windowtax.plan.sweep import sweep as make_sweep
from windowtax.spec.model import ModelSpec

if TYPE_CHECKING:
    from windowtax.plan.api_side import ApiSide

ReconcileLog = Annotated[
    str | None,
    typer.Option(metavar="LOG", help="Compare cache bytes with a log of vLLM, SGLang or llama.cpp; - reads stdin."),
]
Engines = Annotated[bool, typer.Option("--engines", help="Cache bytes of one window as each engine allocates them.")]
Api = Annotated[str | None, typer.Option(metavar="PROVIDER/MODEL", help="The same calls at this API's prices, beside.")]
Calls = Annotated[float | None, typer.Option(help="With --api: calls a month. Default: what these users ask.")]
Utilisation = Annotated[float | None, typer.Option(help="With --api: busy share of own hardware. Default: 0.5.")]
Explain = Annotated[bool, typer.Option("--explain", help="Print the derivation: formulas, numbers, sources.")]


@asks(Question)
def plan(
    model: Model,
    *,
    question: Question,
    explain: Explain = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    open_page: page.OpenPage = False,
    html: page.HtmlFile = None,
    no_browser: page.NoBrowser = False,
    port: page.Port = 0,
    api: Api = None,
    calls: Calls = None,
    utilisation: Utilisation = None,
    reconcile: ReconcileLog = None,
    engines: Engines = False,
) -> None:
    """What a context window costs: bytes, accelerators, seconds, dollars."""
    if reconcile is not None or engines:
        if reconcile is not None and engines:
            raise BadInput("--reconcile and --engines print different tables.", "Give one of them.")
        _print_readings(question.spec(model), reconcile, question, as_json)
        return
    _one_output(as_json=as_json, as_csv=as_csv, explain=explain)
    words = page.PageWords(open_page=open_page, html=html, no_browser=no_browser, port=port)
    if words.wanted(printed=as_json or as_csv or explain):
        page.answer(words, page.first_form(model, question, api, calls, utilisation))
        return
    made = make_plan(question.spec(model), question.device(), question.workload(), question.options())
    side = _api_side(made, api, calls, utilisation)
    if as_json:
        _print_json(plan_json(made, side))
    elif as_csv:
        _print_csv([plan_row(made, side)])
    elif explain:
        plan_text.print_derivation(console(), made, side)
    else:
        plan_text.print_plan(console(), made, side)


@asks(Question)
def compare(models: Models, *, question: Question, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """The same window on several models, side by side."""
    _one_output(as_json=as_json, as_csv=as_csv)
    workload, options, device = question.workload(), question.options(), question.device()
    made = [make_plan(question.spec(name), device, workload, options) for name in models]
    if as_json:
        _print_json([plan_json(one) for one in made])
    elif as_csv:
        _print_csv([plan_row(one) for one in made])
    else:
        plan_text.print_comparison(console(), made)


@asks(SweepQuestion)
def sweep(
    model: Model,
    *,
    question: SweepQuestion,
    out: Annotated[Path | None, typer.Option(help="Draw it: a .svg, .png or .html file.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Bytes, seconds and dollars against the window, as a chart."""
    _one_output(as_json=as_json, as_csv=as_csv)
    contexts = parse_contexts(question.context)
    workload = at_context(question.workload(contexts[-1]), contexts[-1])
    made = make_sweep(question.spec(model), question.device(), workload, contexts, question.options())
    if out is not None:
        from windowtax.plan.chart import write_chart

        write_chart(made, out)
    if as_json:
        _print_json([plan_json(one) for one in made])
    elif as_csv:
        _print_csv([plan_row(one) for one in made])
    else:
        plan_text.print_sweep(console(), made)
        if out is not None:
            typer.echo(f"Drawn into {out}")


def _one_output(**asked: bool) -> None:
    """Raises BadInput where more than one kind of output is asked for."""
    names = [f"--{name.removeprefix('as_')}" for name, wanted in asked.items() if wanted]
    if len(names) > 1:
        raise BadInput(f"{' and '.join(names)} are different outputs.", "Give one of them.")


def _print_readings(spec: ModelSpec, log: str | None, question: Question, as_json: bool) -> None:
    """Cache bytes beside a log; without one, in every engine."""
    from windowtax.cli.reconcile import run_engines, run_reconcile

    dtype, gpus = chosen_cache_dtype(question.cache_dtype, spec), question.gpus
    if log is None:
        run_engines(console(), spec, dtype, gpus or 1, parse_tokens(question.context), as_json=as_json)
    else:
        run_reconcile(console(), spec, log, dtype, gpus, as_json=as_json)


def _api_side(made: Plan, api: str | None, calls: float | None, utilisation: float | None) -> "ApiSide | None":
    """The same calls at an API, where one is named. Raises BadInput, UnknownName."""
    if api is None and calls is None and utilisation is None:
        return None
    from windowtax.plan.api_side import api_side, api_traffic

    traffic = api_traffic(api, calls, utilisation)
    return api_side(made, traffic) if traffic else None


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


def _print_csv(rows: "list[dict[str, str | int | float | bool]]") -> None:
    # Rates are listed per element type, so plans can have different columns.
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    typer.echo(text.getvalue(), nl=False)
