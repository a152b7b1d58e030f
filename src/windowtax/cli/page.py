"""`windowtax plan --open` and `--html FILE`: from the words of the command line to the page. Loads it only then."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windowtax.base.errors import BadInput, UnknownName
from windowtax.catalog.hardware_catalog import hardware, hardware_names
from windowtax.catalog.machine import THIS_MACHINE
from windowtax.catalog.read import catalog_entry, read_model
from windowtax.cli.console import messages
from windowtax.cli.plan_words import Question, priced_device
from windowtax.plan.page.form import Form

if TYPE_CHECKING:
    from windowtax.plan.page.planner import Planner

OpenPage = Annotated[bool, typer.Option("--open", help="Look at it: a local page with sliders and plots.")]
HtmlFile = Annotated[Path | None, typer.Option("--html", help="Write it as one HTML file that needs no network.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="With --open: only say the address.")]
Port = Annotated[int, typer.Option(help="With --open: listen on this port. Default: one that is free.")]


@dataclass(frozen=True, kw_only=True)
class PageWords:
    """What the command line says about the page itself."""

    open_page: bool
    html: Path | None
    no_browser: bool
    port: int

    def wanted(self, printed: bool = False) -> bool:
        """Whether a page was asked for. printed: whether other output was. Raises BadInput where options clash."""
        if not self.open_page and (self.no_browser or self.port):
            raise BadInput("--no-browser and --port belong to --open, which is not there.")
        wanted = self.open_page or self.html is not None
        if wanted and printed:
            raise BadInput("A page and --json, --csv or --explain are two answers.", "Ask for one at a time.")
        return wanted


def first_form(model: str, question: Question, api: str | None, calls: float | None, utilisation: float | None) -> Form:
    """The form that the page begins with: what the command line asks. Raises BadInput, UnknownName."""
    workload = question.workload()
    return Form(
        model=_catalog_name(model),
        context=workload.context_tokens,
        users=workload.users,
        output_tokens=workload.output_tokens,
        cached_tokens=workload.cached_tokens,
        hardware=hardware(question.hardware).name,
        gpus=question.gpus,
        cache_dtype=question.cache_dtype,
        weights=question.weights,
        chunk=question.chunk,
        usd_per_hour=question.usd_per_hour,
        rope=question.rope,
        attention=question.attention,
        drafts=question.drafts,
        parallel=question.parallel,
        slo_ttft=question.slo_ttft,
        slo_tpot=question.slo_tpot,
        api=api,
        calls=calls,
        utilisation=utilisation,
    )


def answer(words: PageWords, form: Form) -> None:
    """Writes the report, then shows the page, whichever was asked for. Raises what reading and planning raise."""
    from windowtax.plan.page.controls import model_choices
    from windowtax.plan.page.form import Start
    from windowtax.plan.page.planner import Planner

    start = Start(
        form=form,
        read_spec=read_model,
        device=priced_device,
        models=model_choices(form.model),
        devices=_devices(),
    )
    planner = Planner(start)
    if words.html is not None:
        write_report(planner, words.html)
    if words.open_page:
        from windowtax.cli.page_server import show

        show(planner, words.port, browser=not words.no_browser)


def write_report(planner: "Planner", path: Path) -> None:
    """Writes the first form's view as one file. Raises BadInput where it cannot, and what planning raises."""
    from windowtax.plan.page.document import report

    text = report(planner, planner.start.form)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}.", "Name a file in a folder.") from None
    messages().print(f"Written to {path} ({len(text.encode()):,} bytes); it needs no network.", markup=False)


def _catalog_name(model: str) -> str:
    try:
        return catalog_entry(model).name
    except UnknownName:
        return model


def _devices() -> dict[str, str]:
    """Name -> title of every device; this machine only where it was measured."""
    found: dict[str, str] = {}
    for name in hardware_names():
        try:
            found[name] = hardware(name).title
        except BadInput:
            if name != THIS_MACHINE:
                raise
    return found
