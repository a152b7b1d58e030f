"""The page in Debian's Chromium against a real server: what a person sees is what the server measured.

Needs `apt-get install chromium` and `pip install playwright` (no browser download); skipped without them.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page.test_browser import ARGUMENTS, CHROMIUM, Seen
from tests.server.harness import Running, serving, until
from tests.server_page.conftest import WINDOW
from windowtax.engine.load import LoadedModel
from windowtax.engine.prompt import build_prompt
from windowtax.engine.tier_options import TierOptions
from windowtax.server.keys import make_keyring

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="apt-get install chromium")

BOOK = "".join(f"Ferry {number} leaves at {number % 24}:15 with salt. " for number in range(30))
Open = Callable[..., Seen]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def seen(browser: Any) -> Iterator[Open]:
    """Opens pages; at the end, none of them may have complained, nor asked anybody but its server."""
    opened: list[tuple[Seen, str]] = []

    def open_one(server: Running, view: str = "", **options: Any) -> Seen:
        one = Seen(browser, **options)
        opened.append((one, server.url))
        one.page.goto(f"{server.url}/#{view}")
        return one

    yield open_one
    for one, url in opened:
        elsewhere = [asked for asked in one.asked if not asked.startswith((url, "data:", "blob:"))]
        one.context.close()
        assert elsewhere == []
        assert [text for text in one.complaints if "status of 4" not in text] == []


def ask(one: Seen, question: str, *, max_tokens: int = 20, files: dict[str, str] | None = None) -> None:
    """Asks and waits for the bill."""
    bills = one.page.locator("details.bill").count()
    begin(one, question, max_tokens=max_tokens, files=files)
    one.page.locator("details.bill").nth(bills).wait_for()


def begin(one: Seen, question: str, *, max_tokens: int, files: dict[str, str] | None = None) -> None:
    page = one.page
    if files:
        chosen = [{"name": name, "mimeType": "text/plain", "buffer": text.encode()} for name, text in files.items()]
        page.set_input_files("#pick", chosen)
        page.locator("#files .chip small", has_text="tokens").nth(len(files) - 1).wait_for()
    if not page.locator("#max-tokens").is_visible():
        page.locator("#options summary").click()
    page.fill("#max-tokens", str(max_tokens))
    page.fill("#question", question)
    page.press("#question", "Enter")


def billed(one: Seen, number: int = -1) -> dict[str, list[str]]:
    """The rows of a bill: value and remark by label."""
    rows = (
        one.page.locator("details.bill")
        .nth(number)
        .locator("tr")
        .evaluate_all("all => all.map(row => [...row.children].map(cell => cell.textContent))")
    )
    return {label: rest for label, *rest in rows}


def usages_of(one: Seen, act: Callable[[], None]) -> list[dict[str, Any]]:
    """The usage of every stream that the page reads meanwhile, as the server sent it."""
    streams: list[Any] = []
    one.page.on("request", lambda asked: streams.append(asked) if asked.url.endswith("/v1/chat/completions") else None)
    act()
    texts = [stream.response().text() for stream in streams]
    return [
        json.loads([line[6:] for line in text.split("\n") if line.startswith('data: {"')][-1])["usage"]
        for text in texts
    ]


def test_the_bill_under_an_answer_is_the_servers_and_the_second_question_finds_the_prefix(
    seen: Open, server: Running
) -> None:
    one = seen(server)

    def talk() -> None:
        ask(one, "When does ferry 7 leave?", files={"ferries.txt": BOOK})
        ask(one, "And ferry 9?")

    usages = usages_of(one, talk)
    assert len(usages) == 2
    first, second = billed(one, 0), billed(one, 1)
    prompt = build_prompt(server.served.tokenizer, [("ferries.txt", BOOK)], "When does ferry 7 leave?").token_ids
    assert first["Prompt"][0] == f"{len(prompt):,} tokens" and usages[0]["prompt_tokens"] == len(prompt)
    cached = usages[1]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= len(prompt) // 16 * 16 and second["Found in the cache"][0] == f"{cached:,} tokens"
    assert f"{cached:,} in the pool" in second["Found in the cache"][1]
    for rows, usage in zip((first, second), usages, strict=True):
        own = usage["windowtax"]
        assert rows["Answer"][0] == f"{usage['completion_tokens']:,} tokens"
        assert rows["KV cache at its peak"][1] == f"{own['kv_peak_bytes']:,} B"
        assert float(rows["Cost here"][0].removeprefix("$")) == pytest.approx(own["usd"], rel=0.01)
        assert float(rows[f"Cost at {own['api']}"][0].removeprefix("$")) == pytest.approx(own["usd_api"], rel=0.01)
    total = usages[1]["total_tokens"]
    assert f"{total:,} of the window's {WINDOW:,} tokens" in one.page.locator("#window small").inner_text()
    assert one.page.locator("details.bill[open]").count() == 1, "the newest is open, older ones are one line"


def test_a_long_prompt_shows_its_progress(seen: Open, server: Running) -> None:
    one = seen(server)
    one.page.evaluate(
        """() => { window.said = []; new MutationObserver(() => {
            const state = document.querySelector(".state"), bar = document.querySelector(".answer .bar");
            if (state && !state.hidden) window.said.push([state.textContent, bar.getAttribute("aria-valuenow")]);
        }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true }); }"""
    )
    ask(one, "Which ferry is the last?", files={"long.txt": "Once. " + BOOK}, max_tokens=2)
    told = [(text, int(now)) for text, now in one.page.evaluate("window.said") if now]
    values = [now for _, now in told]
    assert len(set(values)) > 5 and values == sorted(values), "the prompt is read in steps of 64 tokens"
    prompt = build_prompt(server.served.tokenizer, [("", "Once. " + BOOK)], "Which ferry is the last?").token_ids
    assert "tokens/s" in told[-1][0] and f"of {len(prompt):,} tokens" in told[-1][0]


def test_escape_stops_the_answer_and_frees_its_blocks(seen: Open, server: Running) -> None:
    one = seen(server)
    begin(one, "Talk for a long time.", max_tokens=3500)
    one.page.wait_for_function("() => document.querySelector('.text')?.textContent.length > 3")
    assert server.served.service.num_running == 1
    one.page.keyboard.press("Escape")
    one.page.locator(".note", has_text="Stopped after").wait_for()
    until(lambda: not server.served.service.num_running)
    one.page.locator("#send").wait_for()
    ask(one, "Go on, but briefly.")
    assert one.page.locator(".turn").count() == 2 and billed(one)["Found in the cache"][0] != "0 tokens"


def test_what_does_not_fit_is_said_with_ways_out_and_goes_back_into_the_form(seen: Open, server: Running) -> None:
    one = seen(server)
    begin(one, "Too long?", max_tokens=20, files={"big.txt": BOOK * 5})
    alert = one.page.locator(".turn .alert")
    alert.wait_for()
    assert f"window is {WINDOW:,} tokens" in alert.inner_text() and "list prices: $" in alert.inner_text()
    assert one.page.input_value("#question") == "Too long?" and one.page.locator("#files .chip").count() == 1
    one.page.get_by_label("Take big.txt out").click()
    ask(one, "Too long?")
    assert one.page.locator("#window .bar.over").count() == 0


def test_a_file_that_is_no_text_is_refused_in_its_chip(seen: Open, server: Running) -> None:
    one = seen(server)
    one.page.set_input_files("#pick", [{"name": "a.pdf", "mimeType": "x/y", "buffer": b"%PDF-1.7"}])
    one.page.locator(".chip.failed", has_text="pdftotext").wait_for()


def test_markdown_becomes_elements_and_markup_stays_text(seen: Open, server: Running) -> None:
    one = seen(server)
    text = (
        "# Head\n\nSome **bold**, *thin* and `code` 2*3*4 <img src=x onerror=alert(1)>\n\n- one\n- two\n\n"
        "3. three\n4. four\n\n```html\n<script>alert(1)</script>\n\nrest\n```\n\n> said"
    )
    html = """async (text) => { const { Markdown } = await import("/page/markdown.js");
        const place = document.createElement("div"), shown = new Markdown(place);
        for (let end = 1; end <= text.length; end += 1) shown.show(text.slice(0, end));
        return place.innerHTML; }"""
    made = one.page.evaluate(html, text)
    assert made == (
        "<h4>Head</h4><p>Some <strong>bold</strong>, <em>thin</em> and <code>code</code> 2*3*4 "
        "&lt;img src=x onerror=alert(1)&gt;</p><ul><li>one</li><li>two</li></ul>"
        '<ol start="3"><li>three</li><li>four</li></ol>'
        '<pre tabindex="0"><code>&lt;script&gt;alert(1)&lt;/script&gt;\n\nrest</code></pre>'
        "<blockquote>said</blockquote>"
    )


def test_the_block_map_shows_who_shares_what(seen: Open, model: LoadedModel) -> None:
    with serving(model, window=WINDOW, windows=3) as server:
        first, second = seen(server), seen(server)
        ask(first, "Begin.", files={"ferries.txt": BOOK}, max_tokens=2)
        begin(first, "Go on for a long time.", max_tokens=2000)
        begin(second, "Another long story, please.", max_tokens=2000, files={"ferries.txt": BOOK})
        until(lambda: server.served.service.num_running == 2)
        first.page.keyboard.press("Alt+Digit2")
        shared = first.page.locator("#prefixes tr[data-owner]").first
        shared.wait_for()
        first.page.wait_for_function(
            "() => [...document.querySelectorAll('#prefixes tr[data-owner] :nth-child(5)')]"
            ".some(cell => cell.textContent === '2')"
        )
        cells = shared.evaluate("row => [...row.children].map(cell => cell.textContent)")
        assert "Ferry 0 leaves at" in cells[0] and int(cells[2].replace(",", "")) >= len(BOOK) // 16 * 16
        assert first.page.locator("#sequences tr[data-owner]").count() == 2
        assert first.page.locator("canvas").count() == len(server.engine.cache.pools)
        shared.hover()
        assert first.page.locator("tr.marked").count() == 1
        for one in (first, second):
            one.page.keyboard.press("Alt+Digit1")
            one.page.keyboard.press("Escape")
        until(lambda: not server.served.service.num_running)


def test_pointing_at_a_square_tells_whose_it_is(seen: Open, server: Running) -> None:
    one = seen(server)
    ask(one, "Something to keep: blue boats in the bay.")
    server.wait_idle()
    one.page.keyboard.press("Alt+Digit2")
    one.page.locator("#prefixes tr[data-owner]").first.wait_for()
    one.page.locator("canvas").hover(position={"x": 8, "y": 8})
    tip = one.page.locator("#groups .note").inner_text()
    assert tip.startswith("Block 0: ") and "found again" in tip


def test_the_gauges_are_those_of_metrics(seen: Open, server: Running) -> None:
    one = seen(server)
    ask(one, "Count me.")
    server.wait_idle()
    one.page.keyboard.press("Alt+Digit3")
    one.page.locator(".tile", has_text="Found in the cache").wait_for()
    lines = server.client.get("/metrics").text.splitlines()
    value = {
        line.split("{")[0]: float(line.split()[-1])
        for line in lines
        if line.startswith("windowtax:") and "le=" not in line
    }
    tiles = dict(
        one.page.locator("#gauges .tile").evaluate_all(
            "all => all.map(one => [one.querySelector('dt').textContent, one.querySelector('dd').innerText])"
        )
    )
    hits, asked = value["windowtax:prefix_cache_hits_total"], value["windowtax:prefix_cache_queries_total"]
    assert f"{hits:,.0f} of {asked:,.0f} prompt tokens" in tiles["Found in the cache"]
    assert f"{value['windowtax:generation_tokens_total']:,.0f} in ended requests" in tiles["Tokens out"]
    assert tiles["Running"].startswith("0") and tiles["Waiting"].startswith("0")
    counted = value["windowtax:time_to_first_token_seconds_count"]
    assert asked and counted and "median" in tiles["First token (TTFT)"]


def test_quantiles_are_prometheus_own(seen: Open, server: Running) -> None:
    """As histogram_quantile is documented: linear inside a bucket; of the last one, where it begins."""
    one = seen(server)
    code = """async ([buckets, count, share]) => (await import("/page/prometheus.js")).quantile(
        { buckets: buckets.map(([le, total]) => [le ?? Infinity, total]), count }, share)"""
    buckets = [[0.1, 2], [0.5, 6], [1, 10], [None, 12]]
    assert one.page.evaluate(code, [buckets, 12, 0.5]) == pytest.approx(0.5)
    assert one.page.evaluate(code, [buckets, 12, 0.25]) == pytest.approx(0.2)
    assert one.page.evaluate(code, [buckets, 12, 0.99]) == 1
    assert one.page.evaluate(code, [buckets, 0, 0.5]) is None


def test_the_planner_is_in_its_frame(seen: Open, server: Running) -> None:
    one = seen(server, "plan")
    frame = one.page.frame_locator("iframe")
    frame.locator("#plot-rate svg").wait_for()
    frame.locator("h2", has_text="131,072 (128K) tokens of context").wait_for()
    assert frame.locator("header").is_hidden()
    assert server.served.planner is not None and frame.locator("data[data-path]").count() == 9


def test_a_key_is_asked_for_once_and_sent(seen: Open, model: LoadedModel) -> None:
    with serving(model, keyring=make_keyring(["secret"])) as server:
        one = seen(server)
        one.page.fill("#key", "wrong")
        one.page.keyboard.press("Enter")
        one.page.wait_for_function(
            "() => document.querySelector('dialog').open && !document.querySelector('#key').value"
        )
        one.page.fill("#key", "secret")
        one.page.keyboard.press("Enter")
        one.page.locator("#model", has_text="tiny").wait_for()
        ask(one, "Hello", max_tokens=3)
        one.page.keyboard.press("Alt+Digit4")
        one.page.locator("#plan-view .alert", has_text="without keys").wait_for()


def test_all_of_it_is_reached_by_keyboard(seen: Open, server: Running) -> None:
    one = seen(server)
    ask(one, "Hello", max_tokens=3)
    reached: set[str] = set()
    one.page.evaluate("document.activeElement.blur()")
    for _ in range(16):
        one.page.keyboard.press("Tab")
        reached.add(
            one.page.evaluate(
                "(e => e.id || e.getAttribute('href') || e.parentElement.className)(document.activeElement)"
            )
        )
    assert {"#question", "#chat", "#blocks", "#metrics", "#plan", "question", "pick", "anew", "send", "bill"} <= reached
    for number, view in enumerate(("chat", "blocks", "metrics", "plan"), 1):
        one.page.keyboard.press(f"Alt+Digit{number}")
        one.page.locator(f"#{view}-view").wait_for()
        assert one.page.locator("nav a[aria-current]").inner_text().lower() == view
    one.page.locator("nav a").first.focus()
    one.page.keyboard.press("/")
    assert one.page.evaluate("document.activeElement.id") == "question"


def test_a_phone_shows_it_without_scrolling_sideways(seen: Open, server: Running) -> None:
    one = seen(server, viewport={"width": 390, "height": 844}, has_touch=True)
    ask(one, "A question about boats", files={"a-file-with-quite-a-long-name-for-a-phone.txt": BOOK})
    for number in (1, 2, 3, 4):
        one.page.keyboard.press(f"Alt+Digit{number}")
        one.page.wait_for_timeout(300)
        assert one.page.evaluate("document.documentElement.scrollWidth") == 390
    assert one.page.locator("iframe").bounding_box()["width"] == 390


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_colours_follow_the_system(seen: Open, server: Running, scheme: str, dark: bool) -> None:
    one = seen(server, color_scheme=scheme)
    paper, ink = one.page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")

    def light(colour: str) -> float:
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 3

    assert (light(paper) < 64) is dark and (light(ink) > 128) is dark


def test_the_bill_says_why_the_prefix_was_not_found(seen: Open, server: Running) -> None:
    one = seen(server)
    ask(one, "The same beginning, long enough for a block, and then a cat.", max_tokens=2)
    one.page.locator("#anew").click()
    ask(one, "The same beginning, long enough for a block, and then a dog.", max_tokens=2)
    remark = one.page.locator("details.bill tr", has_text="Computed anew").locator(".remark")
    remark.get_by_text('("d" where "c" was)').wait_for()
    assert "a token differs from what is kept" in remark.inner_text()


def test_the_tiers_show_where_the_blocks_of_a_prefix_lie(seen: Open, model: LoadedModel, tmp_path: Path) -> None:
    tiers = TierOptions(ram_bytes=4 << 20, ssd=tmp_path, ssd_bytes=64 << 20)
    with serving(model, window=WINDOW, tiers=tiers) as server:
        ask(seen(server), "When?", files={"ferries.txt": BOOK}, max_tokens=2)
    with serving(model, window=WINDOW, tiers=tiers) as server:
        one = seen(server, "blocks")
        row = one.page.locator("#tiers tbody tr", has_text="Ferry 0 leaves")
        row.wait_for()
        assert row.locator("td").all_inner_texts()[3:] == ["–", "–", "all"], "after a restart it lies on disk alone"
        assert one.page.locator("#tier-tiles .tile").count() == 2
        one.page.keyboard.press("Alt+Digit1")
        ask(one, "When?", files={"ferries.txt": BOOK}, max_tokens=2)
        assert "on disk" in billed(one)["Found in the cache"][1]
        one.page.keyboard.press("Alt+Digit2")
        one.page.wait_for_function(
            "() => [...document.querySelectorAll('#tiers td:nth-child(5)')].some(cell => cell.textContent !== '–')"
        )
        assert "Disk" in one.page.locator("#tiers thead").inner_text()


def test_a_server_without_tiers_shows_none(seen: Open, server: Running) -> None:
    one = seen(server, "blocks")
    one.page.locator("#pool .tile").first.wait_for()
    assert one.page.locator("#tiers-section").is_hidden()
