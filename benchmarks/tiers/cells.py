"""What is measured: where a prefix comes from, by length and cache dtype; and which loads the engine chooses."""

from dataclasses import dataclass

K = 1024
TAIL_TOKENS = 64
"""Behind every prefix there is a new question, so that what is asked for is never the same prompt twice."""
REPEATS = 3
SOURCES = {
    "cold": "computed",
    "device": "device",
    "host": "host RAM",
    "disk_warm": "SSD, in the page cache",
    "disk": "SSD, after a restart",
}
RULE_LENGTHS = (512, 2 * K, 8 * K)
RULE_BYTES_PER_S = (25e6, 50e6, 100e6, 200e6, 400e6, None)
"""To which reads are slowed down; None: as fast as they go."""


@dataclass(frozen=True, slots=True)
class Model:
    """short: in keys and tables. native_tokens: RoPE is scaled linearly beyond."""

    name: str
    short: str
    native_tokens: int


SMOL = Model("smollm2-135m", "SmolLM2-135M", 8 * K)
QWEN = Model("qwen2.5-coder-0.5b", "Qwen2.5-Coder-0.5B", 32 * K)


@dataclass(frozen=True, slots=True)
class Piece:
    """One prefix in one cache dtype through all tiers; or, with `rule`, the engine's choices at slowed reads."""

    model: Model
    tokens: int
    cache_dtype: str
    rule: bool = False

    @property
    def key(self) -> str:
        """Under which its results are kept."""
        size = f"{self.tokens // K}K"
        return f"{self.model.short} {size} {self.cache_dtype}" + (" rule" if self.rule else "")

    @property
    def rope(self) -> str | None:
        """As `--rope` says it."""
        factor = -(-(self.tokens + 2 * TAIL_TOKENS) // self.model.native_tokens)
        return f"linear:{factor}" if factor > 1 else None


def pieces() -> list[Piece]:
    """All of them, the cheap ones first."""
    found = [Piece(SMOL, 8 * K, cache_dtype) for cache_dtype in ("bf16", "int8")]
    found.append(Piece(SMOL, 8 * K, "bf16", rule=True))
    found += [Piece(SMOL, 32 * K, cache_dtype) for cache_dtype in ("bf16", "int8")]
    return [*found, Piece(QWEN, 8 * K, "bf16"), Piece(QWEN, 31 * K, "bf16")]
