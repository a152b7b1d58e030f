"""How the tokens of one request are chosen, and when it ends. Torch-free: the server and the clients build it too."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from windowtax.base.errors import BadInput
from windowtax.engine.grammar import Grammar

MAX_LOGPROBS = 20
"""Alternatives per token at most, as in OpenAI's chat API ("top_logprobs") and by default in vLLM ("max_logprobs")."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """Settings of one request. Raises BadInput on a value that makes no sense.

    temperature: 0 takes the likeliest token. top_k: 0 is off. top_p, min_p: probabilities; 1 and 0 are off.
    repetition_penalty: above 1 makes tokens of the prompt and the answer less likely. frequency_penalty,
    presence_penalty: taken off a token's logit for each time, and once, that the answer holds it. logit_bias: by token
    id, added to its logit. grammar: what the answer must follow. seed: None draws a new one.
    max_tokens: of the answer; 0 computes the prompt and nothing behind it.
    min_tokens: before these no end token is chosen and no stop text counts. stop: texts that
    end the answer and are cut off. stop_token_ids: tokens that end it besides the model's own. ignore_eos: go on past
    the model's own end tokens.
    show_special_tokens: write special tokens into the text too, where it is read for marks that are such tokens.
    logprobs: log-probabilities of the answer's tokens, with so many of the likeliest ones beside each; None for none.
    prompt_logprobs: the same of the prompt's tokens; nothing of such a prompt is taken from the cache.
    """

    max_tokens: int
    min_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] | None = None
    grammar: Grammar | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    show_special_tokens: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None

    def __post_init__(self) -> None:
        _whole("max_tokens", self.max_tokens, 0, "0 or more")
        _whole("min_tokens", self.min_tokens, 0, f"0 to max_tokens, {self.max_tokens:,}", self.max_tokens + 1)
        _whole("top_k", self.top_k, 0, "0 (off) or more")
        _number("temperature", self.temperature, 0, math.inf, "0 (always the likeliest token) or more")
        _number("top_p", self.top_p, math.ulp(0), 1, "above 0, and at most 1 (off)")
        _number("min_p", self.min_p, 0, 1, "from 0 (off) to 1")
        _number("repetition_penalty", self.repetition_penalty, math.ulp(0), math.inf, "above 0; 1 is off")
        _number("frequency_penalty", self.frequency_penalty, -2, 2, "from -2 to 2; 0 is off")
        _number("presence_penalty", self.presence_penalty, -2, 2, "from -2 to 2; 0 is off")
        if self.seed is not None:
            _whole("seed", self.seed, -(2**63), "a whole number of 64 bits", below=2**63)
        if isinstance(self.stop, str) or not all(isinstance(text, str) and text for text in self.stop):
            raise BadInput(f"stop is {self.stop!r}.", "Give a list of texts that are not empty.")
        for token_id in self.stop_token_ids:
            _whole("stop_token_ids", token_id, 0, "token ids, 0 or more")
        for name, count in (("logprobs", self.logprobs), ("prompt_logprobs", self.prompt_logprobs)):
            if count is not None:
                _whole(name, count, 0, f"0 to {MAX_LOGPROBS}", below=MAX_LOGPROBS + 1)
        if self.grammar is not None and not isinstance(self.grammar, Grammar):
            raise BadInput(f"grammar is {self.grammar!r}.", "Give one that was compiled for this model's tokenizer.")
        self._check_bias()

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    @property
    def is_plain(self) -> bool:
        """Whether each token is the largest of the model's own logits."""
        return self.may_guess and not self.logit_bias

    @property
    def may_guess(self) -> bool:
        """Whether each choice depends on its logits alone, so that drafts can be checked all at once."""
        history = self.repetition_penalty != 1 or self.frequency_penalty or self.presence_penalty or self.min_tokens
        return self.is_greedy and not history and self.grammar is None

    def refuse_other_model(self, vocab_size: int) -> None:
        """Raises BadInput for token ids and grammars that do not belong to a model with that vocabulary."""
        if self.grammar is not None and self.grammar.vocab_size != vocab_size:
            raise BadInput(
                f"grammar is of a vocabulary of {self.grammar.vocab_size:,} tokens; this model has {vocab_size:,}.",
                "Compile it for this model.",
            )
        unknown = [token_id for token_id in self.logit_bias or () if token_id >= vocab_size]
        if unknown:
            raise BadInput(
                f"logit_bias names the token {unknown[0]:,}, but this model's ids end at {vocab_size - 1:,}.",
                "Give ids of this model's tokenizer.",
            )

    def _check_bias(self) -> None:
        if not isinstance(self.logit_bias, Mapping | None):
            raise BadInput(f"logit_bias is {self.logit_bias!r}.", "Give numbers by token id.")
        for token_id, bias in (self.logit_bias or {}).items():
            _whole("logit_bias", token_id, 0, "token ids, 0 or more, as its keys")
            _number("logit_bias", bias, -100, 100, "values from -100 (never) to 100 (always)")


def _whole(name: str, value: object, at_least: int, wanted: str, below: float = math.inf) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value < below:
        raise BadInput(f"{name} is {value!r}.", f"Give {wanted}.")


def _number(name: str, value: object, at_least: float, at_most: float, wanted: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"{name} is {value!r}.", f"Give {wanted}.")
    if not math.isfinite(value) or not at_least <= value <= at_most:
        raise BadInput(f"{name} is {value!r}.", f"Give {wanted}.")
