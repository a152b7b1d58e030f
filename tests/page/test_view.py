"""Figures, tables and plots are what plan_json says, and known models show their published bytes."""

import json
import re
from html.parser import HTMLParser

import pytest

from tests.page.asking import planner
from windowtax.catalog.read import model_names
from windowtax.plan.axes import steps_125
from windowtax.plan.contract import plan_json
from windowtax.plan.page.controls import STEPS, positions, steps_json
from windowtax.plan.page.document import asset, report
from windowtax.plan.page.fragments import figures_html, tables_html
from windowtax.plan.page.plots import plots
from windowtax.plan.page.view import View, at, contexts_table, groups_table, look, look_around


class Figures(HTMLParser):
    """Path in plan_json -> the value beside it in the HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fields = dict(attrs)
        if "data-path" in fields:
            self.found[fields["data-path"] or ""] = fields["value"] or ""


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"model": "gemma-3-27b", "context": 100_000, "cache_dtype": "int8"},
        {"model": "llama-3.1-405b", "context": 2**20, "gpus": 8},
        {"model": "qwen3-235b-a22b", "hardware": "b200-sxm", "usd_per_hour": 3.25, "cached_tokens": 65_536},
    ],
    ids=["plain", "windows", "does not fit", "experts"],
)
def test_every_figure_is_the_one_in_plan_json(fields):
    asked = planner(**fields)
    view = look(asked, asked.start.form)
    data = plan_json(asked.plan(asked.start.form))
    assert view.data == data
    found = Figures(figures_html(view)).found
    assert {"cache.total_bytes", "fit.most_users", "time.ttft_s", "time.tpot_s", "cost.usd_per_call"} <= set(found)
    for path, text in found.items():
        assert (json.loads(text) if text else None) == at(data, path), path


def test_published_bytes_are_shown():
    """Llama 3.1 70B keeps 2 x 80 x 8 x 128 x 2 B = 320 KiB per token, 40 GiB at 128K (Hugging Face on Llama 3.1)."""
    asked = planner()
    shown = figures_html(look(asked, asked.start.form))
    assert "42,949,672,960 B" in shown and "40.00 GiB" in shown and "320.00 KiB" in shown


def test_the_bytes_table_adds_up():
    asked = planner(model="gemma-3-27b", context=524_288)
    plan = asked.plan(asked.start.form)
    _, *groups, total = groups_table(plan)
    sums = [sum(int(line[column].replace(",", "")) for line in groups) for column in (-2, -1)]
    assert [int(total[-2].replace(",", "")), int(total[-1].replace(",", ""))] == sums
    assert sums[0] == plan_json(plan)["cache"]["total_bytes"]
    # 52 sliding layers keep the last 1,024 tokens only, whatever the context (Gemma 3 report, section 2).
    assert any("sliding" in line and "1,024" in line for line in groups)


@pytest.mark.parametrize("model", model_names())
def test_every_model_of_the_catalog_can_be_looked_at(model):
    asked = planner(model=model, context=8192, users=2)
    view = look(asked, asked.start.form)
    *_, total = view.groups
    for column in (-2, -1):
        parts = [int(line[column].replace(",", "")) for line in view.groups[1:-1]]
        assert int(total[column].replace(",", "")) == sum(parts)
    assert total[-2] == f"{view.data['cache']['total_bytes']:,}"
    assert tables_html(view) and figures_html(view)


def test_the_memory_bar_is_the_whole_memory():
    fits = planner()
    view = look(fits, fits.start.form)
    assert sum(share.num_bytes for share in view.memory) == view.plan.fit.budget.memory_bytes
    assert sum(share.of_bar for share in view.memory) == pytest.approx(1)
    too_much = planner(model="llama-3.1-405b", context=2**20, gpus=8)
    missing = next(share for share in look(too_much, too_much.start.form).memory if share.role == "missing")
    assert missing.num_bytes == -too_much.plan(too_much.start.form).fit.budget.left_bytes > 0


def test_plots_draw_the_plans():
    asked = planner(context=100_000, users=8)
    around = look_around(asked, asked.start.form)
    drawn = {plot.name: plot for plot in plots(around)}
    assert list(drawn) == ["memory", "users", "ttft", "tpot", "usd", "reads", "load", "rate"]
    contexts = [plan.workload.context_tokens for plan in around.plans]
    assert contexts == sorted({*(2**power for power in range(12, 21)), 100_000})
    data = {plan.workload.context_tokens: plan_json(plan) for plan in around.plans}
    for row in drawn["ttft"].spec["data"]["values"]:
        assert row["value"] == pytest.approx(data[row["x"]]["time"]["ttft_s"])
    for row in drawn["usd"].spec["data"]["values"]:
        key = {"window": "usd_per_user_hour", "call": "usd_per_call"}[row["series"]]
        assert row["value"] == data[row["x"]]["cost"][key]
    for row in drawn["load"].spec["data"]["values"]:
        point = next(at for at in data[100_000]["load"]["curve"] if at["users"] == row["x"])
        assert row["value"] == point[{"ttft": "ttft_s", "tpot": "tpot_s"}[row["series"]]]
    assert [row["value"] for row in drawn["rate"].spec["data"]["values"]] == [
        at["output_tokens_per_s"] for at in data[100_000]["load"]["curve"]
    ]
    here = {row["series"]: row["value"] for row in drawn["users"].spec["data"]["values"] if row["x"] == 100_000}
    assert here["bf16"] == plan_json(around.plan)["fit"]["most_users"] < here["fp8"] < here["int4"]
    assert len(contexts_table(around)) == 1 + len(contexts)


def test_an_api_comes_into_figures_plots_and_derivation():
    asked = planner(context=65_536, users=2, api="google/gemini-2.5-pro", calls=20_000.0)
    view, around = look(asked, asked.start.form), look_around(asked, asked.start.form)
    found, api = Figures(figures_html(view)).found, view.data["api"]
    assert json.loads(found["api.usd_per_month"]) == api["usd_per_month"] == 20_000 * api["usd_per_call"]
    assert json.loads(found["api.own_usd_per_month"]) == api["own_usd_per_month"]
    assert view.sections[-1].title.endswith("google/gemini-2.5-pro") and view.steps[-1].name == "owning wins from"
    drawn = {plot.name: plot for plot in plots(around)}
    assert list(drawn) == ["memory", "users", "ttft", "tpot", "usd", "month", "reads", "load", "rate"]
    points = {row["x"]: row["value"] for row in drawn["usd"].spec["data"]["values"] if row["series"] == "api"}
    # $1.25 and $10 per million tokens, from 200,001 prompt tokens on $2.50 and $15 (ai.google.dev/gemini-api).
    assert points[65_536] == pytest.approx((65_280 * 1.25 + 256 * 10) / 1e6)
    assert points[262_144] == pytest.approx((261_888 * 2.5 + 256 * 15) / 1e6)
    rows = drawn["month"].spec["data"]["values"]
    assert {row["x"]: row["value"] for row in rows if row["series"] == "api"}[20_000] == api["usd_per_month"]
    own = [(row["x"], row["value"]) for row in rows if row["series"] == "own"]
    assert dict(own)[20_000] == api["own_usd_per_month"] and own == sorted(own)
    full = int(api["own_calls_per_month"])
    assert dict(own)[full + 1] == pytest.approx(2 * dict(own)[full]), "the next call takes another deployment"


def test_an_api_that_takes_no_such_prompt_has_no_point_there():
    asked = planner(context=65_536, api="deepseek/deepseek-chat")
    around = look_around(asked, asked.start.form)
    assert around.api is not None
    window = around.api.traffic.sheet.window_tokens
    assert window is not None and max(around.api_calls) <= window < 2**20


def test_pictures_are_drawn_with_a_sentence_for_every_point():
    asked = planner(context=65_536)
    for plot in plots(look_around(asked, asked.start.form)):
        svg = plot.svg()
        marks = re.findall(r'aria-label="([^"]*)"[^>]*aria-roledescription="(?:point|bar)"', svg)
        assert len(marks) >= 9, plot.name
        word = " users" if plot.name in ("load", "rate") else " tokens"
        assert all(word in said for said in marks), plot.name
        assert "var(--" in svg


def test_where_nothing_fits_the_plot_says_so():
    asked = planner(model="llama-3.1-405b", gpus=1)
    drawn = {plot.name: plot.svg() for plot in plots(look_around(asked, asked.start.form))}
    assert all("nothing fits" in drawn[name] for name in ("users", "ttft", "tpot", "usd", "reads", "load"))


def test_the_report_asks_nothing_of_a_network():
    asked = planner()
    text = report(asked, asked.start.form)
    namespaces = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink")
    assert set(re.findall(r"https?://[^\"'\s<>]*", text)) <= set(namespaces)
    assert not re.search(r"<(?:link|script|img|iframe)[^>]*\s(?:src|href)=\"(?!data:)", text)
    assert "@import" not in text and "url(" not in text
    assert "windowtax plan llama-3.1-70b --context 128K --users 4" in text


def test_texts_from_outside_are_escaped(tmp_path):
    source = planner(model="llama-3.1-8b")
    view = look(source, source.start.form)
    evil = "<script>alert(1)</script>"
    object.__setattr__(view, "title", evil)
    assert evil not in figures_html(view)
    assert "<script" not in tables_html(view)


def test_no_formula_lives_in_the_script():
    code = re.sub(r"//[^\n]*|`[^`]*`|\"[^\"]*\"", "", asset("page.js"))
    assert not re.search(r"Math|[*%+]|\s/\s", code)


def test_sliders_stand_where_the_value_is():
    asked = planner(context=100_000, users=1024)
    stand = positions(look(asked, asked.start.form))
    assert STEPS["context"][stand["context"]] == 131_072 and STEPS["context"][stand["context"] - 1] < 100_000
    assert steps_json()["users"][stand["users"]] == "1024"


@pytest.mark.parametrize("name", list(STEPS))
def test_every_step_of_a_slider_is_read_as_that_step(name):
    asked = planner(model="llama-3.1-8b", context=4 * 2**20, output_tokens=1, api="deepseek/deepseek-v4-pro")
    for index, word in enumerate(steps_json()[name]):
        form = asked.start.read({"context": "4M", "output_tokens": "1", name: word})
        view = View(**{**vars(look(asked, asked.start.form)), "form": form})
        if name in ("usd_per_hour", "calls", "utilisation"):
            view = look(asked, form)
        assert positions(view)[name] == index, word


@pytest.mark.parametrize("values", [[3.0], [0.02, 0.021], [1e-4, 5e3], [1, 10], [0.0, 7.0]])
def test_axes_hold_all_values(values):
    (low, high), labels = steps_125(values)
    assert low < min(value for value in values if value) and max(values) < high
    assert labels and low <= labels[0] and labels[-1] <= high
