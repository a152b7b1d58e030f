"""Request fields that every generating endpoint shares, and what they mean to the sampler."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from windowtax.base.errors import BadInput
from windowtax.engine.sampling import SamplingParams
from windowtax.server.call import Call
from windowtax.server.errors import ApiError, bad_field

MOST_STOPS = 64
_NO_EFFECT = {
    "user": "who the end user is; bills go by key",
    "metadata": "kept by nobody here",
    "store": "nothing is stored here but the ledger's figures",
    "service_tier": "there is one tier; see priority",
    "safety_identifier": "there is no moderation here",
    "prompt_cache_key": "prefixes are found by their tokens; see cache_salt",
    "parallel_tool_calls": "read by the endpoints that know tools",
}
"""Fields that clients send by habit: they change no token, so they draw no warning."""


PromptLogprobs = Annotated[
    int | None, Field(ge=0, le=20, description="Log-probabilities of the prompt's tokens, as vLLM gives them.")
]


class Body(BaseModel):
    """A request body. Fields that nobody reads draw a warning and nothing worse."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    def warn_of_unread(self, call: Call) -> None:
        """One warning for each field that has no effect here."""
        for name, value in (self.model_extra or {}).items():
            if name not in _NO_EFFECT and value is not None:
                call.warn(f"The field {name[:80]!r} is not known here and has no effect.")


class SamplingFields(Body):
    """How tokens are chosen, as OpenAI spells it, and vLLM's additions. None: the default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    min_tokens: int = 0
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    skip_special_tokens: bool = Field(True, description="false writes special tokens into the text too.")
    cache_salt: str | None = Field(None, description="Separates this request's cached prefixes from others'.")
    priority: int = Field(0, ge=-(2**31), lt=2**31, description="Lower goes first.")
    timeout: float | None = Field(None, gt=0, le=86400, description="Seconds; then the request ends with an error.")
    explain_cache: bool = Field(False, description="Say in the bill why the cache held no more of the prompt.")
    truncate_prompt_tokens: int | None = Field(None, ge=1, description="Keep only the last so many prompt tokens.")

    def params(self, max_tokens: int, **more: Any) -> SamplingParams:
        """Settings for the engine. more: fields that only some endpoints have; None leaves one out.

        Raises ApiError 400 for values that make no sense.
        """
        asked = {
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": self.top_p,
            "top_k": None if self.top_k == -1 else self.top_k,
            "min_p": self.min_p,
            "seed": None if self.seed == -1 else self.seed,
            "stop": self.stops(),
            "stop_token_ids": tuple(self.stop_token_ids or ()),
            "ignore_eos": self.ignore_eos,
            "min_tokens": self.min_tokens,
            "repetition_penalty": self.repetition_penalty,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "logit_bias": self._logit_bias(),
            "show_special_tokens": not self.skip_special_tokens,
            **more,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        try:
            return SamplingParams(max_tokens=max_tokens, **given)
        except BadInput as error:
            raise bad_field(error.message.partition(" ")[0], f"{error.message} {error.hint}") from None

    def stops(self) -> tuple[str, ...]:
        """Texts that end the answer; empty ones mean nothing."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stops) > MOST_STOPS:
            raise bad_field("stop", f"{len(stops):,} stop texts are more than {MOST_STOPS}.")
        return tuple(stop for stop in stops if stop)

    def _logit_bias(self) -> dict[int, float] | None:
        if not self.logit_bias:
            return None
        try:
            return {int(token): bias for token, bias in self.logit_bias.items()}
        except ValueError:
            raise bad_field("logit_bias", "logit_bias maps token ids to numbers.") from None


def refuse_streamed_scores(prompt_logprobs: int | None, stream: bool) -> None:
    """Raises ApiError 400 where log-probabilities of the prompt are asked of a stream: it has no place for them."""
    if stream and prompt_logprobs is not None:
        raise bad_field("prompt_logprobs", "prompt_logprobs comes with whole answers only: leave out stream.")


def refuse_too_many(n: int, most: int) -> None:
    """Raises ApiError 400 for a number of choices that makes no sense."""
    if not 1 <= n <= most:
        raise ApiError(400, f"n is {n:,}; it may be 1 to {most:,}.", param="n")
