"""Levers over a model: what `--attention` makes of its layers, its cache and its traffic."""

import pytest

from windowtax.base.errors import BadInput
from windowtax.catalog.read import read_model
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.model import ModelSpec
from windowtax.spec.override import with_attention

BF16 = cache_dtype("bf16")
LLAMA = read_model("llama-3.1-8b")
TOKEN = 131_072
"""Bytes of one token over all layers of Llama 3.1 8B."""


def bytes_of(spec: ModelSpec, tokens: int) -> tuple[int, int]:
    """Kept, and read by one decode step."""
    layout = spec.layout(BF16)
    return layout.bytes_for(tokens), layout.read_bytes(tokens)


def test_sinks_and_a_window_keep_both_and_no_token_twice() -> None:
    spec = with_attention(LLAMA, "full=sinks:4+window:4096")
    assert spec.kinds == {"sinks_window": 32}
    for tokens, kept in ((3, 3), (4, 4), (100, 100), (4_099, 4_099), (4_100, 4_100), (131_072, 4_100)):
        assert bytes_of(spec, tokens) == (kept * TOKEN, kept * TOKEN)
    assert spec.layout(BF16).tokens_for(4_100 * TOKEN) is None


def test_a_window_alone_slides() -> None:
    spec = with_attention(LLAMA, "full=window:4K")
    assert spec.kinds == {"sliding": 32}
    assert bytes_of(spec, 131_072) == (4_096 * TOKEN, 4_096 * TOKEN)


def test_quest_keeps_more_and_reads_less() -> None:
    """64 blocks of 16 tokens are read; a minimum and a maximum of 8 x 128 numbers per block come on top, and are read
    whole."""
    kept, read = bytes_of(with_attention(LLAMA, "full=topk:64+block:16"), 131_072)
    summaries = 32 * 8_192 * 2 * 8 * 128 * 2
    assert kept == 131_072 * TOKEN + summaries
    assert read == 1_024 * TOKEN + summaries


def test_moba_keeps_a_mean_per_block() -> None:
    spec = with_attention(LLAMA, "full=topk:3+block:2048+summary:mean")
    assert bytes_of(spec, 131_073)[0] == 131_073 * TOKEN + 32 * 65 * 8 * 128 * 2


def test_only_full_layers_change() -> None:
    before, after = read_model("gemma-3-12b"), with_attention(read_model("gemma-3-12b"), "full=sinks:4+window:1024")
    assert after.kinds == {"sliding": 40, "sinks_window": 8}
    assert after.total_parameters == before.total_parameters
    assert after.layout(BF16).growth_bytes_per_token == 0


@pytest.mark.parametrize(
    "text",
    [
        "sinks:4",
        "full",
        "full=",
        "full=sinks:4",
        "full=window",
        "full=window:0",
        "full=window:1+window:2",
        "full=topk:4+warp:1",
        "full=topk:4+summary:median",
        "sliding=window:4",
        "full=chunk:8192",
    ],
)
def test_what_is_no_lever_is_an_error(text: str) -> None:
    with pytest.raises(BadInput):
        with_attention(LLAMA, text)


def test_a_model_without_full_attention_is_an_error_that_names_its_kinds() -> None:
    with pytest.raises(BadInput, match="its layers are mla"):
        with_attention(read_model("deepseek-v3"), "full=window:4096")
