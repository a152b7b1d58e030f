"""The page and the report in Debian's Chromium: what a person sees, and that no network is asked.

Needs `apt-get install chromium` and `pip install playwright` (no browser download); skipped without them.
"""

import json
import shutil
import threading
from collections.abc import Iterator

import pytest

from tests.page.asking import planner
from windowtax.base.errors import WindowtaxError
from windowtax.cli.page_server import make_server
from windowtax.plan.contract import plan_json
from windowtax.plan.page.controls import STEPS
from windowtax.plan.page.document import report
from windowtax.plan.page.form import NAMES
from windowtax.plan.page.view import at

CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="apt-get install chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with make_server(planner()) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class Seen:
    """A page, with everything that it asked for and complained about."""

    def __init__(self, browser, **options):
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def figures(self) -> dict[str, object]:
        marks = self.page.locator("data[data-path]")
        found = marks.evaluate_all("all => all.map(one => [one.dataset.path, one.getAttribute('value')])")
        return {path: json.loads(text) if text else None for path, text in found}


@pytest.fixture
def seen(browser):
    opened: list[Seen] = []

    def open_one(**options) -> Seen:
        opened.append(Seen(browser, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.context.close()


def expected(**typed: str) -> dict[str, object]:
    asked = planner()
    form = asked.start.read(typed)
    plan = asked.plan(form)
    return json.loads(json.dumps(plan_json(plan, asked.api(form, plan))))


def _set(page, name: str, text: str) -> None:
    control = page.locator(f"[name={name}]")
    control.fill(text) if control.evaluate("one => one.tagName") == "INPUT" else control.select_option(text)


def test_sliders_by_keyboard_bring_pythons_figures(seen, address):
    one = seen()
    page = one.page
    page.goto(address)
    page.locator("#plot-rate svg").wait_for()
    page.locator("input[data-for=context]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.locator("input[data-for=users]").focus()
    page.keyboard.press("ArrowRight")
    page.select_option("select[name=cache_dtype]", "int8")
    page.locator("h2", has_text="262,144 (256K) tokens of context, 6 users").wait_for()
    page.locator("#tables h3", has_text="(int8)").first.wait_for()
    data = expected(context="256K", users="6", cache_dtype="int8")
    shown = one.figures()
    assert shown == {path: at(data, path) for path in shown} and len(shown) == 9
    assert page.input_value("input[name=context]") == "256K"
    assert "--context 256K" in page.locator("#command").inner_text()
    assert "context=256K" in page.url
    assert all(url.startswith(address) for url in one.asked)
    assert one.complaints == []


def test_a_wrong_word_is_answered_on_the_page_and_taken_back(seen, address):
    one = seen()
    one.page.goto(address)
    one.page.locator("#plot-rate svg").wait_for()
    one.page.fill("input[name=users]", "many")
    alert = one.page.locator("#alert")
    alert.wait_for()
    assert "'many' is not a number of users" in alert.inner_text()
    one.page.fill("input[name=users]", "2")
    one.page.locator("h2", has_text="2 users").wait_for()
    assert alert.is_hidden()
    assert one.figures()["fit.most_users"] == at(expected(users="2"), "fit.most_users")


def test_an_api_by_keyboard_brings_pythons_figures(seen, address):
    one = seen()
    page = one.page
    page.goto(address)
    page.locator("#plot-rate svg").wait_for()
    page.locator("input[name=api]").focus()
    page.wait_for_function("() => document.getElementById('prices').children.length > 500")
    assert page.locator("#prices option[value='anthropic/claude-opus-5']").count() == 1
    page.keyboard.type("anthropic/claude-opus-5")
    page.locator(".tile", has_text="A month at the API").wait_for()
    page.fill("input[name=calls]", "50,000")
    page.locator("input[data-for=utilisation]").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".rows", has_text="50,000").wait_for()
    page.locator("#plot-month svg").wait_for()
    page.wait_for_function("() => document.querySelector('#command').textContent.includes('--utilisation 0.55')")
    data = expected(api="anthropic/claude-opus-5", calls="50000", utilisation="0.55")
    shown = one.figures()
    assert len(shown) == 12 and shown == {path: at(data, path) for path in shown}
    assert page.locator("#plot-usd .keys i").count() == 3
    typed = [text for text in one.complaints if "400" not in text]
    assert typed == [], "half a name is refused on the way, and nothing else happens"


def test_every_control_is_reached_by_keyboard(seen, address):
    one = seen()
    one.page.goto(address)
    reached: set[str] = set()
    for _ in range(60):
        one.page.keyboard.press("Tab")
        reached.add(
            one.page.evaluate("(e => e.dataset.for ? `slider ${e.dataset.for}` : e.name)(document.activeElement)")
        )
    assert set(NAMES) | {f"slider {name}" for name in STEPS} <= reached


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        ({"model": "qwen3-8b", "context": "128K", "rope": "yarn:4"}, "--rope yarn:4"),
        ({"attention": "full=sinks:4+window:4096"}, "--attention full=sinks:4+window:4096"),
        ({"parallel": "tp=4,dp=2"}, "--parallel tp=4,dp=2"),
        ({"slo_ttft": "60s", "slo_tpot": "150ms"}, "--slo-ttft 60s --slo-tpot 150ms"),
    ],
)
def test_levers_arrangements_and_promises(seen, address, typed, command):
    one = seen()
    one.page.goto(address)
    one.page.locator("#plot-rate svg").wait_for()
    for name, text in typed.items():
        _set(one.page, name, text)
    one.page.wait_for_function("words => document.querySelector('#command').textContent.includes(words)", arg=command)
    data, shown = expected(**typed), one.figures()
    assert shown == {path: at(data, path) for path in shown} and len(shown) == 9


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"rope": "yarn"}, "is not a RoPE scaling"),
        ({"attention": "window:9"}, "is no attention lever"),
        ({"parallel": "tp=3"}, "cannot be split over 3 ranks"),
        ({"gpus": "8", "parallel": "tp=8"}, "both say how many accelerators"),
        ({"drafts": "yes"}, "cannot draft"),
        ({"slo_tpot": "soon"}, "'soon' is not a time"),
        ({"api": "anthropic/claude-opus-55"}, "Did you mean"),
    ],
)
def test_what_does_not_go_together_is_said_in_the_planners_words(seen, address, typed, says):
    one = seen()
    one.page.goto(address)
    one.page.locator("#plot-rate svg").wait_for()
    for name, text in typed.items():
        _set(one.page, name, text)
    one.page.locator("#alert", has_text=says).wait_for()
    with pytest.raises(WindowtaxError) as refused:
        expected(**typed)
    alert = one.page.locator("#alert").inner_text()
    assert refused.value.message in alert and refused.value.hint in alert


