"""Log-probabilities in OpenAI's two shapes, of chats and of the older completions, and of prompts in vLLM's."""

from collections.abc import Sequence

from windowtax.engine.logprobs import TokenLogprob
from windowtax.engine.tokenizer import Tokenizer
from windowtax.server.errors import Json


def chat_logprobs(tokenizer: Tokenizer, logprobs: Sequence[TokenLogprob]) -> Json:
    """`choices[].logprobs` of a chat."""
    return {"content": [_token(tokenizer, one) for one in logprobs], "refusal": None}


def text_logprobs(
    tokenizer: Tokenizer, token_ids: Sequence[int], logprobs: Sequence[TokenLogprob | None], offset: int, num_top: int
) -> Json:
    """`choices[].logprobs` of a completion. offset: where in the text the first token begins.

    A token's offset counts the characters of the tokens before it, each decoded alone. The first token of a prompt has
    no probability.
    """
    texts = [tokenizer.token_text(token) for token in token_ids]
    offsets: list[int] = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [None if one is None else one.logprob for one in logprobs],
        "top_logprobs": [None if one is None else _top(tokenizer, one, num_top) for one in logprobs],
        "text_offset": offsets,
    }


def prompt_logprobs(
    tokenizer: Tokenizer, logprobs: Sequence[TokenLogprob | None], num_top: int
) -> list[dict[str, Json] | None]:
    """`prompt_logprobs` as vLLM gives them: per token, by token id, it and the likeliest ones in its place."""
    return [None if one is None else _ranked(tokenizer, one, num_top) for one in logprobs]


def _ranked(tokenizer: Tokenizer, one: TokenLogprob, num_top: int) -> dict[str, Json]:
    likeliest = [(token, logprob, rank) for rank, (token, logprob) in enumerate(one.top[:num_top], 1)]
    return {
        str(token): {"logprob": logprob, "rank": rank, "decoded_token": tokenizer.token_text(token)}
        for token, logprob, rank in (*likeliest, (one.token_id, one.logprob, one.rank))
    }


def _top(tokenizer: Tokenizer, one: TokenLogprob, num_top: int) -> dict[str, float]:
    """The likeliest tokens by text; of several with the same text the likeliest. The token itself is always there."""
    found: dict[str, float] = {}
    for token, logprob in (*one.top[:num_top], (one.token_id, one.logprob)):
        found.setdefault(tokenizer.token_text(token), logprob)
    return found


def _token(tokenizer: Tokenizer, one: TokenLogprob) -> Json:
    top = [_entry(tokenizer, token, logprob) for token, logprob in one.top]
    return _entry(tokenizer, one.token_id, one.logprob) | {"top_logprobs": top}


def _entry(tokenizer: Tokenizer, token: int, logprob: float) -> Json:
    return {
        "token": tokenizer.token_text(token),
        "logprob": logprob,
        "bytes": list(tokenizer.token_bytes(token)),
    }
