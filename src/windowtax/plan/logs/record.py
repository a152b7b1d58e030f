"""What a start-up log says, as data: printed figures with the room that rounding leaves, and one record per engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from windowtax.base.errors import BadInput
from windowtax.base.units import GB, GIB, KB, KIB, MB, MIB

_UNITS = {"B": 1, "KB": KB, "MB": MB, "GB": GB, "KiB": KIB, "MiB": MIB, "GiB": GIB}


@dataclass(frozen=True, slots=True)
class Printed:
    """A figure as somebody printed it. value: in bytes, tokens or blocks. slack: half a unit of the last digit.

    text: the figure as it stood there, with its unit. unit: how many bytes (or tokens) the printed unit stands for.
    """

    text: str
    value: Fraction
    slack: Fraction
    unit: int = 1

    def shows(self, number: Fraction | int) -> bool:
        """Whether this number, rounded to the digits printed, is the figure."""
        return abs(number - self.value) <= self.slack

    def between(self, low: Fraction | int, high: Fraction | int) -> bool:
        """Whether some number from low to high, rounded, is the figure."""
        return low - self.slack <= self.value <= high + self.slack

    def meaning(self, unit: int) -> "Printed":
        """The same digits, read with another unit."""
        return Printed(self.text, self.value * unit / self.unit, self.slack * unit / self.unit, unit)


def printed(number: str, unit: str, meaning: int | None = None) -> Printed:
    """A figure from its digits ("8.23") and its unit ("GB"). meaning: what the engine means by the unit.

    Raises BadInput for a unit that is none of bytes.
    """
    if meaning is None and unit not in _UNITS:
        raise BadInput(f"{unit!r} is no unit of bytes.", f"There are: {', '.join(_UNITS)}.")
    scale = _UNITS[unit] if meaning is None else meaning
    digits = number.replace(",", "").rstrip(".")
    places = len(digits.partition(".")[2])
    half = Fraction(1, 2 * 10**places) if places else Fraction(0 if scale == 1 else Fraction(1, 2))
    return Printed(f"{number.rstrip('.')} {unit}", Fraction(Decimal(digits)) * scale, half * scale, scale)


def counted(number: str | int, what: str) -> Printed:
    """An exact count: tokens, blocks, cells, slots."""
    count = int(str(number).replace(",", ""))
    return Printed(f"{count:,} {what}", Fraction(count), Fraction(0))


@dataclass(frozen=True, kw_only=True)
class EngineLog:
    """What every log may say of the run; None where it is silent. cache_dtype: a name of ours."""

    engine: str
    tensor_parallel: int | None = None
    cache_dtype: str | None = None


@dataclass(frozen=True, kw_only=True)
class VllmLog(EngineLog):
    """vLLM. available: bytes for the cache, one figure per worker that printed it. tokens: "GPU KV cache size".

    concurrency: (tokens per request, how many of them). blocks: "# GPU blocks" of the old engine.
    batched_tokens: most tokens of one step.
    """

    engine: str = "vllm"
    available: tuple[Printed, ...] = ()
    tokens: int | None = None
    blocks: int | None = None
    concurrency: tuple[int, Printed] | None = None
    block_tokens: int | None = None
    batched_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class SglangPool:
    """One "KV Cache is allocated" or "Mamba Cache is allocated" line of one rank: its rows, and the bytes of its parts.

    kind: "kv" or "state". parts: "K", "V", "KV", "conv", "ssm" -> bytes. Prints GB and means GiB.
    window_rows: where the line is about both pools of a model with windows, the rows of the windowed layers.
    """

    kind: str
    rows: int
    window_rows: int | None = None
    parts: Mapping[str, Printed]
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class SglangLog(EngineLog):
    """SGLang: its pools, on each rank that printed them. page_tokens: None where the log does not say."""

    engine: str = "sglang"
    pools: tuple[SglangPool, ...] = ()
    page_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class LlamaCppCache:
    """One `llama_kv_cache` or `llama_memory_recurrent` size line.

    kind: "kv" or "state". windowed: whether it is of the layers with a window, None where the log does not tell.
    copies: buffers of so many cells (streams; states kept per sequence). parts: K and V, or R and S, with their types.
    """

    kind: str
    cells: int
    layers: int | None
    sequences: int
    copies: int
    total: Printed
    windowed: bool | None = None
    parts: Mapping[str, tuple[str, Printed]] = field(default_factory=dict[str, tuple[str, Printed]])


@dataclass(frozen=True, kw_only=True)
class LlamaCppLog(EngineLog):
    """llama.cpp. context_tokens: n_ctx, of all sequences together; ubatch_tokens: n_ubatch."""

    engine: str = "llamacpp"
    caches: tuple[LlamaCppCache, ...] = ()
    context_tokens: int | None = None
    ubatch_tokens: int | None = None
    unified: bool | None = None
    full_windows: bool = False


@dataclass(frozen=True, kw_only=True)
class BillLog(EngineLog):
    """A bill of `windowtax ask --json`. All bytes exact."""

    engine: str = "ours"
    context_tokens: int
    num_prompt_tokens: int
    num_output_tokens: int
    pool_bytes: int
    held_bytes: int


@dataclass(frozen=True, kw_only=True)
class StatementLog(EngineLog):
    """Sentences of the form "<size> ... <n> tokens", or the other way round: a figure of a page or a slide."""

    engine: str = "statement"
    tensor_parallel: int | None = 1
    figures: tuple[tuple[Printed, int], ...] = ()
