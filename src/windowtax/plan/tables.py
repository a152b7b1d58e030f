"""Article 3's two serving tables, computed: docs/serving-tables.md is printed by `python -m windowtax.plan.tables`."""

from dataclasses import dataclass, replace

from windowtax.base.units import format_seconds
from windowtax.catalog.hardware_catalog import hardware
from windowtax.catalog.read import read_model
from windowtax.plan.fit import Deployment, Sizing
from windowtax.plan.parallel import Group
from windowtax.plan.ring import RingPrefill
from windowtax.plan.roofline import Rank, prefill_floor
from windowtax.plan.schemes import CHECKPOINT, weight_scheme
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.workload import Workload

MODEL, DEVICE = "llama-3.1-8b", "h100-sxm"
RING_ROWS = (
    (1, 131_072, 0, 1.0),
    (4, 131_072, 5, 3.8),
    (8, 131_072, 8, 7.4),
    (16, 65_536, 12, 14.1),
    (32, 32_768, 18, 26.2),
)
"""Article 3: devices, tokens per device, communication overhead in percent, throughput against one GPU."""

CHUNK_ROWS = ((131_072, 4.2, 95), (32_768, 4.5, 88), (8_192, 4.8, 82), (2_048, 5.5, 75))
"""Article 3: chunk, prefill seconds of a 128K prompt, GPU utilisation in percent."""

_CHUNKED_PROMPT = 131_072


@dataclass(frozen=True, kw_only=True)
class RingRow:
    """One row of the ring table: the article's two figures and ours. alone_s: the same context on one device."""

    devices: int
    context_tokens: int
    said_overhead: float
    said_throughput: float
    ring: RingPrefill
    alone_s: float

    @property
    def throughput(self) -> float:
        """FLOP/s against one device on the same context; parts interleaved."""
        return self.alone_s / self.ring.bound.overlap_s

    @property
    def contiguous_throughput(self) -> float:
        """The same where each device has one contiguous part and early parts wait for the last."""
        return self.alone_s / self.ring.contiguous_s


@dataclass(frozen=True, kw_only=True)
class ChunkRow:
    """One row of the chunk table. gap_s: the longest step that decoding users wait for. busy: compute / time."""

    chunk_tokens: int
    said_s: float
    said_busy: float
    prefill_s: float
    gap_s: float
    busy: float


def ring_rows() -> list[RingRow]:
    """The ring table for one model and chip; inside a node over its links, beyond it over the network."""
    found: list[RingRow] = []
    for devices, part, overhead, throughput in RING_ROWS:
        tokens = devices * part
        sizing = _sizing(tokens, part)
        found.append(
            RingRow(
                devices=devices,
                context_tokens=tokens,
                said_overhead=overhead / 100,
                said_throughput=throughput,
                ring=Group.of(sizing, Deployment(tensor_parallel=1, ring=devices)).ring(tokens),
                alone_s=_rank(sizing).prefill(tokens, 0, tokens).overlap_s,
            )
        )
    return found


def chunk_rows() -> list[ChunkRow]:
    """The chunk table for one model and chip, with one other user decoding at the same length."""
    found: list[ChunkRow] = []
    for chunk, seconds, busy in CHUNK_ROWS:
        rank = _rank(_sizing(_CHUNKED_PROMPT, chunk))
        bound = rank.prefill(_CHUNKED_PROMPT, 0, chunk)
        gap = rank.step_s(_CHUNKED_PROMPT, 1, chunk, _CHUNKED_PROMPT - chunk)
        found.append(
            ChunkRow(
                chunk_tokens=chunk,
                said_s=seconds,
                said_busy=busy / 100,
                prefill_s=bound.overlap_s,
                gap_s=gap,
                busy=bound.compute_s / bound.overlap_s,
            )
        )
    return found


def _sizing(tokens: int, chunk: int) -> Sizing:
    spec = read_model(MODEL)
    return Sizing(
        spec=spec,
        hardware=hardware(DEVICE),
        workload=Workload(context_tokens=tokens + 1, output_tokens=1),
        scheme=weight_scheme(CHECKPOINT, spec),
        dtype=cache_dtype("bf16"),
        chunk_tokens=chunk,
    )


def _rank(sizing: Sizing) -> Rank:
    return replace(Group.of(sizing, Deployment(tensor_parallel=1)).rank, ring=1)


