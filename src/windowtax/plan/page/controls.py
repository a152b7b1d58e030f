"""The form as HTML: a slider beside each number, lists of names. Where the sliders stand is worked out here."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from windowtax.base.units import KIB, MIB, format_usd
from windowtax.catalog.read import catalog_entry, model_names
from windowtax.plan.api_side import DEFAULT_UTILISATION
from windowtax.plan.axes import short_tokens
from windowtax.plan.page.form import YES, Form, Start, short_number
from windowtax.plan.page.view import View
from windowtax.plan.schemes import CHECKPOINT, SCHEMES
from windowtax.price.lists import price_list_names
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
    "calls": [step * 10**power for power in range(2, 9) for step in (1, 2, 5)],
    "utilisation": [twentieth / 20 for twentieth in range(1, 21)],
}
"""Where each slider can stand. The text field beside it takes any value."""
WORDS: dict[str, tuple[str, ...]] = {
    "rope": ("yarn:2", "yarn:4", "yarn:8", "linear:2", "linear:4", "ntk:4", "dynamic:4"),
    "attention": ("full=sinks:4+window:4096", "full=window:32768", "full=topk:64+block:16"),
    "parallel": ("tp=1", "tp=2", "tp=4", "tp=8", "tp=8,pp=2", "tp=8,dp=2", "tp=8,ring=2", "tp=8,ep=8"),
    "slo_ttft": ("500ms", "1s", "2s", "5s", "10s", "30s"),
    "slo_tpot": ("10ms", "20ms", "30ms", "50ms", "100ms", "200ms"),
    "chunk": ("512", "1K", "2K", "4K", "8K", "16K"),
}
"""Proposals for the fields of words."""
_GPUS = (1, 2, 4, 8, 16, 32, 64)


def positions(view: View) -> dict[str, int]:
    """On which of its steps each slider stands for this view: the first that is not below the value."""
    form, price, api = view.form, view.plan.hardware.usd_per_hour, view.api
    values = {name: getattr(form, name) for name in STEPS}
    values["usd_per_hour"] = price.value if price else 0.0
    values["calls"] = api.calls_per_month or 0.0 if api else form.calls or 0.0
    values["utilisation"] = api.traffic.utilisation if api else DEFAULT_UTILISATION
    return {name: min(bisect_left(steps, values[name]), len(steps) - 1) for name, steps in STEPS.items()}


def hints(view: View, catalog: Hardware) -> dict[str, str]:
    """What each empty field stands for. catalog: the chosen device at the catalog's price."""
    price, api = catalog.usd_per_hour, view.api
    asked = api.calls_per_month if api else None
    return {
        "usd_per_hour": "no price known" if price is None else f"{format_usd(price.value)} (catalog)",
        "calls": "" if asked is None else f"{asked:,.0f}",
        "utilisation": f"{DEFAULT_UTILISATION:g}" if api else "",
    }


def controls_html(start: Start, view: View, catalog: Hardware) -> str:
    """All controls, filled in, in groups. catalog: the chosen device at the catalog's price."""
    form = view.form
    typed, stand, empty = form.values(), positions(view), hints(view, catalog)
    dtypes = dict.fromkeys([CHECKPOINT, *CACHE_DTYPES, form.cache_dtype], "")

    def slider(name: str, label: str, unit: str) -> str:
        return _slider(name, label, unit, typed[name], stand[name], empty.get(name, ""))

    def words(name: str, label: str, hint: str) -> str:
        return _field(name, label, typed[name], hint, WORDS.get(name, ()))

    parts = {
        "": [
            _choice("model", "Model", start.models, form.model),
            slider("context", "Context", "tokens"),
            slider("users", "Users", "windows held at once"),
            slider("output_tokens", "Output", "tokens of each call"),
            slider("cached_tokens", "Cached", "prompt tokens found again"),
        ],
        "How it is held": [
            _pair(
                _choice("cache_dtype", "Cache in", dtypes, form.cache_dtype),
                _choice("weights", "Weights in", dict.fromkeys([CHECKPOINT, *SCHEMES], ""), form.weights),
            ),
            _pair(words("rope", "RoPE scaling", "as it is"), _drafts(form)),
            words("attention", "Attention lever", "none: as the model has it"),
        ],
        "On what": [
            _choice("hardware", "Hardware", start.devices, form.hardware),
            slider("usd_per_hour", "Price", "USD per hour of one"),
            _pair(_gpus(form.gpus), words("parallel", "or arranged", "as it fits")),
            words("chunk", "Prefill chunk, tokens", ""),
        ],
        "Promised to users, as means or p90:2s": [
            _pair(words("slo_ttft", "First token in", "no promise"), words("slo_tpot", "Each token in", "no promise")),
        ],
        "The same calls at an API": [
            _field("api", "Price list", typed["api"], "none: provider/model", list_id="prices"),
            slider("calls", "Calls", "a month, of all users"),
            slider("utilisation", "Busy", "share of the month"),
        ],
    }
    return "\n".join(
        "".join(rows) if not title else f"<fieldset><legend>{title}</legend>{''.join(rows)}</fieldset>"
        for title, rows in parts.items()
    )


def prices_html() -> str:
    """The price lists to choose from, as options."""
    return "".join(f'<option value="{escape(name)}"></option>' for name in price_list_names())


def model_choices(asked: str) -> dict[str, str]:
    """Name -> title of every model of the catalog, and the asked one first where it is a file."""
    names = {name: catalog_entry(name).title for name in model_names()}
    return names if asked in names else {asked: asked, **names}


def steps_json() -> dict[str, list[str]]:
    """Each slider's steps as a person types them."""
    return {
        name: [
            short_tokens(int(step)) if name.endswith(("context", "tokens")) else short_number(float(step))
            for step in steps
        ]
        for name, steps in STEPS.items()
    }


def _slider(name: str, label: str, unit: str, typed: str, stands: int, hint: str) -> str:
    last = len(STEPS[name]) - 1
    return f"""<div class="control"><label for="f-{name}">{label} <small>{unit}</small></label>
<input id="f-{name}" name="{name}" value="{escape(typed)}" placeholder="{escape(hint)}" autocomplete="off"
 inputmode="text" spellcheck="false">
<input type="range" data-for="{name}" min="0" max="{last}" value="{stands}" aria-label="{label}, {unit}"
 aria-valuetext="{escape(typed or hint)}"></div>"""


def _field(
    name: str, label: str, value: str, hint: str = "", proposals: Sequence[str] = (), list_id: str | None = None
) -> str:
    """A field of words with proposals: any words may be typed, and the planner says what is wrong with them."""
    known = "".join(f'<option value="{escape(text)}"></option>' for text in proposals)
    offered = list_id or f"l-{name}"
    return f"""<div class="control choice"><label for="f-{name}">{label}</label>
<input id="f-{name}" name="{name}" value="{escape(value)}" placeholder="{escape(hint)}" list="{offered}"
 autocomplete="off" autocapitalize="off" spellcheck="false"><datalist id="{offered}">{known}</datalist></div>"""


def _pair(first: str, second: str) -> str:
    return f'<div class="pair">{first}{second}</div>'


def _drafts(form: Form) -> str:
    return _choice("drafts", "Draft layers", {"": "off", YES: "on"}, YES if form.drafts else "")


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
