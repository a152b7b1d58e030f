"""Hypotheses against the intervals and crossovers computed in facts/prices-and-recall.md 1b, and by hand."""

import re
from datetime import UTC, datetime

import pytest

from windowtax.price.xray.analysis import xray
from windowtax.price.xray.architectures import layers_inside, published_inside
from windowtax.price.xray.article import article_inference, objections, sequences_held
from windowtax.price.xray.hypotheses.base import HYPOTHESES, Case
from windowtax.price.xray.priors import Interval

AT = datetime(2026, 11, 21, tzinfo=UTC)


def interval(name: str, threshold: int, **known: float) -> Interval:
    found = HYPOTHESES.get(name).interval(Case(threshold_tokens=threshold, window_tokens=1_000_000, known=known))
    assert found is not None
    return found


# threshold, then 5 % and 95 % in KB, "What an honest answer looks like"
@pytest.mark.parametrize(("threshold", "low", "high"), [(200_000, 0.5, 31), (128_000, 0.8, 48), (272_000, 0.4, 23)])
def test_decode_kink_intervals_of_the_facts(threshold, low, high):
    found = interval("H1", threshold)
    assert found.low / 1e3 == pytest.approx(low, rel=0.15)
    assert found.high / 1e3 == pytest.approx(high, rel=0.15)


def test_decode_kink_at_200k_has_its_median_and_stays_wide_when_the_size_is_known():
    assert interval("H1", 200_000).median == pytest.approx(3.9e3, rel=0.15)
    known = interval("H1", 200_000, active_parameters=100e9)
    assert known.low == pytest.approx(2e3, rel=0.15) and known.high == pytest.approx(20e3, rel=0.15)


@pytest.mark.parametrize("name", ["H1", "H2", "H3", "H4"])
def test_twice_the_threshold_is_half_the_cache(name):
    one, two = interval(name, 100_000), interval(name, 200_000)
    assert one.low == pytest.approx(2 * two.low) and one.high == pytest.approx(2 * two.high)


def test_prefill_attention_by_hand():
    # One query per KV head of a model whose crossover is the threshold: b = 2 w N / L.
    known = {"active_parameters": 70e9, "crossover_share": 1.0, "queries_per_kv_head": 8.0, "cache_number_bytes": 2.0}
    found = interval("H2", 107_000, **known)
    assert found.low == pytest.approx(found.high) == pytest.approx(2 * 2 * 70e9 / 107_000 / 8)
    # Llama-3.1-70B's own crossover is 108K tokens and its cache 327,680 B in bf16 (facts 1b item 5).
    assert found.median == pytest.approx(327_680, rel=0.01)


def test_memory_limits_by_hand():
    # Eight chips with a 70B model in 8 bits and 15 sequences of 200,000 tokens: (8 x 0.9 x memory - 70 GB) / 3e6.
    known = {
        "active_parameters": 70e9, "total_parameters": 70e9, "number_bits": 8.0, "accelerators": 8.0, "batch": 15.0,
        "kink_share": 1.0, "pool_sequences": 15.0,
    }  # fmt: skip
    case = Case(threshold_tokens=200_000, window_tokens=200_000, known=known)
    found = {round(value) for value in HYPOTHESES.get("H3").cache_bytes(case)}
    assert round((8 * 0.9 * 80 * 2**30 - 70e9) / 3e6) in found
    assert found == {round(value) for value in HYPOTHESES.get("H4").cache_bytes(case)}


def test_a_machine_that_cannot_hold_the_weights_gives_no_interval():
    known = {"active_parameters": 1e12, "total_parameters": 90e12}
    case = Case(threshold_tokens=200_000, window_tokens=200_000, known=known)
    assert HYPOTHESES.get("H3").interval(case) is None


def test_article_five_to_the_digit():
    found = article_inference(200_000)
    assert round(found.cache_bytes) == 1_667
    assert found.layers == pytest.approx(0.81, abs=0.005)
    # Gemini 1.5 Flash-8B, whose size is in its name (facts 1b, calibration).
    assert round(article_inference(128_000, 8e9).cache_bytes) == 208


