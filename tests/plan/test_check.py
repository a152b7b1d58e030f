"""`check` against numbers that others published, each with the convention that reproduces it."""

import pytest
from typer.testing import CliRunner

from windowtax.base.errors import BadInput
from windowtax.plan.check import check
from windowtax.plan.check_words import read_words
from windowtax.plan.claims.contract import check_json


def assumed(text: str) -> str:
    found = check(text)
    assert found.best.exact, f"{text}: {found.best}"
    return "; ".join(found.best.assumptions)


@pytest.mark.parametrize(
    ("text", "model", "tokens"),
    [
        # vllm-project.github.io, 2026-04-24-deepseek-v4, appendix
        ("83.9 GiB at 1M on DeepSeek-V3.2", "deepseek-v3.2", 1_048_576),
        ("9.62 GiB at 1M with DeepSeek V4-Pro", "deepseek-v4-pro", 1_048_576),
        # facts/models.md 1.5
        ("16.000 GiB: Llama 3.1 8B at 131,072 tokens", "llama-3.1-8b", 131_072),
        ("22.524 GiB, MiMo-V2-Flash, 1,048,576 tokens", "mimo-v2-flash", 1_048_576),
    ],
)
def test_numbers_that_need_no_assumption(text: str, model: str, tokens: int) -> None:
    found = check(text)
    assert found.best.exact and not found.best.assumptions
    assert (found.best.reading.model, found.best.reading.context_tokens) == (model, tokens)
    assert found.plain == found.best


@pytest.mark.parametrize(
    ("text", "assumption"),
    [
        # article 1
        ("Llama 3 70B: 320 KB per token", "KB means KiB"),
        ("Qwen3.6-35B-A3B at 128K: 2.5 GB", "fixed states of linear layers are left out"),
        # huggingface.co/blog/llama31: GiB at 128,000 tokens, printed as GB
        ("39.06 GB at 128K on Llama 3.1 70B", "128K is 128,000 tokens; GB means GiB"),
        # Sebastian Raschka's architecture gallery counts every layer as growing
        ("gpt-oss-120b: 72 KiB per token", "windows are ignored"),
        ("496 KiB per token, Gemma 3 27B", "windows are ignored"),
        # and leaves index keys out
        ("GLM-5 at 87.8 KiB per token", "index keys are left out"),
        # deepseek-ai/FlashMLA README: 656 bytes
        ("656 bytes per token per layer on DeepSeek-V3", "the cache is kept in fp8_ds_mla"),
        # vllm-project/vllm PR 48993: 1,315,008 bytes per 256 tokens
        ("5136.75 B per token, DeepSeek-V4-Pro, 256 tokens", "fp8_ds_mla+index:mxfp4"),
        # DeepSeek-V2's abstract, with the 6 bits of its section 3.2.3
        ("93.3 % less for DeepSeek-V2 than DeepSeek-67B", "in 6-bit"),
        # 62 layers: FlashMLA docs count the MTP layer
        ("87,296 bytes per token on DeepSeek-V3.2", "multi-token prediction"),
    ],
)
def test_the_convention_behind_a_number_is_found(text: str, assumption: str) -> None:
    assert assumption in assumed(text)


def test_several_meanings_of_one_number_are_told() -> None:
    """Article 3's 20 GB: FP8, or the factor of two forgotten."""
    found = check("Llama 3.1 70B at 128K: 20 GB")
    meanings = ["; ".join(one.assumptions) for one in (found.best, *found.others)]
    assert any("fp8" in one for one in meanings) and any("factor 2" in one for one in meanings)
    assert found.plain is not None and not found.plain.exact
    assert found.plain.error == pytest.approx(20e9 / 42_949_672_960 - 1)


