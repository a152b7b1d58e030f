"""--normalize: what it takes out of a system prompt, where that goes, what it says of it, and what the cache gains."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.server.harness import Running, serving
from windowtax.base.errors import BadInput
from windowtax.engine.load import LoadedModel
from windowtax.server.normalize import Normalizer, logged
from windowtax.server.settings import Settings

# As Claude Code sends it: github.com/ggml-org/llama.cpp pull request 20623, waybarrios/vllm-mlx pull request 277.
BILLING = "x-anthropic-billing-header: cc_version=2.1.37.0d9; cc_entrypoint=cli; cch={};"


def normalized(words: str | list[str], system: str) -> tuple[str, str, list[str]]:
    """The system message and the user's, and what was changed."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "Q"}]
    made, changes = Normalizer.parse([words] if isinstance(words, str) else words).apply(messages)
    return made[0]["content"], made[1]["content"], [f"{one.kind} {one.place}" for one in changes]


@pytest.mark.parametrize(
    ("system", "left"),
    [
        (f"{BILLING.format('fa690')}You are Claude Code.", "You are Claude Code."),
        (f"{BILLING.format('fa690')}\nYou are Claude Code.", "You are Claude Code."),
        (f"Be kind.\n{BILLING.format('0')}\n\nMore.", "Be kind.\n\nMore."),
        ("x-other-billing-header: a=1\nRest", "Rest"),
    ],
)
def test_a_billing_header_goes_and_what_was_joined_to_it_stays(system: str, left: str) -> None:
    assert normalized("billing", system) == (left, "Q", ["billing drop"])


@pytest.mark.parametrize(
    "line",
    [
        "Today's date is 2026-11-22.",
        "Today’s date: November 22, 2026",
        "- Today: 22 Nov 2026",
        "Current date: Sunday, 22nd of November 2026",
        "**Current date:** 2026-11-22",
        "Today Date: 26 Jul 2024",
        "Today's date (UTC): 2026/11/22",
        "current_date: 2026-11-22",
        "The date is 22.11.2026;",
    ],
)
def test_a_date_moves_to_the_end_of_the_system_part(line: str) -> None:
    expected = ("You are kind.\nBe brief.\n\n" + line, "Q", ["date system"])
    assert normalized("date", f"You are kind.\n{line}\nBe brief.") == expected
    assert normalized("time", f"You are kind.\n{line}\nBe brief.")[2] == []


@pytest.mark.parametrize(
    "line",
    [
        "The current date and time is Sunday, November 22, 2026 at 14:03:55 UTC.",
        "Current time: 2026-11-22T14:03:55.123Z",
        "Current DateTime: Sun Nov 22 2026 14:03:55 GMT+0000 (Coordinated Universal Time)",
        "Date: 11/22/2026, 2:03 PM",
        "It is now 14:03.",
        "Now: 2026-11-22 14:03:55+00:00",
        "Current date: Sun Nov 22 14:03:55 UTC 2026",
        "Timestamp: 1763820235",
    ],
)
def test_a_time_moves_to_the_end_of_the_last_message(line: str) -> None:
    assert normalized("time", f"You are kind.\n{line}\nBe brief.") == (
        "You are kind.\nBe brief.", f"Q\n\n{line}", ["time last"],
    )  # fmt: skip
    assert normalized("date", f"You are kind.\n{line}\nBe brief.")[2] == []


@pytest.mark.parametrize(
    "system",
    [
        "Knowledge cutoff: 2023-10",
        "Cutting Knowledge Date: December 2023",
        "You are careful and kind, and today it is 2026-11-22.",
        "Today is 2026-11-22, a Sunday.",
        "Date of birth: 2001-01-01",
        "time: 12:30 daily standup",
        "The session id format is abc123def.",
        "Section 4: see 3.2.1",
        "Today is the 3rd day.",
    ],
)
def test_what_is_fixed_or_part_of_a_sentence_stays(system: str) -> None:
    assert normalized("all", system) == (system, "Q", [])


