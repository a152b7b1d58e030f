"""How the tokens of one request are chosen, and when it ends. Torch-free: the server and the clients build it too."""

import math
from dataclasses import dataclass

from windowtax.base.errors import BadInput


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """Settings of one request. Raises BadInput on a value that makes no sense.

    temperature: 0 takes the likeliest token. top_k: 0 is off. top_p, min_p: probabilities; 1 and 0 are off.
    repetition_penalty: above 1 makes tokens of the prompt and the answer less likely. seed: None draws a new one.
    max_tokens: of the answer. stop: texts that end it and are cut off. stop_token_ids: tokens that end it besides the
    model's own. ignore_eos: go on past the model's own end tokens.
    """

    max_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        _whole("max_tokens", self.max_tokens, 1, "at least 1")
        _whole("top_k", self.top_k, 0, "0 (off) or more")
        _number("temperature", self.temperature, 0, math.inf, "0 (always the likeliest token) or more")
        _number("top_p", self.top_p, math.ulp(0), 1, "above 0, and at most 1 (off)")
        _number("min_p", self.min_p, 0, 1, "from 0 (off) to 1")
        _number("repetition_penalty", self.repetition_penalty, math.ulp(0), math.inf, "above 0; 1 is off")
        if self.seed is not None:
            _whole("seed", self.seed, -(2**63), "a whole number of 64 bits", below=2**63)
        if isinstance(self.stop, str) or not all(isinstance(text, str) and text for text in self.stop):
            raise BadInput(f"stop is {self.stop!r}.", "Give a list of texts that are not empty.")
        for token_id in self.stop_token_ids:
            _whole("stop_token_ids", token_id, 0, "token ids, 0 or more")

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0


def _whole(name: str, value: object, at_least: int, wanted: str, below: float = math.inf) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value < below:
        raise BadInput(f"{name} is {value!r}.", f"Give {wanted}.")


def _number(name: str, value: object, at_least: float, at_most: float, wanted: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"{name} is {value!r}.", f"Give {wanted}.")
    if not math.isfinite(value) or not at_least <= value <= at_most:
        raise BadInput(f"{name} is {value!r}.", f"Give {wanted}.")
