"""KV bytes from ITL slopes: vLLM's published fits (facts/models.md 5 case 1), and lines made by hand."""

from pathlib import Path

import pytest

from windowtax.base.errors import BadInput
from windowtax.catalog.hardware_catalog import hardware
from windowtax.price.xray.latency import Point, fit_line, latency_trials, latency_xray, read_points

# model, dtype -> true bytes per token (facts 1b, contrast)
TRUE = {("llama-3.1-8b", "bf16"): 131_072, ("llama-3.1-8b", "fp8"): 65_536, ("gpt-oss-20b", "bf16"): 24_576}


def line_points(slope_s: float, intercept_s: float, noise: tuple[float, ...] = (0.0,)) -> list[Point]:
    lengths = (256, 1_024, 4_096, 16_384, 65_536, 98_304, 125_000)
    return [
        Point(length, intercept_s + slope_s * length + noise[index % len(noise)])
        for index, length in enumerate(lengths)
    ]


def test_published_slopes_recover_the_known_caches_within_a_quarter():
    trials = latency_trials()
    assert {(trial.model, trial.cache_dtype): trial.true_bytes for trial in trials} == TRUE
    for trial in trials:
        assert abs(trial.error) < 0.25
        assert trial.true_bytes in trial.found.cache_bytes


def test_the_intercept_holds_the_weights():
    bf16 = next(trial for trial in latency_trials() if trial.cache_dtype == "bf16" and "llama" in trial.model)
    # 8.03 billion parameters of 2 bytes are stored; a step reads them all but the embedding (facts: 16.06 GB).
    assert 16.06e9 in bf16.found.weight_bytes
    assert bf16.found.weight_bytes.median == pytest.approx(16.06e9, rel=0.25)


def test_a_straight_line_is_found_exactly():
    line = fit_line(line_points(4.37e-8, 6.44e-3))
    assert line.slope == pytest.approx(4.37e-8) and line.intercept == pytest.approx(6.44e-3)
    assert line.low_slope == pytest.approx(line.high_slope) and line.spread < 1e-12


def test_one_wild_point_does_not_move_it():
    points = line_points(4.37e-8, 6.44e-3)
    points[2] = Point(points[2].context_tokens, 1.0)
    line = fit_line(points)
    assert line.slope == pytest.approx(4.37e-8, rel=0.01)
    assert line.low_slope < line.slope < line.high_slope


def test_noise_widens_the_interval():
    calm = fit_line(line_points(4.37e-8, 6.44e-3, (1e-6, -1e-6)))
    noisy = fit_line(line_points(4.37e-8, 6.44e-3, (1e-4, -1e-4)))
    assert noisy.high_slope - noisy.low_slope > 10 * (calm.high_slope - calm.low_slope)
    assert noisy.low_slope < 4.37e-8 < noisy.high_slope


def test_a_window_that_fills_up_is_pointed_at():
    # 24 of 32 layers have a window of 4,096: below it all grow, above it a quarter does.
    points = [
        Point(n, 2e-3 + 1e-6 * min(n, 4_096) + 2.5e-7 * max(0, n - 4_096)) for n in (256, 1_024, 4_096, 16_384, 65_536)
    ]
    found = latency_xray(fit_line(points), hardware("h100-sxm"))
    assert any("sliding window" in text for text in found.warnings)
    assert latency_xray(fit_line(line_points(4.37e-8, 6.44e-3)), hardware("h100-sxm")).warnings == ()


def test_accelerators_multiply_and_batches_divide():
    line, h100 = fit_line(line_points(4.37e-8, 6.44e-3)), hardware("h100-sxm")
    one = latency_xray(line, h100)
    other = latency_xray(line, h100, accelerators=2, batch=8)
    assert other.cache_bytes.median == pytest.approx((one.cache_bytes.median or 0) * 2 / 8)
    assert other.weight_bytes.median == pytest.approx((one.weight_bytes.median or 0) * 2)


def test_curves_that_say_nothing_are_refused():
    with pytest.raises(BadInput, match="does not grow"):
        latency_xray(fit_line(line_points(-1e-9, 6e-3)), hardware("h100-sxm"))
    with pytest.raises(BadInput, match="2 different context lengths"):
        fit_line([Point(1, 0.1), Point(2, 0.2), Point(2, 0.3)])
    with pytest.raises(BadInput, match="2,001 points"):
        fit_line([Point(n, 1e-3) for n in range(2_001)])
    with pytest.raises(BadInput, match="make no sense"):
        latency_xray(fit_line(line_points(1e-8, 6e-3)), hardware("h100-sxm"), batch=0)


def test_csv_files(tmp_path: Path):
    path = tmp_path / "points.csv"
    path.write_text("\ufeffcontext_tokens, itl_ms, note\n256,6.5,a\n1024,6.6,b\n", encoding="utf-8")
    assert read_points(path) == (Point(256, 0.0065), Point(1024, 0.0066))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header is missing"),
        ("tokens,ms\n1,2\n", "header is tokens,ms"),
        ("context_tokens,itl_ms\n256,fast\n", "line 2: '256','fast'"),
        ("context_tokens,itl_ms\n256\n", "line 2: '256',None"),
        ("context_tokens,itl_ms\n256,-3\n", "line 2: .* make no sense"),
        ("context_tokens,itl_ms\n256,nan\n", "line 2: .* make no sense"),
    ],
)
def test_bad_csv_files_name_the_line(tmp_path: Path, text, message):
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        read_points(path)


def test_a_missing_file_is_an_answer(tmp_path: Path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_points(tmp_path / "none.csv")
