"""Reading traces: both formats, what is assumed, and errors that name line and field."""

import json
from pathlib import Path
from typing import Any

import pytest

from windowtax.base.errors import BadInput, UnknownName
from windowtax.plan.replay.read import read_trace
from windowtax.plan.replay.statistics import Distribution, TraceStatistics, percentile
from windowtax.plan.replay.trace import Chains

# The first lines of Mooncake's published trace, as NVIDIA's Dynamo shows them (benchmarks/data_generator/README.md).
PUBLISHED: list[dict[str, Any]] = [
    {"timestamp": 0, "input_length": 6755, "output_length": 500, "hash_ids": list(range(14))},
    {"timestamp": 0, "input_length": 7319, "output_length": 490, "hash_ids": [0, *range(14, 28)]},
    {"timestamp": 3052, "input_length": 7234, "output_length": 794, "hash_ids": [0, *range(28, 42)]},
    {"timestamp": 3052, "input_length": 2287, "output_length": 316, "hash_ids": [0, *range(42, 46)]},
]


def write(folder: Path, rows: list[Any]) -> Path:
    path = folder / "trace.jsonl"
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def test_mooncakes_published_lines(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, PUBLISHED))
    assert (trace.format, trace.block_tokens, trace.notes) == ("mooncake", 512, ())
    assert [one.arrival_s for one in trace.requests] == [0, 0, 3.052, 3.052]
    # Only whole blocks are kept: 6,755 tokens are 13 blocks and 99 tokens.
    assert [len(one.keys) for one in trace.requests] == [13, 14, 14, 4]
    assert len({one.keys[0] for one in trace.requests}) == 1
    found = TraceStatistics.of(trace)
    assert (found.repeated_tokens, found.prompt.mean, found.output.largest) == (3 * 512, 23_595 / 4, 794)
    assert found.busiest_minute_requests == 4


# Lines of the published FAST '25 trace of conversations (kvcache-ai/Mooncake, Apache-2.0, commit a2a4b18a, file
# FAST25-release/traces/conversation_trace.jsonl): timestamp, input_length, output_length; hash_ids: 0, then a range.
CONVERSATIONS = [
    (0, 6758, 500, range(1, 14)),
    (0, 2290, 316, range(42, 46)),
    (3000, 87169, 402, range(245, 415)),
    (3000, 915, 355, range(462, 463)),
    (5999, 1053, 26, range(773, 775)),
    (9000, 15366, 344, range(822, 852)),
    (9000, 8772, 1, range(859, 876)),
    (15000, 898, 324, range(1099, 1100)),
]


def test_the_published_trace_of_conversations_is_read_to_the_letter(tmp_path: Path) -> None:
    names = ("timestamp", "input_length", "output_length", "hash_ids")
    rows = [dict(zip(names, (*numbers, [0, *ids]), strict=True)) for *numbers, ids in CONVERSATIONS]
    trace = read_trace(write(tmp_path, rows))
    assert (trace.format, trace.block_tokens, trace.notes) == ("mooncake", 512, ())
    assert [round(one.arrival_s * 1e3) for one in trace.requests] == [row[0] for row in CONVERSATIONS]
    assert [one.num_prompt_tokens for one in trace.requests] == [row[1] for row in CONVERSATIONS]
    assert [one.num_output_tokens for one in trace.requests] == [row[2] for row in CONVERSATIONS]
    # An id stands for every 512 tokens begun: 6,758 tokens have 14, and the last one, not full, is never found again.
    assert [1 + len(row[3]) for row in CONVERSATIONS] == [-(-row[1] // 512) for row in CONVERSATIONS]
    assert [len(one.keys) for one in trace.requests] == [row[1] // 512 for row in CONVERSATIONS]
    assert TraceStatistics.of(trace).repeated_tokens == 7 * 512


def test_the_same_id_behind_another_block_is_another_prefix(tmp_path: Path) -> None:
    rows = [
        {"timestamp": t, "input_length": 1024, "output_length": 1, "hash_ids": ids}
        for t, ids in enumerate(([1, 2], [3, 2], [1, 2]))
    ]
    first, second, third = (one.keys.tolist() for one in read_trace(write(tmp_path, rows)).requests)
    assert first == third and not set(first) & set(second)


def test_chains_name_pairs_whatever_the_contents() -> None:
    chains, plain = Chains(), dict[tuple[int, object], int]()
    for contents in (
        [5, 6, 7],
        [6, 5],
        [5, 6, 8],
        ["a", "b"],
        ["b"],
        [10**15, 3],
        [5, 6, 7],
        [-1],
        [999_999],
        [5, "a"],
    ):
        before = -1
        expected = [before := plain.setdefault((before, one), len(plain)) for one in contents]
        assert chains.name(contents).tolist() == expected
    assert len(chains) == len(plain)


def test_what_the_reader_assumes_is_said(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 9000, "input_length": 700, "output_length": 0, "hash_ids": [1, 2]},
        {"timestamp": 4000.5, "input_length": 30.0, "output_length": 5},
    ]
    trace = read_trace(write(tmp_path, rows))
    assert [(one.arrival_s, one.num_output_tokens, one.line) for one in trace.requests] == [(0, 5, 2), (4.9995, 1, 1)]
    assert [note.split()[:2] for note in trace.notes] == [["1", "requests"], ["1", "requests"], ["The", "file"]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"timestamp": None}, ["line 2", "field timestamp", "missing"]),
        ({"timestamp": -1}, ["line 2", "field timestamp", "-1"]),
        ({"input_length": "12"}, ["line 2", "field input_length", "'12'"]),
        ({"input_length": 0}, ["line 2", "field input_length", "at least 1"]),
        ({"input_length": True}, ["field input_length", "True"]),
        ({"output_length": 1.5}, ["field output_length", "1.5"]),
        ({"hash_ids": [1, "2"]}, ["line 2", "field hash_ids", "whole numbers"]),
        ({"hash_ids": [1]}, ["line 2", "field hash_ids", "has 1 ids", "15 blocks of 512", "--block-tokens"]),
    ],
)
def test_errors_name_line_and_field(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        read_trace(write(tmp_path, [PUBLISHED[0], PUBLISHED[1] | changes]))
    assert all(word in str(caught.value) for word in ["trace.jsonl", *words])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no requests"),
        (["{"], "line 1: this is not JSON"),
        ([PUBLISHED[0], "[1]"], "line 2: [1] is not an object"),
        ([{"a": 1}], "neither a Mooncake trace"),
    ],
)
def test_files_that_are_no_traces(tmp_path: Path, rows: list[Any], words: str) -> None:
    with pytest.raises(BadInput, match=words.replace("[", r"\[").replace("{", r"\{")):
        read_trace(write(tmp_path, rows))


