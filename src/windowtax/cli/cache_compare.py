"""Two request bodies side by side: the first token in which their prompts differ, where it is from, what it costs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from windowtax.base.errors import BadInput
from windowtax.cache.miss import tokens_in_common
from windowtax.engine.tokenizer import Tokenizer
from windowtax.price.api import PriceList, bill_of
from windowtax.price.lists import price_sheet
from windowtax.price.sheet import Usage
from windowtax.server.anthropic_chat import conversation_of
from windowtax.server.chat import ChatRequest
from windowtax.server.completions import CompletionRequest
from windowtax.server.conversation import Conversation, told_tools
from windowtax.server.errors import ApiError
from windowtax.server.messages import CountRequest
from windowtax.server.normalize import NOTHING, Normalizer
from windowtax.server.parts import PromptParts
from windowtax.server.prompts import chat_text, chat_tokens, plain_message
from windowtax.server.responses import ResponsesRequest

Json = dict[str, Any]
BEFORE_TOKENS, BEHIND_TOKENS = 16, 16


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A request as the model reads it. changes: what normalising did."""

    token_ids: list[int]
    parts: PromptParts
    changes: list[Json]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How bodies become prompts. template: instead of the model's own."""

    tokenizer: Tokenizer
    template: str | None = None
    normalizer: Normalizer = NOTHING

    def prompt(self, body: Json, name: str) -> Prompt:
        """A body of any of the four endpoints. Raises BadInput for one that a server would refuse."""
        try:
            if "prompt" in body:
                return self._text(CompletionRequest.model_validate(body))
            return self._chat(_conversation(body))
        except ApiError as error:
            raise BadInput(f"{name}: {error.message}", "Give the body of a request as a client sends it.") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise BadInput(f"{name}: {place}: {first['msg']}.", "Give the body of a request, as JSON.") from None

    def _text(self, body: CompletionRequest) -> Prompt:
        prompt = (
            body.prompt[0] if isinstance(body.prompt, list) and not isinstance(body.prompt[0], int) else body.prompt
        )
        if isinstance(prompt, str):
            ids = self.tokenizer.encode(prompt, add_special_tokens=body.add_special_tokens)
        else:
            ids = [token for token in prompt if isinstance(token, int)]
        return Prompt(token_ids=ids, parts=PromptParts.whole(), changes=[])

    def _chat(self, conversation: Conversation) -> Prompt:
        messages, changes = self.normalizer.apply(conversation.messages)
        tools = told_tools(conversation.offered)
        text = chat_text(
            self.tokenizer, messages, template=self.template, tools=tools, variables=conversation.variables
        )
        plain = [plain_message(message, place) for place, message in enumerate(messages)]
        return Prompt(
            token_ids=chat_tokens(self.tokenizer, text),
            parts=PromptParts.of(text, plain, tools, conversation.names),
            changes=[change.record(conversation.names) for change in changes],
        )


def read_body(path: Path) -> Json:
    """A request body from a file. Raises BadInput."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Name two files with request bodies.") from None
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: {error}", "Give the body of a request, as a client sends it.") from None
    if not isinstance(found, dict) or not {"messages", "prompt", "input"} & found.keys():
        raise BadInput(f"{path} is no request.", "It has neither messages, nor prompt, nor input.")
    return found


def compared(reading: Reading, bodies: Sequence[Json], names: Sequence[str], price: PriceList, block: int) -> Json:
    """What the second request finds of the first. block: tokens of a block; only whole ones are shared.

    lost_tokens: behind the difference, what both have: it would be found, were it not for that.
    """
    first, second = (reading.prompt(body, name) for body, name in zip(bodies, names, strict=True))
    one, two = first.token_ids, second.token_ids
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))
    findable = max(0, min(shared, len(two) - 1))
    lost = tokens_in_common(two[shared : len(two) - 1], one[shared:])
    usd = [_usd(price, len(two), tokens) for tokens in (0, findable, findable + lost)]
    before = reading.tokenizer.decode(two[max(0, shared - BEFORE_TOKENS) : shared], False)
    return {
        "identical": one == two,
        "shared_tokens": shared,
        "shared_blocks": findable // block,
        "block_tokens": block,
        "before": before,
        "a": _side(reading.tokenizer, first, shared),
        "b": _side(reading.tokenizer, second, shared),
        "lost_tokens": lost,
        "api": str(price),
        "usd_uncached": usd[0],
        "usd": usd[1],
        "usd_without_the_difference": usd[2],
        "usd_lost": usd[1] - usd[2],
    }


def _side(tokenizer: Tokenizer, prompt: Prompt, position: int) -> Json:
    ids = prompt.token_ids
    offset = len(tokenizer.decode(ids[:position], False))
    return {
        "prompt_tokens": len(ids),
        "where": prompt.parts.at(offset) if position < len(ids) else "the end of the prompt",
        "token_id": ids[position] if position < len(ids) else None,
        "token": tokenizer.token_text(ids[position]) if position < len(ids) else None,
        "text": tokenizer.decode(ids[position : position + BEHIND_TOKENS], False),
        "normalized": prompt.changes,
    }


def _usd(price: PriceList, prompt_tokens: int, cached_tokens: int) -> float:
    """Input of one request, the rest of it cached."""
    usage = Usage(prompt_tokens=prompt_tokens, cached_tokens=min(cached_tokens, prompt_tokens))
    return float(bill_of(price_sheet(price.provider, price.model), usage).input_usd)


def _conversation(body: Json) -> Conversation:
    if "input" in body:
        return ResponsesRequest.model_validate(body).as_conversation()
    if not _is_anthropic(body):
        return ChatRequest.model_validate(body).conversation()
    asked = CountRequest.model_validate(body)
    return conversation_of(asked.messages, asked.system, asked.tools, asked.tool_choice, None, asked.thinking)


def _is_anthropic(body: Json) -> bool:
    """By what only Anthropic's bodies have: system beside the messages, tools with input_schema, blocks of tool use."""
    tools, messages = (found if isinstance(found := body.get(name), list) else [] for name in ("tools", "messages"))
    blocks = [
        block for one in messages if isinstance(one, dict) and isinstance(one.get("content"), list)
        for block in one["content"] if isinstance(block, dict)
    ]  # fmt: skip
    return (
        "system" in body
        or any(isinstance(tool, dict) and "input_schema" in tool for tool in tools)
        or any(block.get("type") in ("tool_use", "tool_result", "thinking") for block in blocks)
    )
