"""`windowtax plan --open` and `--html FILE`: from the words of the command line to the page. Loads it only then."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windowtax.base.errors import BadInput, UnknownName
from windowtax.catalog.hardware_catalog import hardware, hardware_names
from windowtax.catalog.machine import THIS_MACHINE
from windowtax.catalog.read import catalog_entry
from windowtax.cli.console import messages
from windowtax.plan.page.form import Form, Start
from windowtax.plan.plan import PlanOptions
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import Workload

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


def first_form(model: str, workload: Workload, device: str, options: PlanOptions, usd_per_hour: float | None) -> Form:
    """The form that the page begins with: what the command line asks. Raises UnknownName for a device there is not."""
    return Form(
        model=_catalog_name(model),
        context=workload.context_tokens,
        users=workload.users,
        output_tokens=workload.output_tokens,
        cached_tokens=workload.cached_tokens,
        hardware=hardware(device).name,
        gpus=options.accelerators,
        cache_dtype=options.cache_dtype,
        weights=options.weights,
        chunk=options.chunk_tokens,
        usd_per_hour=usd_per_hour,
    )


def other_words(**options: str | bool | None) -> tuple[str, ...]:
    """Options that the form has no field for, as typed: rope="yarn:4" is --rope yarn:4, drafts=True is --drafts."""
    words: list[str] = []
    for name, text in options.items():
        if text is not None:
            words.append(f"--{name.replace('_', '-')}")
            words += [text] if isinstance(text, str) else []
    return tuple(words)


def answer(
    words: PageWords,
    form: Form,
    options: PlanOptions,
    read_spec: Callable[[str], ModelSpec],
    device: Callable[[str, float | None], Hardware],
    extra: tuple[str, ...] = (),
) -> None:
    """Writes the report, then shows the page, whichever was asked for. Raises what reading and planning raise.

    read_spec, device: as `windowtax plan` reads them. extra: words of the command line that the form has no field for.
    """
    from windowtax.plan.page.controls import model_choices
    from windowtax.plan.page.planner import Planner

    planner = Planner(
        Start(
            form=form,
            options=options,
            read_spec=read_spec,
            device=device,
            models=model_choices(form.model),
            devices=_devices(),
            extra=extra,
        )
    )
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
