"""Thoughts before an answer: apart from it in all dialects, whole and streamed, counted, and free of its grammar."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.harness import say
from tests.server.harness import CHATML, Running, serving
from windowtax.base.errors import BadInput
from windowtax.engine.grammar import HERMES_CALLS, Grammar, Grammars
from windowtax.engine.load import LoadedModel
from windowtax.server.reasoning import PARSERS, ThoughtReader, Thoughts, thought_text, thoughts_of
from windowtax.server.settings import Settings
from windowtax.server.toolcalls.deltas import TextDelta
from windowtax.server.toolcalls.formats import HERMES, reader_of

THINK = Thoughts("<think>", "</think>")
OPENED = Thoughts("<think>", "</think>", opened=True)
TEMPLATE = (
    CHATML.replace("{{ message.content }}", "{{ message.reasoning_content or '' }}{{ message.content }}")
    + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
SAID = "<think>\nFirst, this.\nThen that.\n</think>\n\nFine."
CHAT: Any = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 200}
CASES = [
    (THINK, SAID, "First, this.\nThen that.", "Fine."),
    (THINK, "  Fine. <think>no</think>", "", "  Fine. <think>no</think>"),
    (THINK, "<thin", "", "<thin"),
    (THINK, "", "", ""),
    (THINK, "<think>never ending </thin", "never ending </thin", ""),
    (THINK, "<think></think>Fine.", "", "Fine."),
    (OPENED, "First.\n</think>\nFine.", "First.", "Fine."),
    (OPENED, "<think>First.</think>Fine.", "First.", "Fine."),
    (OPENED, "</think>Fine.", "", "Fine."),
]


def read(marks: Thoughts, pieces: list[str]) -> tuple[str, str]:
    reader = ThoughtReader(marks, reader_of(HERMES))
    thoughts, rest = thought_text([delta for piece in pieces for delta in reader.push(piece)] + reader.finish())
    return thoughts, "".join(delta.text for delta in rest if isinstance(delta, TextDelta))


@settings(deadline=None)
@given(st.data(), st.sampled_from(CASES))
def test_alike_however_it_comes(data: st.DataObject, case: tuple[Thoughts, str, str, str]) -> None:
    marks, text, thoughts, answer = case
    assert read(marks, [text]) == read(marks, list(text)) == (thoughts, answer)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(marks, pieces) == (thoughts, answer)


def test_templates_and_flags_tell_the_marks() -> None:
    assert thoughts_of("auto", "{{ messages }}") is thoughts_of("auto", None) is thoughts_of("none", TEMPLATE) is None
    assert thoughts_of("auto", TEMPLATE) == thoughts_of("qwen3", None) == THINK
    assert thoughts_of("deepseek_r1", None) == OPENED and PARSERS["mistral"].begin == "[THINK]"
    with pytest.raises(BadInput, match="wibble"):
        thoughts_of("wibble", None)
    assert THINK.after("...<think>\n") == OPENED, "the prompt has begun them"
    assert THINK.after("...<think>\n\n</think>\n\n") is None, "the prompt has ended them"


@pytest.fixture(scope="module")
def thinker(model: LoadedModel) -> Iterator[Running]:
    with serving(model, settings=Settings(names=("tiny",), chat_template=TEMPLATE)) as running:
        yield running


def saying(server: Running, text: str) -> None:
    """The next answer has this text: the model's own choices are random ones."""
    say(server.engine, [*server.served.tokenizer.encode(text), *server.served.tokenizer.encode("<|im_end|>")])


NUM_THOUGHTS = SAID.index("</think>") + len("</think>")
"""Tokens, since each is a byte."""


def test_chats(thinker: Running) -> None:
    with openai.OpenAI(base_url=f"{thinker.url}/v1", api_key="none", max_retries=0) as client:
        saying(thinker, SAID)
        answer: Any = client.chat.completions.create(model="tiny", **CHAT)
        saying(thinker, SAID)
        options: Any = {"stream": True, "stream_options": {"include_usage": True}}
        chunks: list[Any] = list(client.chat.completions.create(model="tiny", **CHAT, **options))
    message = answer.choices[0].message
    assert (message.reasoning_content, message.content) == ("First, this.\nThen that.", "Fine.")
    assert answer.usage.completion_tokens_details.reasoning_tokens == NUM_THOUGHTS
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == message.reasoning_content
    assert "".join(delta.content or "" for delta in deltas) == "Fine."
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens == NUM_THOUGHTS


def test_thoughts_that_the_client_does_not_want_at_all(thinker: Running) -> None:
    saying(thinker, "Fine.")
    body = CHAT | {"chat_template_kwargs": {"enable_thinking": False}}
    answer = thinker.post("/v1/chat/completions", body).json()
    assert answer["choices"][0]["message"]["content"] == "Fine."
    assert "reasoning_content" not in answer["choices"][0]["message"]
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