@pytest.mark.parametrize(
    "line",
    ["Request ID: req_8f2a9c1d", "session_id=550e8400-e29b-41d4-a716-446655440000", "x-trace-id: 0af7651916cd43dd"],
)
def test_ids_move_to_the_last_message(line: str) -> None:
    assert normalized("ids", f"Be kind.\n{line}\nGo.") == ("Be kind.\nGo.", f"Q\n\n{line}", ["ids last"])


@pytest.mark.parametrize(
    ("word", "line", "becomes"),
    [
        ("time=day", "Current time: 2026-11-22T14:03:55.123Z", "Current time: 2026-11-22"),
        ("time=day", "Now: Sunday, November 22, 2026 at 2:03:55 PM UTC.", "Now: Sunday, November 22, 2026."),
        ("time=hour", "Current time: 2026-11-22T14:03:55.123Z", "Current time: 2026-11-22T14:00Z"),
        ("time=hour", "It is now 2:03 PM.", "It is now 2:00 PM."),
    ],
)
def test_a_time_can_be_coarsened_and_that_is_told(word: str, line: str, becomes: str) -> None:
    messages = [{"role": "system", "content": f"Be kind.\n{line}"}, {"role": "user", "content": "Q"}]
    made, (change,) = Normalizer.parse([word]).apply(messages)
    assert made[0]["content"].endswith(f"\n\n{becomes}") and made[1]["content"] == "Q"
    told = change.record()
    assert (told["text"], told["becomes"]) == (line, becomes) and "cut to the" in told["what"]


def test_a_time_without_a_day_is_never_lost() -> None:
    assert normalized("time=day", "It is now 14:03.") == ("", "Q\n\nIt is now 14:03.", ["time last"])


def test_own_patterns_and_what_the_log_has_of_them() -> None:
    assert normalized(["/^Build: .*$/=last", "date"], "A\nBuild: 7, of Monday\nB") == (
        "A\nB", "Q\n\nBuild: 7, of Monday", ["own last"],
    )  # fmt: skip
    messages = [{"role": "system", "content": "Customer: Jane\nToday is 2026-11-22."}]
    _, changes = Normalizer.parse(["/^Customer: .*$/=system", "date"]).apply(messages)
    told = str(logged([change.record() for change in changes]))
    assert "Jane" not in told and "2026-11-22" in told


def test_only_the_system_part_is_touched_whatever_shape_it_has() -> None:
    line = "Today's date is 2026-11-22."
    parts = [{"type": "text", "text": "Be kind.\n"}, {"type": "text", "text": "It is now 14:03.\nAnd short."}]
    messages = [
        {"role": "system", "content": parts},
        {"role": "user", "content": line},
        {"role": "assistant", "content": line},
        {"role": "system", "content": line},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "found"}]},
        {"role": "assistant", "content": "So"},
    ]
    made, changes = Normalizer.parse(["all"]).apply(messages)
    assert made[0]["content"] == "Be kind.\nAnd short." and made[1:4] == messages[1:4] and made[5] == messages[5]
    assert made[4]["content"] == [{"type": "text", "text": "found"}, {"type": "text", "text": "\n\nIt is now 14:03."}]
    assert [change.record()["to"] for change in changes] == ["messages[4]"]
    assert messages[0]["content"] == parts, "what was given is not changed"


def test_without_another_message_a_line_stays_in_the_system_part() -> None:
    made, (change,) = Normalizer.parse(["time"]).apply([{"role": "system", "content": "It is now 14:03. Be kind."}])
    assert made == [{"role": "system", "content": "Be kind.\n\nIt is now 14:03."}] and change.to == 0


@pytest.mark.parametrize(
    "word", ["dates", "date=hour", "billing=day", "/[/=last", "/x/", "/x/=hour", "all=drop", "date,date", "all,time"]
)
def test_words_that_make_no_sense(word: str) -> None:
    with pytest.raises(BadInput):
        Normalizer.parse([word])


