"""From a request's messages to prompt tokens. Slow for long texts: call it from a thread."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from windowtax.base.errors import BadInput
from windowtax.engine.chat import render_chat, render_plain
from windowtax.engine.tokenizer import Tokenizer
from windowtax.server.errors import bad_field
from windowtax.server.toolcalls.prompt import with_tools_told

Message = dict[str, Any]
ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def chat_text(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    template: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    variables: Mapping[str, Any] | None = None,
    add_generation_prompt: bool = True,
) -> str:
    """The text that the model reads. template: instead of the model's own. Raises ApiError 400."""
    template = template or tokenizer.chat_template
    plain = [plain_message(message, place) for place, message in enumerate(messages)]
    if tools and (template is None or "tools" not in template):
        plain, tools = with_tools_told(plain, tools), None
    try:
        if template is None:
            return render_plain(plain)
        return render_chat(
            template,
            plain,
            tools=list(tools) if tools else None,
            bos_token=tokenizer.bos_token or "",
            eos_token=tokenizer.eos_token or "",
            **{"add_generation_prompt": add_generation_prompt, **(variables or {})},
        )
    except BadInput as error:
        raise bad_field("messages", f"{error.message} {error.hint}") from None
    except TypeError as error:  # a variable of the same name as one of ours
        raise bad_field("chat_template_kwargs", f"The chat template cannot be given these: {error}") from None


def chat_tokens(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a rendered chat. A template writes the special tokens itself; a base model's text has none."""
    return tokenizer.encode(text, add_special_tokens=tokenizer.chat_template is None)


def plain_message(message: Message, place: int) -> Message:
    """A message with its content as one text and its tool calls' arguments as objects, as templates want them."""
    where = f"messages[{place}]"
    role = message.get("role")
    if role not in ROLES:
        raise bad_field(f"{where}.role", f"{where}.role is {str(role)[:80]!r}; it may be {', '.join(ROLES)}.")
    made = dict(message, content=content_text(message.get("content"), f"{where}.content"))
    made["role"] = {"developer": "system", "function": "tool"}.get(role, role)
    calls = message.get("tool_calls")
    if calls:
        made["tool_calls"] = [_plain_call(call, f"{where}.tool_calls") for call in calls]
    else:
        made.pop("tool_calls", None)
    return made


def content_text(content: Any, where: str) -> str:
    """Text, or parts that are text, as one text. Raises ApiError 400 for anything else."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text", part.get("refusal")) if isinstance(part, Mapping) else None
        if isinstance(part, str):
            text = part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise bad_field(
                where, f"{where} holds {str(kind)[:40]!r}; this model reads text only.", "unsupported_content"
            )
        texts.append(text)
    return "".join(texts)


def _plain_call(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise bad_field(where, f"{where}: each call needs function.name and function.arguments.")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            raise bad_field(where, f"{where}: function.arguments must be JSON.") from None
    return {**call, "function": {**function, "arguments": arguments}}
