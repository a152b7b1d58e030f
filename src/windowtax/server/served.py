"""What all endpoints share: the engine's service, the tokenizer, the settings, the books."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from fastapi import Request

from windowtax.base.errors import BadInput
from windowtax.base.units import format_bytes
from windowtax.engine.books import window_tokens
from windowtax.engine.grammar import Grammars
from windowtax.engine.service import EngineService
from windowtax.engine.survey import Surveyor
from windowtax.engine.tokenizer import Tokenizer
from windowtax.plan.page.planner import Planner
from windowtax.price.api import bill_of, default_price_lists
from windowtax.price.lists import price_sheet
from windowtax.price.sheet import Usage
from windowtax.server.biller import Biller
from windowtax.server.errors import ApiError, Json
from windowtax.server.ledger import Ledger
from windowtax.server.metrics import Metrics
from windowtax.server.misses import Misses
from windowtax.server.reasoning import AUTO, Thoughts, thoughts_of
from windowtax.server.settings import Settings
from windowtax.server.toolcalls.formats import format_of

DEFAULT_NAME = "default"


@dataclass
class Served:
    """One model behind one server. planner: for /v1/plan; None where there is none."""

    service: EngineService
    settings: Settings
    metrics: Metrics
    biller: Biller
    ledger: Ledger | None = None
    planner: Planner | None = None
    misses: Misses = field(default_factory=Misses)
    surveyor: Surveyor = field(default_factory=Surveyor)
    created: int = field(default_factory=lambda: int(time.time()))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer. Raises BadInput where its files hold none."""
        tokenizer = self.service.engine.model.tokenizer
        if tokenizer is None:
            raise BadInput("The model has no tokenizer.json.", "Put the model's tokenizer.json into its folder.")
        return tokenizer

    @cached_property
    def grammars(self) -> Grammars:
        """Compiles and keeps the grammars that answers must follow."""
        return Grammars(self.tokenizer, self.service.engine.model.spec.vocab_size)

    @cached_property
    def tool_format(self) -> str:
        """In which format this model writes calls of tools: as told in the settings, where its template tells any."""
        told, parser = self._template is not None and "tools" in self._template, self.settings.tool_call_parser
        return parser if told and parser != AUTO else format_of(self._template)

    @cached_property
    def thoughts(self) -> Thoughts | None:
        """How this model marks its thoughts; None where it has none, or they are to stay in the text."""
        return thoughts_of(self.settings.reasoning_parser, self._template)

    @property
    def _template(self) -> str | None:
        return self.settings.chat_template or self.tokenizer.chat_template

    def shows_special_tokens(self, marks: Iterable[str]) -> bool:
        """Whether one of these marks is a special token, which texts leave out unless asked to show it."""
        ids = [self.tokenizer.encode(mark, add_special_tokens=False) for mark in marks]
        return any(len(one) == 1 and self.tokenizer.is_special(one[0]) for one in ids)

    @cached_property
    def window_tokens(self) -> int:
        """The longest that prompt and answer may be together: the window, as far as the pool holds it."""
        return window_tokens(self.service.engine)

    @property
    def name(self) -> str:
        """What answers call the model."""
        return self.settings.names[0]

    def check_model(self, asked: str | None) -> None:
        """Raises ApiError 404 unless the name is one of this server's, "default" or nothing."""
        if asked and asked != DEFAULT_NAME and asked not in self.settings.names:
            names = ", ".join((*self.settings.names, DEFAULT_NAME))
            raise ApiError(
                404,
                f"There is no model {asked[:200]!r} here. This server has: {names}.",
                code="model_not_found",
                param="model",
            )

    def room(self, num_prompt_tokens: int, max_tokens: int | None, param: str = "messages") -> int:
        """Tokens that the answer may have: what is asked for, or else what the window leaves.

        Raises ApiError 400 `context_length_exceeded` where prompt and answer do not fit; nothing is ever cut.
        """
        if num_prompt_tokens == 0:
            raise ApiError(400, "The prompt is empty. Give at least one token.", code="empty_prompt", param="prompt")
        left, least = self.window_tokens - num_prompt_tokens, 1 if max_tokens is None else max_tokens
        if left >= least:
            return left if max_tokens is None else max_tokens
        raise self._too_long(num_prompt_tokens, least, param)

    def _too_long(self, num_prompt_tokens: int, max_tokens: int, param: str) -> ApiError:
        window, wanted = self.window_tokens, num_prompt_tokens + max_tokens
        fits = max(0, window - max_tokens)
        need = self.service.engine.cache.layout.bytes_for(wanted)
        message = (
            f"This server's window is {window:,} tokens, and this request needs {wanted:,}: {num_prompt_tokens:,} of "
            f"prompt and {max_tokens:,} of answer. Nothing was cut. With this answer the longest prompt that fits "
            f"is {fits:,} tokens; with this prompt the longest answer is {max(0, window - num_prompt_tokens):,}."
        )
        details: Json = {
            "window_tokens": window,
            "requested_tokens": wanted,
            "prompt_tokens": num_prompt_tokens,
            "max_tokens": max_tokens,
            "largest_prompt_tokens": fits,
            "largest_answer_tokens": max(0, window - num_prompt_tokens),
            "kv_bytes_needed": need,
            "alternatives": [self._wider(wanted, need), *priced_elsewhere(num_prompt_tokens, max_tokens)],
        }
        return ApiError(400, message, code="context_length_exceeded", param=param, details=details)

    def _wider(self, wanted: int, need: int) -> Json:
        claimed = self.service.engine.model.spec.max_context_tokens
        fix = f"--max-model-len {wanted}" + (f" --rope yarn:{-(-wanted // claimed)}" if wanted > claimed else "")
        return {
            "what": f"a wider window here ({fix}): {format_bytes(need)} of KV cache for one such request",
            "kv_bytes": need,
            "flags": fix,
        }


def priced_elsewhere(prompt_tokens: int, output_tokens: int) -> list[Json]:
    """The same call at APIs whose window holds it, with what it would cost there (list prices, derived)."""
    found: list[Json] = []
    for one in default_price_lists():
        sheet = price_sheet(one.provider, one.model)
        if sheet.window_tokens is not None and sheet.window_tokens < prompt_tokens + output_tokens:
            continue
        bill = bill_of(sheet, Usage(prompt_tokens=prompt_tokens, output_tokens=output_tokens))
        found.append(
            {
                "what": f"{bill.provider} {bill.model}, at its list prices",
                "provider": bill.provider,
                "model": bill.model,
                "window_tokens": sheet.window_tokens,
                "usd": float(bill.total_usd),
                "prices_checked": bill.checked,
            }
        )
    return found


def served_of(request: Request) -> Served:
    """The server that a request belongs to: a FastAPI dependency."""
    return request.app.state.served
