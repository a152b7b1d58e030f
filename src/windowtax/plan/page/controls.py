"""The form as HTML: a slider beside each number, lists of names. Where the sliders stand is worked out here."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from windowtax.base.units import KIB, MIB, format_usd
from windowtax.catalog.read import catalog_entry, model_names
from windowtax.plan.page.form import Form, Start, short_tokens
from windowtax.plan.schemes import CHECKPOINT, SCHEMES
from windowtax.spec.dtypes import CACHE_DTYPES
from windowtax.spec.hardware import Hardware


def _halves(first: int, last: int) -> list[int]:
    """Powers of two and what lies midway between them: 4, 6, 8, 12, 16 ..."""
    found: list[int] = []
    step = first
    while step <= last:
        found += [step, step * 3 // 2] if step > 1 else [step]
        step *= 2
    return [step for step in found if step <= last]


STEPS: dict[str, list[int | float]] = {
    "context": [*_halves(KIB, 4 * MIB)],
    "users": [*_halves(1, 1024)],
    "output_tokens": [*_halves(16, 64 * KIB)],
    "cached_tokens": [0, *_halves(KIB, 2 * MIB)],
    "usd_per_hour": [quarter / 4 for quarter in range(1, 49)],
}
"""Where each slider can stand. The text field beside it takes any value."""
_GPUS = (1, 2, 4, 8, 16, 32, 64)


def positions(form: Form, hardware: Hardware) -> dict[str, int]:
    """On which of its steps each slider stands for this form: the first that is not below the value."""
    price = form.usd_per_hour if form.usd_per_hour is not None else hardware_price(hardware)
    values = {name: getattr(form, name) for name in STEPS} | {"usd_per_hour": price or 0.0}
    return {name: min(bisect_left(steps, values[name]), len(steps) - 1) for name, steps in STEPS.items()}


def hardware_price(hardware: Hardware) -> float | None:
    """USD per hour of one accelerator, as the catalog has it or the form says it."""
    return hardware.usd_per_hour.value if hardware.usd_per_hour is not None else None


def price_hint(catalog: Hardware) -> str:
    """What the empty price field stands for. catalog: the device at the catalog's price."""
    price = hardware_price(catalog)
    return "no price known" if price is None else f"{format_usd(price)} (catalog)"


def controls_html(start: Start, form: Form, catalog: Hardware) -> str:
    """All controls, filled in. catalog: the chosen device at the catalog's price."""
    typed, stand = form.values(), positions(form, catalog)
    rows = [
        _choice("model", "Model", start.models, form.model),
        _slider("context", "Context", "tokens", typed, stand),
        _slider("users", "Users", "windows held at once", typed, stand),
        '<div class="pair">',
        _choice("cache_dtype", "Cache in", dict.fromkeys([*CACHE_DTYPES, form.cache_dtype], ""), form.cache_dtype),
        _choice("weights", "Weights in", dict.fromkeys([CHECKPOINT, *SCHEMES], ""), form.weights),
        "</div>",
        _choice("hardware", "Hardware", start.devices, form.hardware),
        _slider("usd_per_hour", "Price", "USD per accelerator and hour", typed, stand, price_hint(catalog)),
        _slider("output_tokens", "Output", "tokens of each call", typed, stand),
        _slider("cached_tokens", "Cached", "prompt tokens found again", typed, stand),
        '<div class="pair">',
        _gpus(form.gpus),
        _field("chunk", "Prefill chunk", typed["chunk"]),
        "</div>",
    ]
    return "\n".join(rows)


def model_choices(asked: str) -> dict[str, str]:
    """Name -> title of every model of the catalog, and the asked one first where it is a file."""
    names = {name: catalog_entry(name).title for name in model_names()}
    return names if asked in names else {asked: asked, **names}


def steps_json() -> dict[str, list[str]]:
    """Each slider's steps as a person types them."""
    return {
        name: [short_tokens(int(step)) if name.endswith(("context", "tokens")) else f"{step:g}" for step in steps]
        for name, steps in STEPS.items()
    }


def _slider(
    name: str, label: str, unit: str, typed: Mapping[str, str], stand: Mapping[str, int], hint: str = ""
) -> str:
    last = len(STEPS[name]) - 1
    return f"""<div class="control"><label for="f-{name}">{label} <small>{unit}</small></label>
<input id="f-{name}" name="{name}" value="{escape(typed[name])}" placeholder="{escape(hint)}" autocomplete="off"
 inputmode="text" spellcheck="false">
<input type="range" data-for="{name}" min="0" max="{last}" value="{stand[name]}" aria-label="{label}"></div>"""


def _field(name: str, label: str, value: str) -> str:
    return f"""<div class="control choice"><label for="f-{name}">{label}</label>
<input id="f-{name}" name="{name}" value="{escape(value)}" autocomplete="off" spellcheck="false"></div>"""


def _choice(name: str, label: str, options: Mapping[str, str], chosen: str) -> str:
    items = "".join(
        f'<option value="{escape(value)}"{_selected(value == chosen)}>{escape(title or value)}</option>'
        for value, title in options.items()
    )
    return f"""<div class="control choice"><label for="f-{name}">{label}</label>
<select id="f-{name}" name="{name}">{items}</select></div>"""


def _gpus(chosen: int | None) -> str:
    counts: Sequence[Any] = sorted({*_GPUS, *([chosen] if chosen is not None else [])})
    options = {"": "fewest", **{str(count): f"{count:,}" for count in counts}}
    return _choice("gpus", "Accelerators", options, "" if chosen is None else str(chosen))


def _selected(yes: bool) -> str:
    return " selected" if yes else ""
