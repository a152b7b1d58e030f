"""From documents and a question to prompt tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from windowtax.engine.chat import render_chat
from windowtax.engine.tokenizer import Tokenizer

INSTRUCTION = "Answer the question from the text above. Keep to what the text says."


@dataclass(frozen=True)
class Prompt:
    """token_ids: as the model gets them. num_text_tokens: how many of them the documents take, alone."""

    token_ids: list[int]
    num_text_tokens: int


def document_text(documents: Sequence[tuple[str, str]]) -> str:
    """The documents, (name, text) each, as one text; named where there are several."""
    return "\n\n".join(body if len(documents) == 1 else f"[{name}]\n{body}" for name, body in documents)


def asked_text(documents: Sequence[tuple[str, str]], question: str) -> str:
    """What the user's message says: the documents, and behind them the question."""
    text = document_text(documents)
    return f"{text}\n\n{INSTRUCTION}\nQuestion: {question}" if text else question


def build_prompt(tokenizer: Tokenizer, documents: Sequence[tuple[str, str]], question: str) -> Prompt:
    """documents: (name, text). Chat models get one user message by their template, base models the plain text.

    The documents come first and the question last, so that questions on the same text share a prefix.
    """
    text, asked = document_text(documents), asked_text(documents, question)
    num_text_tokens = len(tokenizer.encode(text, add_special_tokens=False)) if text else 0
    if tokenizer.chat_template is None:
        return Prompt(tokenizer.encode(f"{asked}\nAnswer:"), num_text_tokens)
    rendered = render_chat(
        tokenizer.chat_template,
        [{"role": "user", "content": asked}],
        bos_token=tokenizer.bos_token or "",
        eos_token=tokenizer.eos_token or "",
    )
    # The template writes the special tokens itself.
    return Prompt(tokenizer.encode(rendered, add_special_tokens=False), num_text_tokens)
