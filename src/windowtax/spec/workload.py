"""Workload: what is asked of a model at a time."""

from dataclasses import dataclass

from windowtax.base.errors import BadInput

DEFAULT_OUTPUT_TOKENS = 256


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Equal requests that are held at once.

    context_tokens: the window at its fullest, prompt and output together. output_tokens: of these, generated ones.
    users: sequences that hold their window at the same time. cached_tokens: tokens of each prompt whose cache is
    found again and not computed. Raises BadInput where these do not fit together.
    """

    context_tokens: int
    output_tokens: int = DEFAULT_OUTPUT_TOKENS
    users: int = 1
    cached_tokens: int = 0

    def __post_init__(self) -> None:
        if self.output_tokens < 1:
            raise BadInput(f"{self.output_tokens} output tokens: at least one token must come out.")
        if self.output_tokens >= self.context_tokens:
            raise BadInput(
                f"A window of {self.context_tokens:,} tokens has no room for a prompt before {self.output_tokens:,} "
                "output tokens.",
                "The window holds prompt and output together: take a longer --context or fewer --output-tokens.",
            )
        if self.users < 1:
            raise BadInput(f"{self.users} users: at least one must be there.")
        if not 0 <= self.cached_tokens < self.prompt_tokens:
            raise BadInput(
                f"{self.cached_tokens:,} cached tokens do not fit into a prompt of {self.prompt_tokens:,} tokens.",
                "At least the last token of a prompt must be computed.",
            )

    @property
    def prompt_tokens(self) -> int:
        """Tokens read before the first one comes out."""
        return self.context_tokens - self.output_tokens