@pytest.mark.parametrize("text", ["Today is " * 50_000, "1" * 200_000, "x-billing: " + "a=" * 100_000, "a1" * 100_000])
def test_long_prompts_are_read_once(text: str) -> None:
    """Patterns that backtrack would take hours here."""
    assert normalized("all", text)[1] == "Q" or text.startswith("x-")


@pytest.fixture(scope="module")
def tidy(model: LoadedModel) -> Iterator[Running]:
    settings = Settings(names=("tiny",), usd_per_hour=0.36, normalizer=Normalizer.parse(["all"]))
    with serving(model, window=1024, settings=settings) as running:
        yield running


def test_claude_codes_prompts_hit_and_the_answer_says_what_was_changed(tidy: Running) -> None:
    """The pain of every engine: a new cch in every call, at the very beginning (anthropics/claude-code issue 68900)."""

    def ask(cch: str, question: str) -> Any:
        header = {"type": "text", "text": BILLING.format(cch)}
        system: Any = [header, {"type": "text", "text": "You are careful. " * 12}]
        return client.messages.create(
            model="tiny", max_tokens=2, system=system, messages=[{"role": "user", "content": question}]
        )

    with anthropic.Anthropic(base_url=tidy.url, api_key="none", max_retries=0) as client:
        first, second = ask("fa690", "one"), ask("eb6c6", "two")
        counted = client.messages.count_tokens(
            model="tiny", system="You are careful. " * 12, messages=[{"role": "user", "content": "two"}]
        )
    assert not first.usage.cache_read_input_tokens and (second.usage.cache_read_input_tokens or 0) > 190
    assert counted.input_tokens == second.usage.input_tokens + (second.usage.cache_read_input_tokens or 0)
    (told,) = second.usage.model_dump()["windowtax"]["normalized"]
    assert told == {
        "kind": "billing", "from": "system", "text": BILLING.format("eb6c6"), "becomes": "", "to": None,
        "what": "removed",
    }  # fmt: skip


def test_a_conversation_with_a_clock_keeps_its_prefix(tidy: Running) -> None:
    def ask(time: str, *turns: str) -> Any:
        said = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 3, turns, strict=False)]
        system = {"role": "system", "content": f"The current time is {time}. {'Be brief. ' * 12}"}
        body = {"messages": [system, *said], "max_tokens": 2, "explain_cache": True}
        return tidy.post("/v1/chat/completions", body).json()["usage"]

    long = "A long first question, for a few blocks. " * 3
    ask("14:03:55", long)
    usage = ask("14:04:10", long, "an answer", "And?")
    assert usage["prompt_tokens_details"]["cached_tokens"] > 200, "system part and first question are found"
    (told,) = usage["windowtax"]["normalized"]
    assert (told["from"], told["to"]) == ("messages[0]", "messages[3]") and told[
        "text"
    ] == "The current time is 14:04:10."
    kept = tidy.client.get("/v1/cache/explain").json()["requests"][0]
    assert kept["normalized"] == [told]


def test_tokenize_counts_what_a_request_would_have(tidy: Running) -> None:
    messages = [{"role": "system", "content": f"{BILLING.format('1')}Be kind."}, {"role": "user", "content": "Q"}]
    counted = tidy.post("/tokenize", {"messages": messages}).json()["count"]
    usage = tidy.post("/v1/chat/completions", {"messages": messages, "max_tokens": 1}).json()["usage"]
    assert usage["prompt_tokens"] == counted


def test_nothing_is_changed_unless_it_was_asked_for(server: Running) -> None:
    content = f"{BILLING.format('1')}\nToday's date is 2026-11-22. It is now 14:03."
    messages = [{"role": "system", "content": content}, {"role": "user", "content": "Q"}]
    usage = server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 1}).json()["usage"]
    rendered = f"<|im_start|>system\n{content}<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
    assert usage["prompt_tokens"] == server.post("/tokenize", {"prompt": rendered}).json()["count"]
    assert "normalized" not in usage["windowtax"]