def test_a_number_that_nothing_gives_gets_the_nearest_and_its_error() -> None:
    found = check("about 87,000 bytes per token on DeepSeek V3.2")
    assert not found.best.exact and abs(found.best.error) < 0.01
    assert found.plain is not None
    assert found.plain.value == 85_888 and found.plain.error == pytest.approx(0.0129, abs=1e-4)
    # sglang PR 11309 prints 48,072 for what is 61 x (656 + 132)
    assert check("48,072 bytes per token on DeepSeek-V3.2").best.value == 48_068


def test_users_dtypes_and_devices_are_read() -> None:
    words = read_words("40 GB for Llama-3.1-70B at 128K in fp8, 16 users, on 8 H100")
    assert words.models == ("llama-3.1-70b",) and words.dtype == "fp8" and words.users == 16
    assert words.device == "h100-sxm" and words.devices == 8
    assert words.context is not None and words.context.tokens == (131_072, 128_000)
    found = check("320 GiB for Llama-3.1-70B at 128K in fp8, 16 users")
    assert found.best.exact and found.best.reading.formula.endswith("times 16 users")


def test_two_models_give_a_ratio() -> None:
    found = check("16x between Llama 3 70B and Qwen3.6-35B-A3B at 128K")
    assert found.best.exact and found.best.value == 16


def test_a_time_is_compared_with_estimate_and_floor() -> None:
    """vllm-project.github.io 2026-04-22-fp8-kvcache, figure 2: 10.1 s measured."""
    found = check("10.1 s to the first token: Llama 3.1 8B, 128K prompt, H100")
    assert found.plain is not None and "prefill" in found.plain.reading.formula
    assert abs(found.plain.error) < 0.1
    step = check("6.9 ms per token: Llama 3.1 8B at 8K on H100, fp8")
    assert step.plain is not None and "decode step" in step.plain.reading.formula


def test_a_number_far_from_everything_is_compared_with_what_the_sentence_says() -> None:
    found = check("12 GB of cache at 64K on Qwen3 32B in fp8")
    assert not found.best.exact and found.best == found.plain and not found.others
    assert found.best.value == pytest.approx(131_072 * 65_536 / 1e9)


def test_dollars_are_searched_in_price_lists() -> None:
    found = check("$1.28 at 256K on GPT-5.5")
    assert found.best.exact and found.best.reading.context_tokens == 256_000
    assert "openai/gpt-5.5" in found.best.reading.formula


def test_without_a_model_all_models_are_searched() -> None:
    found = check("23,040 bytes per token")
    assert {one.reading.model for one in (found.best, *found.others)} >= {"smollm2-135m", "mimo-v2-flash"}
    assert not found.words.models


@pytest.mark.parametrize("text", ["half of nothing", "a model with 7 layers", "$3 for lunch"])
def test_a_sentence_without_a_claim_is_an_error(text: str) -> None:
    with pytest.raises(BadInput):
        check(text)


def test_json_tells_what_was_read_and_found() -> None:
    found = check_json(check("Llama 3 70B: 320 KB per token"))
    assert found["read"]["models"] == ["llama-3-70b"] and found["read"]["per_token"]
    assert found["best"]["reproduced"] and found["best"]["value"] == 320
    assert found["as_written"]["value"] == pytest.approx(327.68)


def test_the_commands_print_tables_and_json() -> None:
    import json

    import typer

    from windowtax.cli import claims

    app = typer.Typer()
    app.command()(claims.claims)
    app.command()(claims.check)
    run = CliRunner()
    shown = run.invoke(app, ["claims", "--article", "2", "--verdict", "wrong"])
    assert shown.exit_code == 0 and "409.6 GB" in shown.output and "2.08" in shown.output
    listed = run.invoke(app, ["claims", "--verdict", "holds-if", "--json"])
    assert {one["verdict"] for one in json.loads(listed.output)} == {"holds if"}
    told = run.invoke(app, ["check", "83.9 GiB at 1M on DeepSeek-V3.2"])
    assert told.exit_code == 0 and "reproduced" in told.output and "1,048,576" in told.output
    assert isinstance(run.invoke(app, ["claims", "--article", "6"]).exception, BadInput)
