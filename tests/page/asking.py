"""A page to ask, for the tests here: as `windowtax plan --open` makes it, without the command line."""

from datetime import date

from windowtax.catalog.hardware_catalog import hardware, hardware_names
from windowtax.catalog.read import read_model
from windowtax.plan.page.controls import model_choices
from windowtax.plan.page.form import Form, Start
from windowtax.plan.page.planner import Planner
from windowtax.spec.hardware import Hardware


def device(name: str, usd_per_hour: float | None) -> Hardware:
    found = hardware(name)
    return found if usd_per_hour is None else found.priced(usd_per_hour, date(2026, 11, 22).isoformat())


def start(**fields: object) -> Start:
    form = Form(**{"model": "llama-3.1-70b", "users": 4, **fields})  # pyright: ignore[reportArgumentType]
    names = {name: name for name in hardware_names() if name != "this-machine"}
    return Start(
        form=form,
        read_spec=read_model,
        device=device,
        models=model_choices(form.model),
        devices=names,
    )


def planner(**fields: object) -> Planner:
    return Planner(start(**fields))
