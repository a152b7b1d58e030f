"""Chats -> text, by the Jinja template that a model carries; rendered as transformers renders it, in a sandbox."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from windowtax.base.errors import BadInput

Message = Mapping[str, Any]


def render_chat(
    template: str,
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool = True,
    tools: Sequence[Mapping[str, Any]] | None = None,
    bos_token: str | None = None,
    eos_token: str | None = None,
    **variables: Any,
) -> str:
    """The text of a chat. Encode it with `add_special_tokens=False`: templates write the begin token themselves.

    messages: dicts with role and content, as in OpenAI's API. tools: JSON schemas. variables: what else the template
    may ask for (enable_thinking, documents ...). Raises BadInput with the template's own message where it refuses.
    """
    ends = {"bos_token": bos_token, "eos_token": eos_token}
    try:
        return _compiled(template).render(
            messages=[dict(message) for message in messages],
            tools=None if tools is None else list(tools),
            documents=variables.pop("documents", None),
            add_generation_prompt=add_generation_prompt,
            **{name: token for name, token in ends.items() if token is not None},
            **variables,
        )
    except Exception as error:  # a template is a program of the model's: whatever it raises is about this chat
        raise BadInput(
            f"The model's chat template refuses this chat: {error}",
            "Each message needs a role that the template knows and its content; many models want user and assistant "
            "to take turns, beginning with user.",
        ) from error


def render_plain(messages: Sequence[Message]) -> str:
    """The text of a chat for a model without a template: a base model, which goes on writing what it reads.

    A single message is given as it stands, so that the model continues it. Several become a transcript ("User: ...",
    "Assistant: ...") that ends where the assistant's answer begins. The caller chooses this; nothing falls back to it.
    """
    texts = [_text(message) for message in messages]
    if len(texts) == 1:
        return texts[0]
    lines = [
        f"{str(message.get('role', '')).capitalize()}: {text}" for message, text in zip(messages, texts, strict=True)
    ]
    return "\n\n".join([*lines, "Assistant:"])


def _text(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
    if not texts or len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        raise BadInput(
            f"The content of a message is not text: {json.dumps(content, default=str)[:80]}", "Send text only."
        )
    return "".join(text for text in texts if text)


@lru_cache(maxsize=32)
def _compiled(template: str) -> jinja2.Template:
    return _environment().from_string(template)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationBlock]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda layout: datetime.now().strftime(layout)
    return environment


class _GenerationBlock(Extension):
    """{% generation %} marks the assistant's part for training; here its body is rendered and nothing else."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes HTML; a model should read the characters.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)
