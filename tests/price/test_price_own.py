"""Own cost: machine seconds times dollars per second, by hand."""

import pytest

from windowtax.base.errors import BadInput
from windowtax.price.own import own_bill, usd_for_seconds


def test_a_call_pays_its_prefill_whole_and_its_share_of_decode():
    bill = own_bill(3600.0, prefill_s=2.0, decode_s=8.0, prompt_tokens=1_000, output_tokens=100, sharers=4)
    assert (bill.prompt_usd, bill.output_usd, bill.total_usd) == (2.0, 2.0, 4.0)
    assert (bill.usd_per_mtok_prompt, bill.usd_per_mtok_output) == (2_000.0, 20_000.0)


def test_an_h100_hour_is_its_price():
    assert usd_for_seconds(2.95, 3600) == pytest.approx(2.95)


@pytest.mark.parametrize("wrong", [{"sharers": 0}, {"usd_per_hour": -1.0}])
def test_senseless_counts_are_refused(wrong):
    arguments = {"usd_per_hour": 1.0, "sharers": 1} | wrong
    with pytest.raises(BadInput):
        own_bill(prefill_s=1, decode_s=1, prompt_tokens=1, output_tokens=1, **arguments)
