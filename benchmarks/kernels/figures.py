"""Single kernels, called through the native module's own bindings: programs of one kind of operation on noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from windowtax.cache.manager import CacheManager
from windowtax.engine.noise import fill, medians_in_turns, seconds, spec_of_noise
from windowtax.nn.recorded.attention import bind_attention
from windowtax.nn.recorded.tape import Tape
from windowtax.ops.native import Ending, NativeState, WeightFormat
from windowtax.ops.packed import Arena, PackedMatrix, Packer, packed_bytes
from windowtax.ops.rows import matrix_of
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.model import ModelSpec
from windowtax.store.planes import PlaneStore

Figure = dict[str, Any]
_VOCAB = 64
_GAUGE_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The shape of an attention."""

    query: int
    kv: int
    size: int

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.query} / {self.kv} heads of {self.size}"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is measured. tokens: of the caches in and out of the processor's own. layers: as many caches are read one
    after the other. Of products: (columns, rows) of matrices, and the rows that are multiplied by them. prefix: tokens
    before a prefill's."""

    heads: tuple[Heads, ...] = (
        Heads(query=9, kv=3, size=64),
        Heads(query=16, kv=4, size=128),
        Heads(query=4, kv=1, size=256),
    )
    dtypes: tuple[str, ...] = ("bf16", "fp8", "int8", "k8v4", "k4v4")
    near_tokens: int = 2048
    far_tokens: int = 32_768
    layers: int = 32
    matrices: tuple[tuple[int, int], ...] = ((576, 3072), (2048, 640), (896, 9728), (2048, 8192))
    rows: int = 2048
    prefix: int = 6144
    rounds: int = 5
    burst: int = 8


def measure(native: NativeState, threads: int, sizes: Sizes) -> list[Figure]:
    """All figures, each beside what the gauge said right before it."""
    far = sizes.heads[0]
    return [
        *(_decode(native, threads, sizes, far, dtype, near) for dtype in sizes.dtypes for near in (True, False)),
        *(_products(native, threads, sizes, shape, form) for shape in sizes.matrices for form in _FORMATS),
        *(_prefill(native, threads, sizes, heads, start) for heads in sizes.heads for start in (0, sizes.prefix)),
    ]


def _decode(native: NativeState, threads: int, sizes: Sizes, heads: Heads, dtype: str, near: bool) -> Figure:
    """One token against a cache. Near: one layer's, read again and again; else those of many layers in turn."""
    tokens, layers = (sizes.near_tokens, 1) if near else (sizes.far_tokens, sizes.layers)
    spec = _spec(heads, layers)
    layout = spec.layout(cache_dtype(dtype))
    read = layout.read_bytes(tokens)
    repeats = max(1, sizes.layers // layers)
    work = _attention(native, threads, spec, dtype, tokens - 1, 1, repeats)
    assert native.module is not None
    stream = native.module.gauge.read(max(read, 1 << 14), threads, _GAUGE_S)
    rate = read * repeats / _median_s(work, sizes)
    return {"part": "decode", "dtype": dtype, "near": near, "bytes": read, "rate": rate, "stream": stream}


def _prefill(native: NativeState, threads: int, sizes: Sizes, heads: Heads, start: int) -> Figure:
    """Many tokens behind so many."""
    layers = 4
    spec = _spec(heads, layers)
    work = _attention(native, threads, spec, "bf16", start, sizes.rows, 1)
    peak = _peak(native, threads)
    rate = spec.attention_flops(start, sizes.rows) / _median_s(work, sizes, sizes.burst // 4)
    return {"part": "prefill", "heads": heads.words, "start": start, "rows": sizes.rows, "rate": rate, "peak": peak}


_FORMATS = (WeightFormat.Q4, WeightFormat.BF16)


def _products(native: NativeState, threads: int, sizes: Sizes, shape: tuple[int, int], form: WeightFormat) -> Figure:
    """Many rows times several matrices, activations made ready for each as in a model."""
    assert native.module is not None
    columns, rows = shape
    tape = Tape(native.module, native.level, threads)
    x, out = tape.buffer("x", columns), tape.buffer("out", rows)
    many = 4
    table, *matrices = _packed(threads, [(_VOCAB, columns), *[(rows, columns)] * many], form)
    tape.program.embed(tape.matrix(table), 1.0, x)
    for matrix in matrices:
        tape.multiply(x, [matrix], out, ending=Ending.STORE)
    step = native.module.Step()
    step.add([index % _VOCAB for index in range(sizes.rows)], 0, 0, [], [], [])
    peak = _peak(native, threads)
    spent_s = _median_s(lambda: seconds(lambda: tape.program.run(step)), sizes, sizes.burst // 4)
    rate = 2 * sizes.rows * columns * rows * many / spent_s
    return {"part": "products", "matrix": f"{columns:,} x {rows:,}", "weights": form.name, "rate": rate, "peak": peak}


def _attention(
    native: NativeState, threads: int, spec: ModelSpec, dtype: str, start: int, count: int, repeats: int
) -> Callable[[], float]:
    """A step of attention alone: queries, keys and values are the rows of an embedding."""
    assert native.module is not None
    layout = spec.layout(cache_dtype(dtype))
    manager = CacheManager(layout, layout.peak_blocks(start + count, count))
    assert manager.reserve("noise", start, count)
    store = PlaneStore(layout, manager.num_blocks)
    fill(store)
    attention = spec.layers[0].attention
    assert isinstance(attention, SoftmaxAttention)
    width = (attention.num_query_heads + 2 * attention.num_kv_heads) * attention.head_dim
    tape = Tape(native.module, native.level, threads)
    qkv = tape.buffer("qkv", width)
    mixed = tape.buffer("mixed", attention.num_query_heads * attention.v_head_dim)
    (table,) = _packed(threads, [(_VOCAB, width)], WeightFormat.BF16)
    tape.program.embed(tape.matrix(table), 1.0, qkv)
    for _ in range(repeats):
        for layer in range(len(spec.layers)):
            bound = bind_attention(tape, attention, layer, store)
            tape.program.heads(bound, 0, [], [], 1e-5, -1, qkv)
            tape.program.attend(bound, qkv, mixed)
    step = native.module.Step()
    tables = manager.tables("noise")
    ids = [index % _VOCAB for index in range(count)]
    step.add(ids, start, 0, [one.blocks for one in tables], [one.first for one in tables], [])

    def work() -> float:
        assert store.nbytes  # the program has its addresses only
        return seconds(lambda: tape.program.run(step))

    return work


def _packed(threads: int, shapes: Sequence[tuple[int, int]], form: WeightFormat) -> list[PackedMatrix]:
    rng = np.random.default_rng(0)
    arena = Arena(sum(packed_bytes(form, *shape) for shape in shapes))
    with Packer(threads, arena) as packer:
        return [packer.pack(matrix_of(rng.standard_normal(shape, dtype=np.float32)), form) for shape in shapes]


def _spec(heads: Heads, layers: int) -> ModelSpec:
    return spec_of_noise(
        heads=heads.query, kv_heads=heads.kv, head_dim=heads.size, hidden=64, inner=64, layers=layers, vocab=_VOCAB
    )


def _median_s(work: Callable[[], float], sizes: Sizes, burst: int | None = None) -> float:
    return medians_in_turns({"": work}, sizes.rounds, max(1, sizes.burst if burst is None else burst))[""]


def _peak(native: NativeState, threads: int) -> float:
    assert native.module is not None
    return native.module.gauge.multiply(native.level, "bf16", threads, _GAUGE_S) or native.module.gauge.multiply(
        native.level, "fp32", threads, _GAUGE_S
    )