def test_calls_behind_thoughts(thinker: Running) -> None:
    saying(thinker, '<think>I call.</think><tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>')
    body = CHAT | {"tools": [{"type": "function", "function": {"name": "f"}}]}
    choice = thinker.post("/v1/chat/completions", body).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["reasoning_content"] == "I call."
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}


def test_responses(thinker: Running) -> None:
    with openai.OpenAI(base_url=f"{thinker.url}/v1", api_key="none", max_retries=0) as client:
        saying(thinker, SAID)
        asked: Any = {"model": "tiny", "input": "x", "max_output_tokens": 200}
        whole: Any = client.responses.create(**asked)
        saying(thinker, SAID)
        with client.responses.stream(**asked) as stream:
            events: list[Any] = list(stream)
            final: Any = stream.get_final_response()
    for response in (whole, final):
        assert [item.type for item in response.output] == ["reasoning", "message"]
        assert response.output[0].content[0].text == "First, this.\nThen that." and response.output_text == "Fine."
        assert response.usage.output_tokens_details.reasoning_tokens == NUM_THOUGHTS
    told = "".join(event.delta for event in events if event.type == "response.reasoning_text.delta")
    assert told == "First, this.\nThen that."


def test_messages(thinker: Running) -> None:
    with anthropic.Anthropic(base_url=thinker.url, api_key="none", max_retries=0) as client:
        asked: Any = {"model": "tiny", **CHAT, "thinking": {"type": "enabled", "budget_tokens": 1024}}
        saying(thinker, SAID)
        whole: Any = client.messages.create(**asked)
        saying(thinker, SAID)
        with client.messages.stream(**asked) as stream:
            events: list[Any] = list(stream)
            final: Any = stream.get_final_message()
    for message in (whole, final):
        assert [block.type for block in message.content] == ["thinking", "text"]
        assert message.content[0].thinking == "First, this.\nThen that." and message.content[1].text == "Fine."
    kinds = [event.delta.type for event in events if event.type == "content_block_delta"]
    assert kinds.count("signature_delta") == 1 and kinds.index("signature_delta") < kinds.index("text_delta")


def test_earlier_thoughts_reach_the_template(thinker: Running) -> None:
    thought = {"type": "thinking", "thinking": "DEEP", "signature": ""}
    asked: Any = {"role": "user", "content": "x"}
    blocks = {"role": "assistant", "content": [thought, {"type": "text", "text": "y"}]}
    counts = [
        thinker.post("/v1/messages/count_tokens", {"messages": [asked, {"role": "assistant", "content": "y"}, asked]}),
        thinker.post("/v1/messages/count_tokens", {"messages": [asked, blocks, asked]}),
    ]
    plain, more = (count.json()["input_tokens"] for count in counts)
    assert more == plain + len("DEEP")
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "DEEP"}]}
    spoken = {"role": "assistant", "content": "y"}
    usages = []
    for items in ([asked, spoken, asked], [asked, item, spoken, asked]):
        saying(thinker, "z")
        usages.append(thinker.post("/v1/responses", {"input": items, "max_output_tokens": 9}).json()["usage"])
    assert usages[1]["input_tokens"] == usages[0]["input_tokens"] + len("DEEP")


def test_a_grammar_begins_behind_the_thoughts(model: LoadedModel) -> None:
    assert model.tokenizer is not None
    grammars = Grammars(model.tokenizer, model.spec.vocab_size)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    tools = grammars.tool_calls({"f": schema}, HERMES_CALLS, required=True, parallel=True)
    call = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    for grammar, good, bad in (
        (grammars.json_schema(schema), '{"a": 1}', '{"b": 1}'),
        (grammars.regex("ab+"), "abb", "ba"),
        (grammars.choice(["yes", "no"]), "no", "maybe"),
        (tools, call, call.replace('"f"', '"g"')),
    ):
        opened = grammars.after_thoughts(grammar, "<think>", "</think>", opened=True)
        free = grammars.after_thoughts(grammar, "<think>", "</think>", opened=False)
        assert _follows(model, opened, f"hm, {bad}?\n</think>\n\n{good}")
        assert not _follows(model, opened, f"hm</think>{bad}") and not _follows(model, opened, good)
        assert _follows(model, free, f"<think>\n{bad}?</think>\n\n{good}") and _follows(model, free, good)
        assert not _follows(model, free, bad) and not _follows(model, free, f"hm</think>{good}")


def _follows(model: LoadedModel, grammar: Grammar, text: str) -> bool:
    """Whether a whole answer fits: every token is allowed, and then its end."""
    assert model.tokenizer is not None
    follower = grammar.follow()
    for token in [*model.tokenizer.encode(text), *model.tokenizer.encode("<|im_end|>")]:
        if not follower.allows(token):
            return follower.ended and token == model.tokenizer.encode("<|im_end|>")[0]
        follower.advance([token])
    return True