def test_pointing_at_a_point_tells_its_numbers(seen, address):
    one = seen()
    one.page.goto(address)
    one.page.locator("#plot-ttft path[aria-roledescription=point]").first.hover(force=True)
    tip = one.page.locator(".tip")
    tip.wait_for()
    assert "4,096 (4K) tokens, 2 accelerators" in tip.inner_text()


def test_a_phone_shows_it_without_scrolling_sideways(seen, address):
    one = seen(viewport={"width": 390, "height": 844})
    one.page.goto(address)
    one.page.locator("#plot-rate svg").wait_for()
    assert one.page.evaluate("document.documentElement.scrollWidth") == 390
    assert one.page.locator("input[name=context]").is_hidden()
    one.page.locator(".controls summary").click()
    one.page.fill("input[name=api]", "anthropic/claude-opus-5")
    one.page.locator("#plot-month svg").wait_for()
    assert one.page.evaluate("document.documentElement.scrollWidth") == 390
    wide = "all => all.filter(one => one.getBoundingClientRect().right > 391).map(one => one.outerHTML)"
    assert one.page.locator(".controls *, .tile *, .rows *, figure *:not(svg *)").evaluate_all(wide) == []


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_colours_follow_the_system(seen, address, scheme, dark):
    one = seen(color_scheme=scheme)
    one.page.goto(address)
    one.page.locator("#plot-ttft svg").wait_for()
    paper = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    label = one.page.locator("#plot-ttft svg text").first.evaluate("one => getComputedStyle(one).fill")

    def light(colour: str) -> float:
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 3

    assert (light(paper) < 64) is dark and (light(label) > 128) is dark


def test_the_report_needs_no_network(seen, tmp_path):
    asked = planner()
    path = tmp_path / "report.html"
    path.write_text(report(asked, asked.start.form), encoding="utf-8")
    one = seen(offline=True)
    one.page.goto(path.as_uri())
    data = expected()
    shown = one.figures()
    assert shown == {name: at(data, name) for name in shown} and len(shown) == 9
    boxes = one.page.locator("figure svg").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
    assert len(boxes) == 8 and min(boxes) > 150
    one.page.locator("#plot-memory path[aria-roledescription=bar]").first.hover()
    assert "weights" in one.page.locator(".tip").inner_text()
    assert [url for url in one.asked if not url.startswith(("file:", "data:"))] == []
    assert one.complaints == []
