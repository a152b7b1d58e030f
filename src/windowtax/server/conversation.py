"""What chats, Responses and Messages have in common: messages and tools in, a prompt, settings and a reader out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fastapi.concurrency import run_in_threadpool

from windowtax.engine.grammar import Grammar
from windowtax.engine.sampling import SamplingParams
from windowtax.server.call import Call
from windowtax.server.errors import Json, bad_field
from windowtax.server.fields import SamplingFields
from windowtax.server.generate import Ask, Generation
from windowtax.server.grammars import ANY_OBJECT, calls_grammar, schema_grammar, structured_grammar
from windowtax.server.parts import PromptParts
from windowtax.server.prompts import chat_text, chat_tokens, plain_message
from windowtax.server.reasoning import ThoughtCount, ThoughtReader, Thoughts
from windowtax.server.served import Served
from windowtax.server.toolcalls.deltas import PlainReader, Reader
from windowtax.server.toolcalls.formats import HELD, HERMES, MARKS, reader_of

NONE, AUTO, REQUIRED = "none", "auto", "required"


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """messages: in OpenAI's shape. tools: functions, each with name, description, parameters.

    tool_choice: NONE, AUTO, REQUIRED, or the name of the one that must be called. schema: that the answer must fit.
    structured: vLLM's structured_outputs. variables: for the chat template. names: of the messages, as the client knows
    them; messages[0] and so on where empty.
    """

    messages: Sequence[Json]
    tools: Sequence[Json] = ()
    tool_choice: str = AUTO
    several_calls: bool = True
    schema: Json | None = None
    structured: Json | None = None
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    names: Sequence[str] = ()

    @property
    def must_call(self) -> bool:
        """Whether the answer has to call a tool."""
        return self.tool_choice not in (NONE, AUTO)

    @property
    def offered(self) -> list[Json]:
        """The tools that this answer may call."""
        if self.tool_choice == NONE:
            return []
        if self.tool_choice in (AUTO, REQUIRED):
            return list(self.tools)
        return [tool for tool in self.tools if tool["name"] == self.tool_choice]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A prompt with settings for each of its answers. text: what the model reads, for explanations.

    tool_format: of calls in the answers; None: there are none. thoughts: how those before an answer are marked; None:
    they are not looked for. counts: of the tokens of thoughts, one per answer.
    """

    prompt_ids: list[int]
    params: list[SamplingParams]
    ask: Ask
    text: str
    tool_format: str | None
    thoughts: Thoughts | None
    counts: list[ThoughtCount]

    def reader(self) -> Reader:
        """Reads one answer."""
        answer = PlainReader() if self.tool_format is None else reader_of(self.tool_format)
        return answer if self.thoughts is None else ThoughtReader(self.thoughts, answer)

    def thought_tokens(self, generation: Generation) -> int:
        """Of all answers' tokens so far, those of thoughts."""
        known = [(count, ticket.request) for count, ticket in zip(self.counts, generation.tickets, strict=False)]
        return sum(count.of(request.output_ids) for count, request in known if request is not None)


async def prepare(
    served: Served,
    call: Call,
    conversation: Conversation,
    fields: SamplingFields,
    *,
    endpoint: str,
    max_tokens: int | None,
    n: int = 1,
    **more: Any,
) -> Prepared:
    """Everything up to the engine. Raises ApiError 400 for what cannot be done, and where it does not fit."""
    conversation, changes = await run_in_threadpool(normalized, served, conversation)
    text, whole_ids = await run_in_threadpool(tokenize, served, conversation)
    prompt_ids = cut(served, call, whole_ids, fields)
    thoughts = None if served.thoughts is None else served.thoughts.after(text)
    tool_format = _tool_format(served, call, conversation)
    grammar = await run_in_threadpool(_grammar, served, conversation, tool_format, thoughts)
    room = served.room(len(prompt_ids), max_tokens)
    marks = [*MARKS.get(tool_format or "", ()), *((thoughts.begin, thoughts.end) if thoughts else ())]
    shown = not fields.skip_special_tokens or served.shows_special_tokens(marks)
    params = choices(fields, n, room, grammar=grammar, show_special_tokens=shown, **more)
    ask = Ask(
        endpoint=endpoint,
        prompts=[prompt_ids],
        params=params,
        salt=fields.cache_salt or "",
        priority=fields.priority,
        timeout_s=fields.timeout,
        parts=partial(_parts, served, conversation, text, whole_ids[: len(whole_ids) - len(prompt_ids)]),
        explain=fields.explain_cache,
        normalized=changes,
    )
    counts = [] if thoughts is None else [ThoughtCount(served.tokenizer, thoughts) for _ in params]
    return Prepared(
        prompt_ids=prompt_ids, params=params, ask=ask, text=text,
        tool_format=tool_format, thoughts=thoughts, counts=counts,
    )  # fmt: skip


def normalized(served: Served, conversation: Conversation) -> tuple[Conversation, list[Json]]:
    """The conversation as --normalize leaves it, and what that changed. Raises ApiError 400."""
    normalizer = served.settings.normalizer
    if not normalizer.rules:
        return conversation, []
    messages, changes = normalizer.apply(conversation.messages)
    return replace(conversation, messages=messages), [change.record(conversation.names) for change in changes]


def _parts(served: Served, conversation: Conversation, text: str, cut_ids: Sequence[int]) -> PromptParts:
    messages = [plain_message(message, place) for place, message in enumerate(conversation.messages)]
    skipped = len(served.tokenizer.decode(cut_ids, False))
    return PromptParts.of(text, messages, told_tools(conversation.offered), conversation.names, skipped)


