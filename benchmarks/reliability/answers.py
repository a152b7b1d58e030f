"""Greedy answers that are known: what a server without kept prefixes says, and whether another one says the same.

The reference asks one prompt at a time under a salt of its own, so nothing is found in a cache and nothing is batched.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from benchmarks.reliability.mix import COMPLETIONS, WORDS

RIGHT, TIE, WRONG, BROKEN = "right", "near tie", "wrong", "broken off"
TIE_NATS = 1e-3
"""Two tokens whose log-probabilities are this close may change places where sums are rounded in another order."""
TIMEOUT_S = 180.0
TIERS = ("device", "host", "disk")


@dataclass(frozen=True)
class Answer:
    """Tokens as text, and how far ahead of the next each was (nats). whole: the stream came to its end.

    by_tier: cached tokens of the prompt, empty where the stream broke off. error: that the server sent instead.
    """

    tokens: list[str]
    margins: list[float]
    whole: bool
    by_tier: dict[str, int] = field(default_factory=dict)
    error: str = ""


def make_prompts(seed: int, *, prefixes: int, tails: int, prefix_words: int, tail_words: int) -> list[str]:
    """Prompts that share beginnings: `tails` continuations of each of `prefixes`, of different lengths."""
    choose = random.Random(seed)

    def text(words: int) -> str:
        return " ".join(choose.choices(WORDS, k=words))

    begins = [text(prefix_words) for _ in range(prefixes)]
    return [f"{begin} {text(choose.randint(1, tail_words))}" for begin in begins for _ in range(tails)]


async def ask(client: httpx.AsyncClient, prompt: str, num_tokens: int, salt: str | None = None) -> Answer:
    """One greedy answer, as far as the server lived to give it."""
    body = {
        "prompt": prompt, "max_tokens": num_tokens, "temperature": 0, "ignore_eos": True, "logprobs": 2,
        "stream": True, "stream_options": {"include_usage": True}, "cache_salt": salt,
    }  # fmt: skip
    tokens, margins, usage, error = list[str](), list[float](), dict[str, Any](), ""
    try:
        async with asyncio.timeout(TIMEOUT_S), client.stream("POST", COMPLETIONS, json=body) as answer:
            async for line in answer.aiter_lines():
                if not line.startswith(("data: {", "{")):
                    continue
                event = json.loads(line.removeprefix("data: "))
                error = json.dumps(event["error"]) if "error" in event else error
                usage = event.get("usage") or usage
                for choice in event.get("choices", ()):
                    for token, top in _tokens(choice):
                        tokens.append(token)
                        margins.append(top)
    except httpx.TransportError:
        return Answer(tokens, margins, whole=False)
    by_tier = dict(usage["windowtax"]["cached_tokens_by_tier"]) if usage else {}
    return Answer(tokens, margins, whole=len(tokens) == num_tokens, by_tier=by_tier, error=error)


def reference(url: str, prompts: Sequence[str], num_tokens: int) -> list[Answer]:
    """The cold answers. Raises RuntimeError where one is not whole."""

    async def run() -> list[Answer]:
        async with httpx.AsyncClient(base_url=url, timeout=None) as client:
            return [await ask(client, prompt, num_tokens, f"cold {n}") for n, prompt in enumerate(prompts)]

    answers = asyncio.run(run())
    if not all(answer.whole and not any(answer.by_tier.values()) for answer in answers):
        raise RuntimeError("a reference answer is not whole, or not cold")
    return answers


@dataclass
class Load:
    """Clients that ask random ones of the prompts, and judge every answer as far as it came."""

    prompts: Sequence[str]
    expected: Sequence[Answer]
    num_tokens: int
    verdicts: Counter[str] = field(default_factory=Counter)
    by_tier: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def run(self, url: str, clients: int, order: Iterable[int], stop: Callable[[int], bool] | None = None) -> int:
        """Asks the prompts in this order; `stop` hears how many answers are whole, and may end it.

        Returns how many were whole. A server that goes away ends it too.
        """
        left, whole, gone = iter(order), 0, asyncio.Event()
        async with httpx.AsyncClient(base_url=url, timeout=None) as client:

            async def one_client() -> None:
                nonlocal whole
                for number in left:
                    answer = await ask(client, self.prompts[number], self.num_tokens)
                    self.judge(number, answer)
                    whole += answer.whole
                    if gone.is_set() or not answer.whole or (stop is not None and stop(whole)):
                        gone.set()
                        return

            await asyncio.gather(*(one_client() for _ in range(clients)))
        return whole

    def judge(self, number: int, answer: Answer) -> None:
        """Compares an answer with the cold one, token for token."""
        verdict, expected = RIGHT if answer.whole else BROKEN, self.expected[number]
        for place, (token, other) in enumerate(zip(answer.tokens, expected.tokens, strict=False)):
            if token != other:
                verdict = TIE if expected.margins[place] < TIE_NATS else WRONG
                break
        if verdict == WRONG or answer.error:
            self.wrong.append(f"prompt {number}: {answer.error or ''.join(answer.tokens)!r}")
        self.verdicts[WRONG if answer.error else verdict] += 1
        self.by_tier.update(answer.by_tier)

    def record(self) -> dict[str, Any]:
        """What came of it."""
        return {
            "answers": dict(self.verdicts),
            "cached_tokens": {tier: self.by_tier[tier] for tier in TIERS},
            "wrong": self.wrong,
        }


def _tokens(choice: dict[str, Any]) -> Iterable[tuple[str, float]]:
    known = choice.get("logprobs") or {"tokens": (), "top_logprobs": ()}
    for token, top in zip(known["tokens"], known["top_logprobs"], strict=True):
        best = sorted(top.values(), reverse=True)
        yield token, best[0] - best[1] if len(best) > 1 else 0.0
