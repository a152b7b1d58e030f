"""What is measured: every question, for a model, a window and a cache dtype."""

from dataclasses import dataclass

from benchmarks.tiers.cells import QWEN, SMOL, K, Model


@dataclass(frozen=True, slots=True)
class Piece:
    """All questions in one process. window_tokens: about as long are the prompts with a document."""

    model: Model
    window_tokens: int
    cache_dtype: str

    @property
    def key(self) -> str:
        """Its name in results.json and in the tables."""
        return f"{self.model.short}, {self.window_tokens // K}K, {self.cache_dtype}"


def pieces() -> list[Piece]:
    """All of them. SmolLM2's own window ends at 8K."""
    windows = {SMOL: (2 * K, 7 * K), QWEN: (2 * K, 8 * K)}
    return [Piece(model, window, "bf16") for model, all_of in windows.items() for window in all_of] + [
        Piece(SMOL, 7 * K, "int8"), Piece(QWEN, 8 * K, "k4v4"),
    ]  # fmt: skip