def choices(fields: SamplingFields, n: int, max_tokens: int, **more: Any) -> list[SamplingParams]:
    """Settings for each of n answers: a seed is counted up, so that they differ and can still be had again."""
    found: list[SamplingParams] = []
    for choice in range(n):
        seed = None if fields.seed in (None, -1) else fields.seed + choice
        found.append(fields.params(max_tokens, **{"seed": seed, **more}))
    return found


def cut(served: Served, call: Call, prompt_ids: list[int], fields: SamplingFields) -> list[int]:
    """The prompt, or its end where the client asked for that and nothing more; said and counted, never silent."""
    keep = fields.truncate_prompt_tokens
    if keep is None or len(prompt_ids) <= keep:
        return prompt_ids
    served.metrics.truncated += 1
    call.warn(f"truncate_prompt_tokens cut the first {len(prompt_ids) - keep:,} of {len(prompt_ids):,} prompt tokens.")
    return prompt_ids[-keep:]


def functions(tools: Sequence[Json] | None, where: str = "tools") -> list[Json]:
    """The functions of OpenAI's tools. Raises ApiError 400 for tools of other sorts."""
    found: list[Json] = []
    for place, tool in enumerate(tools or []):
        function = tool.get("function", tool)
        if tool.get("type", "function") != "function" or not isinstance(function, Mapping):
            raise bad_field(f"{where}[{place}]", f"{where}[{place}] is no function; this server calls nothing itself.")
        parameters, strict = function.get("parameters"), function.get("strict") is True
        found.append(function_tool(function.get("name"), function.get("description"), parameters, where, strict))
    return found


def function_tool(name: Any, description: Any, parameters: Any, where: str, strict: bool = False) -> Json:
    """One function. strict: calls must fit its schema. Raises ApiError 400 without a name, or a schema that is none."""
    if not isinstance(name, str) or not name:
        raise bad_field(where, f"{where}: each function needs a name.")
    if parameters is not None and not isinstance(parameters, dict):
        raise bad_field(where, f"{where}: the parameters of {name[:80]!r} must be a JSON schema.")
    return {"name": name, "description": description or "", "parameters": parameters or ANY_OBJECT, "strict": strict}


def told_tools(tools: Sequence[Json]) -> list[Json]:
    """Tools as chat templates want them."""
    names = ("name", "description", "parameters")
    return [{"type": "function", "function": {name: tool[name] for name in names}} for tool in tools]


def chosen_tool(choice: Any, tools: Sequence[Json]) -> str:
    """What `tool_choice` means: a word, or the name of a function. Raises ApiError 400."""
    if choice is None:
        return AUTO
    if isinstance(choice, Mapping):
        function = choice.get("function", choice)
        choice = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(choice, str) or choice not in {tool["name"] for tool in tools}:
            raise bad_field("tool_choice", f"tool_choice names {str(choice)[:80]!r}, which is not among the tools.")
        return choice
    if choice not in (NONE, AUTO, REQUIRED):
        raise bad_field(
            "tool_choice", f"tool_choice is {str(choice)[:80]!r}; write none, auto, required or a function."
        )
    if choice == REQUIRED and not tools:
        raise bad_field("tool_choice", "tool_choice is required, but there are no tools.")
    return str(choice)


def response_schema(response_format: Any, where: str = "response_format") -> Json | None:
    """The schema that an answer must fit, from OpenAI's response_format (or Responses' text.format)."""
    if response_format is None:
        return None
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return ANY_OBJECT
    if kind == "json_schema":
        inner = response_format.get("json_schema", response_format)
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
        if isinstance(schema, dict):
            return schema
    raise bad_field(where, f"{where} needs type text, json_object, or json_schema with a schema.")


def tokenize(served: Served, conversation: Conversation) -> tuple[str, list[int]]:
    """The text that the model reads, and its tokens. Raises ApiError 400. Slow: call it from a thread."""
    text = chat_text(
        served.tokenizer,
        conversation.messages,
        template=served.settings.chat_template,
        tools=told_tools(conversation.offered),
        variables=conversation.variables,
    )
    return text, chat_tokens(served.tokenizer, text)


def _tool_format(served: Served, call: Call, conversation: Conversation) -> str | None:
    """In which format calls come; None without tools. Where they are required they are held to one that can be."""
    if not conversation.offered or served.tool_format in HELD:
        return served.tool_format if conversation.offered else None
    if conversation.must_call:
        return HERMES
    if any(tool["strict"] for tool in conversation.offered):
        call.warn(f"strict has no effect: calls in the format {served.tool_format} are not held to schemas.")
    return served.tool_format


def _grammar(
    served: Served, conversation: Conversation, tool_format: str | None, thoughts: Thoughts | None
) -> Grammar | None:
    """What the answer must follow, behind its thoughts."""
    grammar = _answer_grammar(served, conversation, tool_format)
    if grammar is None or thoughts is None:
        return grammar
    return served.grammars.after_thoughts(grammar, thoughts.begin, thoughts.end, opened=thoughts.opened)


def _answer_grammar(served: Served, conversation: Conversation, tool_format: str | None) -> Grammar | None:
    """What the answer must follow: calls where they are required or strict, else the schema that was asked for."""
    offered, required = conversation.offered, conversation.must_call
    if tool_format in HELD and (required or any(tool["strict"] for tool in offered)):
        return calls_grammar(
            served.grammars,
            offered,
            tool_format,
            required=required,
            parallel=conversation.several_calls and conversation.tool_choice in (AUTO, REQUIRED),
        )
    if conversation.schema is not None:
        return schema_grammar(served.grammars, conversation.schema)
    return structured_grammar(served.grammars, conversation.structured)