def test_no_such_file_or_format(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_trace(tmp_path / "none.jsonl")
    with pytest.raises(UnknownName, match="mooncake"):
        read_trace(write(tmp_path, PUBLISHED), "vidur")


SYSTEM = "You are a careful assistant. " * 40


def call(at: Any, turns: list[str], prompt_tokens: int, **changes: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": SYSTEM}] + [{"role": "user", "content": turn} for turn in turns]
    return {
        "created": at,
        "messages": messages,
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 9},
    } | changes


def test_logs_of_calls_share_what_their_texts_share(tmp_path: Path) -> None:
    question = "Tell me all about block tables, please. " * 10
    rows = [
        call(1_790_000_000, [question], 400),
        call(1_790_000_002.5, [question, "And then? " * 30], 475),
        call("2026-09-21T14:13:25Z", ["Something else entirely. " * 20], 430),
    ]
    trace = read_trace(write(tmp_path, rows))
    assert (trace.format, trace.block_tokens) == ("openai-log", 32)
    one, two, three = trace.requests
    assert [request.num_output_tokens for request in trace.requests] == [9, 9, 9]
    assert two.keys.tolist()[: len(one.keys) - 1] == one.keys.tolist()[:-1]
    shared = sum(a == b for a, b in zip(one.keys, three.keys, strict=False))
    # The system prompt is 1,160 of 1,568 characters: some 290 of 400 tokens, nine blocks of 32.
    assert 8 <= shared <= 9
    assert any("mean" in note for note in trace.notes)


def test_other_shapes_of_logs(tmp_path: Path) -> None:
    usage = {"input_tokens": 100, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 64}}
    rows = [
        {"time": 1_790_000_000_000, "request": {"prompt": "x" * 300}, "response": {"body": {"usage": usage}}},
        {
            "timestamp": "2026-09-21T13:20:05+00:00",
            "body": {"input": [{"role": "user", "content": [{"type": "text"}]}]},
            "usage": usage,
        },
        {"response": {"created": 1_790_000_009, "usage": usage}},
    ]
    trace = read_trace(write(tmp_path, rows))
    # 2026-09-21T13:20:05Z is 1,789,996,805 s: the second row came first.
    assert sorted(one.line for one in trace.requests) == [1, 2, 3] and trace.requests[0].line == 2
    assert any("192 cached prompt tokens, 64.0%" in note for note in trace.notes)
    assert any("1 requests have no prompt text" in note for note in trace.notes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"usage": {"prompt_tokens": 5}}, ["line 2", "field usage.output_tokens", "missing"]),
        ({"usage": {"prompt_tokens": -5, "completion_tokens": 1}}, ["line 2", "field usage.prompt_tokens", "-5"]),
        ({"usage": None}, ["line 2", "field usage", "missing"]),
        ({"created": None}, ["line 2", "field timestamp", "created_at"]),
        ({"created": "yesterday"}, ["line 2", "field created", "'yesterday'"]),
    ],
)
def test_errors_in_logs_name_line_and_field(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        read_trace(write(tmp_path, [call(1, ["a"], 300), call(2, ["b"], 300) | changes]), "openai-log")
    assert all(word in str(caught.value) for word in words)


def test_percentiles_are_nearest_ranks() -> None:
    """The worked example of Wikipedia's article on percentiles (nearest-rank method)."""
    ranked = [15, 20, 35, 40, 50]
    assert [percentile(ranked, percent) for percent in (5, 30, 40, 50, 100)] == [15, 20, 20, 35, 50]
    assert Distribution.of([]) is None
