"""The bill: its record is the documented one, and its parts add up."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from tests.cases.families import save_tiny
from tests.engine.harness import greedy, make_engine
from windowtax.catalog.hardware_catalog import hardware
from windowtax.cli.bill_view import print_bill, save_picture
from windowtax.engine.bill import Bill, make_bill
from windowtax.engine.bill_record import bill_record
from windowtax.engine.load import load_model

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "bill-json.md"
PROMPT, OUTPUT = 50, 7


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def bill(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bill:
    folder = tmp_path_factory.mktemp("model")
    save_tiny(request.param, folder)
    engine = make_engine(load_model(folder, dtype="fp32"), PROMPT + 20, step_tokens=16, block_size=4)
    ran = engine.add(list(range(3, 3 + PROMPT)), greedy(OUTPUT))
    while engine.has_work:
        engine.step()
    return make_bill(
        engine,
        ran,
        hardware("cpu-generic"),
        cache_dtype="fp32",
        num_cached_tokens=40,
        usd_per_hour=0.5,
        resident_before_bytes=1,
    )


def _keys(record: object, prefix: str = "") -> set[str]:
    if not isinstance(record, dict):
        return {prefix}
    return {found for key, value in record.items() for found in _keys(value, f"{prefix}.{key}" if prefix else key)}


def test_the_record_is_the_documented_one(bill: Bill) -> None:
    cells = re.findall(r"^\| (`[^|]*) \|", PAGE.read_text(), re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    documented = {name for name in named if not name.startswith("floor.")}
    record = json.loads(json.dumps(bill_record(bill)))
    assert {key for key in _keys(record) if not key.startswith("floor.")} == documented
    for part in ("prefill", "decode_step"):
        assert set(record["floor"][part]) == {"seconds", "bytes", "flops", "bound_by", "share_reached"}


def test_predicted_allocated_and_measured_agree(bill: Bill) -> None:
    assert bill.cache.agrees
    assert bill.cache.pool_allocated_bytes >= bill.cache.held_measured_bytes > 0


def test_its_parts_add_up(bill: Bill) -> None:
    speed = bill.speed
    assert (bill.num_prompt_tokens, bill.num_output_tokens) == (PROMPT, OUTPUT)
    assert 0 < speed.prefill_s + speed.decode_s <= speed.total_s
    assert speed.ttft_s <= speed.total_s
    assert 0 < bill.cache.byte_seconds <= bill.cache.held_measured_bytes * speed.total_s
    assert bill.own_usd == pytest.approx(0.5 / 3600 * speed.total_s)
    assert 0 < bill.cache_read_share < 1
    for pair in bill.api:
        assert pair.cached.total_usd < pair.cold.total_usd
        assert pair.cold.prompt_tokens == PROMPT


def test_it_is_shown_with_both_verdicts(bill: Bill) -> None:
    text = io.StringIO()
    print_bill(bill, Console(file=text, width=120))
    assert text.getvalue().count("equal") == 2
    assert f"{bill.cache.held_measured_bytes:,} B measured" in text.getvalue()


def test_its_picture_asks_for_nothing(bill: Bill, tmp_path: Path) -> None:
    save_picture(bill, tmp_path / "bill.svg")
    drawn = (tmp_path / "bill.svg").read_text()
    assert "equal" in drawn
    assert set(re.findall(r"https?://[^\"')\s]+", drawn)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
