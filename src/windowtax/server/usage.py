"""`usage` in the three dialects; cached tokens are always a number, and prompt tokens are the whole prompt."""

from windowtax.server.biller import CallBill
from windowtax.server.errors import Json

CACHE_WRITE_TOKENS = 0
"""Blocks of every prompt are kept unasked and at no charge, so none is billed as written; clients want a number."""


def chat_usage(bill: CallBill, thought_tokens: int = 0) -> Json:
    """OpenAI's, of chats and completions, with our bill as `windowtax`."""
    return {
        "prompt_tokens": bill.prompt_tokens,
        "completion_tokens": bill.output_tokens,
        "total_tokens": bill.prompt_tokens + bill.output_tokens,
        "prompt_tokens_details": {"cached_tokens": bill.num_cached_tokens, "cache_write_tokens": CACHE_WRITE_TOKENS},
        "completion_tokens_details": {"reasoning_tokens": thought_tokens},
        "windowtax": bill.record(),
    }


def responses_usage(bill: CallBill, thought_tokens: int = 0) -> Json:
    """OpenAI's, of Responses."""
    return {
        "input_tokens": bill.prompt_tokens,
        "input_tokens_details": {"cached_tokens": bill.num_cached_tokens, "cache_write_tokens": CACHE_WRITE_TOKENS},
        "output_tokens": bill.output_tokens,
        "output_tokens_details": {"reasoning_tokens": thought_tokens},
        "total_tokens": bill.prompt_tokens + bill.output_tokens,
        "windowtax": bill.record(),
    }


def messages_usage(bill: CallBill) -> Json:
    """Anthropic's: input tokens are those that were not read from the cache."""
    return {
        "input_tokens": bill.prompt_tokens - bill.num_cached_tokens,
        "cache_read_input_tokens": bill.num_cached_tokens,
        "cache_creation_input_tokens": CACHE_WRITE_TOKENS,
        "output_tokens": bill.output_tokens,
        "windowtax": bill.record(),
    }
