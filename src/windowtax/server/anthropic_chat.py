"""Anthropic's messages and tools in OpenAI's shape, which is what chat templates know."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from windowtax.server.conversation import (
    AUTO,
    NONE,
    REQUIRED,
    Conversation,
    chosen_tool,
    function_tool,
    response_schema,
)
from windowtax.server.errors import Json, bad_field
from windowtax.server.prompts import content_text

_CHOICES = {"auto": AUTO, "any": REQUIRED, "none": NONE}


def conversation_of(
    messages: Sequence[Json],
    system: str | list[Json] | None,
    tools: Sequence[Json] | None,
    tool_choice: Mapping[str, Any] | None,
    output_config: Mapping[str, Any] | None,
    thinking: Mapping[str, Any] | None,
) -> Conversation:
    """The conversation of a message's body; templates that can think are told whether to. Raises ApiError 400."""
    offered = openai_tools(tools or [])
    choice = tool_choice or {"type": "auto"}
    kind = choice.get("type")
    if kind == "tool":
        chosen = chosen_tool({"name": choice.get("name")}, offered)
    elif kind in _CHOICES:
        chosen = chosen_tool(_CHOICES[kind], offered)
    else:
        raise bad_field("tool_choice", f"tool_choice.type is {str(kind)[:80]!r}; write auto, any, tool or none.")
    named = [("system", {"role": "system", "content": content_text(system, "system")})] if system else []
    named += [(f"messages[{i}]", made) for i, message in enumerate(messages) for made in openai_messages(message, i)]
    return Conversation(
        messages=[message for _, message in named],
        names=[name for name, _ in named],
        tools=offered,
        tool_choice=chosen,
        several_calls=choice.get("disable_parallel_tool_use") is not True,
        schema=response_schema((output_config or {}).get("format"), "output_config.format"),
        variables={} if thinking is None else {"enable_thinking": thinking.get("type") != "disabled"},
    )


def openai_tools(tools: Sequence[Json]) -> list[Json]:
    """Client tools as functions. Raises ApiError 400 for those that Anthropic runs itself."""
    found: list[Json] = []
    for place, tool in enumerate(tools):
        if tool.get("type", "custom") != "custom":
            kind = str(tool["type"])[:80]
            raise bad_field("tools", f"tools[{place}] is of type {kind!r}, which runs at Anthropic, not here.")
        strict = tool.get("strict") is True
        found.append(
            function_tool(tool.get("name"), tool.get("description"), tool.get("input_schema"), "tools", strict)
        )
    return found


def openai_messages(message: Json, place: int) -> list[Json]:
    """A message with content blocks, taken apart: a tool's result is a message of its own there."""
    where, role, content = f"messages[{place}]", message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise bad_field(f"{where}.role", f"{where}.role is {str(role)[:80]!r}; write user or assistant.")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if isinstance(content, list) and all(isinstance(block, Mapping) for block in content):
        return _blocks(str(role), content, where)
    raise bad_field(f"{where}.content", f"{where}.content must be a text or a list of content blocks.")


def _blocks(role: str, blocks: Sequence[Json], where: str) -> list[Json]:
    results: list[Json] = []
    calls: list[Json] = []
    texts: list[str] = []
    thoughts = ""
    for block in blocks:
        kind = block.get("type")
        if kind == "tool_result":
            text = content_text(block.get("content"), f"{where}.content")
            results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text})
        elif kind == "tool_use":
            arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "thinking":
            thoughts += str(block.get("thinking") or "")
        elif kind != "redacted_thinking":
            texts.append(content_text([block], f"{where}.content"))
    spoken: Json = {"role": role, "content": "\n".join(texts)}
    if thoughts:
        spoken["reasoning_content"] = thoughts  # templates show those that they want to be seen again
    if calls:
        spoken["tool_calls"] = calls
    return [*results, spoken] if texts or calls or not results else results