def tables_page() -> str:
    """The page as it must stand in docs/serving-tables.md."""
    rings, chunks = ring_rows(), chunk_rows()
    lines = [_HEAD, "| devices | context | article: overhead | sending hidden? | waiting | article: throughput | "]
    lines.append("interleaved | contiguous | TTFT |\n|---:|---:|---:|---|---:|---:|---:|---:|---:|\n")
    for row in rings:
        hop = row.ring
        sends = f"{format_seconds(hop.hop_send_s)} behind {format_seconds(hop.hop_compute_s)}"
        hidden = sends if row.devices > 1 else "-"
        lines.append(
            f"| {row.devices} | {row.context_tokens:,} | {row.said_overhead:.0%} | {hidden} | "
            f"{row.ring.waiting_share:.1%} | {row.said_throughput:.1f}x | {row.throughput:.1f}x | "
            f"{row.contiguous_throughput:.1f}x | {format_seconds(row.ring.bound.overlap_s)} |\n"
        )
    inside, beyond = rings[1].ring.hidden_from_tokens, rings[-1].ring.hidden_from_tokens
    first, last = rings[0], rings[2]
    rates = [row.context_tokens / row.ring.bound.overlap_s for row in (first, last)]
    lines.append(
        _RING_TEXT.format(
            inside=inside,
            beyond=beyond,
            first=rates[0],
            last=rates[1],
            times=rates[1] / rates[0],
        )
    )
    lines.append("| chunk | article: prefill | computed | article: utilisation | computed | longest gap |\n")
    lines.append("|---:|---:|---:|---:|---:|---:|\n")
    lines += [
        f"| {row.chunk_tokens:,} | {row.said_s:.1f} s | {format_seconds(row.prefill_s)} | {row.said_busy:.0%} | "
        f"{row.busy:.1%} | {format_seconds(row.gap_s)} |\n"
        for row in chunks
    ]
    more, said = chunks[-1].prefill_s / chunks[0].prefill_s - 1, CHUNK_ROWS[-1][1] / CHUNK_ROWS[0][1] - 1
    floor = prefill_floor(read_model(MODEL), hardware(DEVICE), _CHUNKED_PROMPT).seconds
    lines.append(_CHUNK_TEXT.format(more=more, said=said, floor=floor))
    return "".join(lines)


_HEAD = f"""# Article 3's serving tables, computed

For {MODEL} in bf16 on {DEVICE}; the article names no model. All figures are derived by `src/windowtax/plan/` from the
hardware's figures and their measured efficiencies. Generated by `python -m windowtax.plan.tables`; a test compares the
two.

## Ring attention

Each device has an equal part of the prompt and all weights. In every hop it computes its queries against one part of
the keys and values and passes that part on. *Interleaved*: parts are dealt out so that all devices have equal work
under the causal mask (striped, zigzag). *Contiguous*: each device has one piece, and the last one works nearly twice
its share. Throughput is FLOP/s against one device on the same context.

"""

_RING_TEXT = """
The article's overhead of 5 to 18 percent grows with the number of devices and has no cause that can be computed:
sending is hidden behind computing wherever a part has more than {inside:,} tokens inside a node, or {beyond:,} between
nodes (50 GB/s each). What really costs is the causal mask: in contiguous pieces half of the machine waits, which is
far more than the table says; interleaved, nothing is lost. Launches per hop are not counted. And throughput in FLOP/s
is not throughput in tokens: attention costs more per token in a longer context, so eight devices read eight times the
context at {last:,.0f} tokens/s where one reads its own at {first:,.0f}: {times:.2f}x, not 8x.

## Chunked prefill of a 128K prompt

"""

_CHUNK_TEXT = """
Computed with one user decoding at 131,072 tokens beside it; *longest gap* is what that user waits at most between two
tokens. 4.2 s is below the floor: at the full peak the prompt's FLOPs take {floor:.1f} s, attention's part included
(measured: 10.1 s, see [accuracy.md](accuracy.md)). Chunks cost less than the article says, {more:.1%} at 2,048 tokens
and not {said:.0%}: each chunk reads the weights and the cache before it once more, which hides behind its computing,
and pays the constant of a step. Its bubbles of 50 and 12 ms are too short by far: a chunk's time is its FLOPs, and
late chunks attend to everything before them.
"""

if __name__ == "__main__":
    print(tables_page(), end="")