def test_the_objections_carry_the_figures_of_the_facts():
    said = " ".join(objections(article_inference(200_000)))
    # facts 1b: 0.52 TFLOP of attention beside 0.14, and 893 B (v6e int8) to 6,024 B (v5p bf16) for the same step.
    assert "0.52 TFLOP" in said and "0.14 TFLOP" in said
    low, high = (float(part.replace(",", "")) for part in re.search(r"give ([\d,]+) to ([\d,]+) B", said).groups())
    assert (low, high) == pytest.approx((893, 6_024), rel=0.03)
    # (576 - 70) / 32.8 = 15 with 80 GB chips; the catalog's H100 has 80 GiB.
    assert sequences_held(200_000) in (15, 16)


# facts/prices-and-recall.md 1b: layers consistent with 0.8 to 8 KB, in bf16, FP8, 4-bit
LAYERS = {
    "GQA 8 x 128": [(1, 1), (1, 3), (1, 7)],
    "GQA 4 x 128 or 2 x 256": [(1, 3), (1, 7), (2, 15)],
    "MQA 1 x 256": [(1, 7), (2, 15), (4, 31)],
    "MQA 1 x 128": [(2, 15), (4, 31), (7, 62)],
    "MLA 512 + 64": [(1, 6), (2, 13), (3, 27)],
    "MLA 512 + 64, index 128": [(1, 5), (2, 11), (3, 22)],
    "DeepSeek-V4 c4a": [(3, 25), (5, 50), (10, 100)],
}


def test_layers_inside_an_interval():
    found = {fit.design.title: list(fit.layers.values()) for fit in layers_inside(Interval(800, None, 8_000))}
    for title, layers in LAYERS.items():
        assert found[title] == layers


def test_published_models_inside_come_from_the_ledger():
    found = published_inside(Interval(131_072, None, 131_072))
    assert ("llama-3.1-8b", "bf16") in {(one.model, one.dtype) for one in found}
    assert all(one.growth_bytes == 131_072 for one in found)


def test_gemini_is_explained_five_ways_and_none_by_article_five():
    found = xray("google", "gemini-3.1-pro-preview", at=AT)
    reading = found.reading(200_000)
    assert reading is not None and [verdict.hypothesis.name for verdict in reading.verdicts] == HYPOTHESES.names()
    by_name = {verdict.hypothesis.name: verdict for verdict in reading.verdicts}
    assert by_name["H1"].likelihood is None and by_name["H3"].likelihood is None
    assert by_name["H2"].likelihood is not None and by_name["H5"].likelihood is not None
    assert any("17 to 572 times" in text for text in by_name["H1"].speaks_against)
    assert any("output rises x1.5, input x2" in text for text in by_name["H1"].speaks_against)
    assert any("2026" in text or "storage" in text for text in by_name["H4"].speaks_against)
    assert by_name["H5"].interval is not None and by_name["H5"].interval.median is None


def test_the_other_prices_are_read_as_the_article_does_and_judged():
    readings = {one.price: one for one in xray("deepseek", "deepseek-v4-pro", at=AT).article_readings}
    # DeepSeek's discounts of 30 to 50 with a cache that shrank 8.7 times and stayed on disk (facts 1b).
    assert "DDR or flash" in next(one.says for price, one in readings.items() if "cached" in price)
    claude = xray("anthropic", "claude-opus-5", at=AT).article_readings
    assert any("80 %" in one.says for one in claude)


def test_known_sizes_narrow_the_interval():
    wide = xray("google", "gemini-3.1-pro-preview", at=AT).readings[0].verdicts[0].interval
    narrow = xray("google", "gemini-3.1-pro-preview", active_parameters=100e9, at=AT).readings[0].verdicts[0].interval
    assert wide is not None and narrow is not None
    assert narrow.high / narrow.low < wide.high / wide.low / 4


def test_the_seller_that_dropped_a_tier_speaks_for_policy():
    verdicts = xray("anthropic", "claude-sonnet-4-5", at=AT).readings[0].verdicts
    assert any("claude-opus-4-6 (2026-03-13)" in text for text in verdicts[-1].speaks_for)
