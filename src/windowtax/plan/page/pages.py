"""What stands at which path of the planner's page: used by `windowtax plan --open` and by `windowtax serve`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl

from windowtax.base.errors import BadInput, WindowtaxError
from windowtax.plan.page.controls import prices_html
from windowtax.plan.page.document import REPORT_POLICY, asset, error_page, figures_json, live_page, plots_json, report
from windowtax.plan.page.form import Form
from windowtax.plan.page.planner import Planner

_LONGEST_QUERY = 4096
_ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "tips.js": "text/javascript"}
_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors {framers}"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. policy: what the browser may load for it; nothing from anywhere else."""

    status: HTTPStatus
    media: str
    text: str
    policy: str = "default-src 'none'"

    @property
    def headers(self) -> dict[str, str]:
        """All headers but the length."""
        return {
            "Content-Type": f"{self.media}; charset=utf-8",
            "Cache-Control": "no-store",
            "Content-Security-Policy": self.policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }


class Pages:
    """Answers by path and query. framers: which pages may show these in a frame, in the words of the policy."""

    def __init__(self, planner: Planner, framers: str = "'none'") -> None:
        self._planner = planner
        self._policy = _POLICY.format(framers=framers)
        self._made: dict[str, tuple[str, Callable[[Form], str]]] = {
            "": ("text/html", lambda form: live_page(planner, form)),
            "framed": ("text/html", lambda form: live_page(planner, form, framed=True)),
            "report.html": ("text/html", lambda form: report(planner, form)),
            "figures": ("application/json", lambda form: json.dumps(figures_json(planner, form))),
            "plots": ("application/json", lambda form: json.dumps(plots_json(planner, form))),
        }

    def answer(self, path: str, query: str) -> Answer:
        """The answer for a path without its slash. Words that make no question give status 400 and say why."""
        if path in _ASSETS:
            return self._whole(_ASSETS[path], asset(path))
        if path == "prices":
            return self._whole("text/html", prices_html())
        if path not in self._made:
            return Answer(HTTPStatus.NOT_FOUND, "text/plain", "There is nothing here.\n")
        media, make = self._made[path]
        try:
            text = make(self._form(query))
            return Answer(HTTPStatus.OK, media, text, REPORT_POLICY if path == "report.html" else self._policy)
        except WindowtaxError as error:
            said = {"message": error.message, "hint": error.hint}
            text = json.dumps(said) if media == "application/json" else error_page(error)
            return Answer(HTTPStatus.BAD_REQUEST, media, text, self._policy)

    def _whole(self, media: str, text: str) -> Answer:
        return Answer(HTTPStatus.OK, media, text, self._policy)

    def _form(self, query: str) -> Form:
        if len(query) > _LONGEST_QUERY:
            raise BadInput("The question is too long.")
        pairs = parse_qsl(query, keep_blank_values=True)
        typed = dict(pairs)
        if len(typed) < len(pairs):
            raise BadInput("A field is given twice.")
        return self._planner.start.read(typed)
