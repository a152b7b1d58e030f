"""llama.cpp's start-up lines (src/llama-kv-cache.cpp, -iswa.cpp, llama-memory-recurrent.cpp), old and new names.

llama_context: n_ctx         = 8192
llama_kv_cache_unified_iswa: creating non-SWA KV cache, size = 2016 cells
llama_kv_cache_unified: size =   70.88 MiB (  2016 cells,  18 layers,  1/1 seqs), K (f16):   35.44 MiB, V (f16): ...
llama_memory_recurrent: size =  598.50 MiB (     4 cells,  65 layers,  4 seqs), R (f32):   22.50 MiB, S (f32): ...
llama_new_context_with_model: KV self size  = 2560.00 MiB, K (f16): 1280.00 MiB, V (f16): 1280.00 MiB   (until 2025)
"""

import re
from fractions import Fraction

from windowtax.base.units import MIB
from windowtax.plan.logs.patterns import NUMBER, dtype_name, number_setting
from windowtax.plan.logs.record import LlamaCppCache, LlamaCppLog, Printed, printed

_CACHE = re.compile(
    rf"(llama_kv_cache\w*|llama_memory_recurrent): size\s*=\s*{NUMBER} MiB \(\s*(\d+) cells,\s*(\d+) layers"
    r"(?:,\s*(\d+)(?:/\s*(\d+))? seqs)?(?:\s+(\d+) rs_seq)?\)"
)
_CREATED = re.compile(r"creating\s+(non-)?SWA KV cache, size =\s*(\d+) cells")
_BUFFER = re.compile(rf"llama_kv_cache\w*:\s+\S+ KV buffer size =\s*{NUMBER} MiB")
_OLD = re.compile(rf"KV self size\s*=\s*{NUMBER} MiB")
_PART = re.compile(rf"\b([KVRS]) \((\w+)\):\s*{NUMBER} MiB")


def read_llamacpp(text: str) -> LlamaCppLog | None:
    """The record of a llama.cpp log. None where no line of it is llama.cpp's."""
    context = number_setting(text, "n_ctx")
    sequences = number_setting(text, "n_seq_max", "n_slots") or 1
    caches = _Caches(context, sequences)
    for line in text.splitlines():
        caches.read(line)
    caches.close()
    if not caches.found:
        return None
    types = [cache.parts["K"][0] for cache in caches.found if cache.kind == "kv" and "K" in cache.parts]
    unified = re.search(r"kv_unified\s*=\s*'?(true|false|1|0)", text)
    return LlamaCppLog(
        caches=tuple(caches.found),
        context_tokens=context,
        ubatch_tokens=number_setting(text, "n_ubatch"),
        unified=unified.group(1) in ("true", "1") if unified else None,
        full_windows="using full-size SWA cache" in text,
        cache_dtype=dtype_name(types[0]) if types else None,
        tensor_parallel=1,
    )


class _Caches:
    """The caches found so far. Buffers of devices are summed up, for logs that print no line with the whole."""

    def __init__(self, context_tokens: int | None, sequences: int) -> None:
        self.found: list[LlamaCppCache] = []
        self._context, self._sequences = context_tokens, sequences
        self._windowed: bool | None = None
        self._cells = context_tokens
        self._buffers: list[Printed] = []

    def read(self, line: str) -> None:
        """Takes one line."""
        if created := _CREATED.search(line):
            self.close()
            self._windowed, self._cells = not created.group(1), int(created.group(2))
        if buffer := _BUFFER.search(line):
            self._buffers.append(printed(buffer.group(1), "MiB"))
        cache = _cache(line, self._windowed) or _old_cache(line, self._context)
        if cache is not None:
            if cache.kind == "kv":
                self._buffers.clear()
            self.found.append(cache)

    def close(self) -> None:
        """Ends the cache that is being read."""
        if self._buffers and self._cells is not None:
            total = sum((buffer.value for buffer in self._buffers), Fraction())
            slack = sum((buffer.slack for buffer in self._buffers), Fraction())
            text = f"{float(total / MIB):,.2f} MiB"
            self.found.append(
                LlamaCppCache(
                    kind="kv",
                    cells=self._cells,
                    layers=None,
                    sequences=self._sequences,
                    copies=1,
                    windowed=self._windowed,
                    total=Printed(text, total, slack, MIB),
                )
            )
        self._buffers.clear()


def _cache(line: str, windowed: bool | None) -> LlamaCppCache | None:
    match = _CACHE.search(line)
    if match is None:
        return None
    name, size, cells, layers, sequences, streams, kept = match.groups()
    recurrent = name == "llama_memory_recurrent"
    # A recurrent cache has one cell per sequence; rs_seq are further states kept of each, to roll back to.
    copies = 1 + int(kept or 0) if recurrent else int(streams or 1)
    return LlamaCppCache(
        kind="state" if recurrent else "kv",
        cells=int(cells),
        layers=int(layers),
        sequences=int(sequences or 1),
        copies=copies,
        total=printed(size, "MiB"),
        windowed=None if recurrent else windowed,
        parts={part: (dtype, printed(number, "MiB")) for part, dtype, number in _PART.findall(line)},
    )


def _old_cache(line: str, context: int | None) -> LlamaCppCache | None:
    match = _OLD.search(line)
    if match is None or context is None:
        return None
    parts = {part: (dtype, printed(number, "MiB")) for part, dtype, number in _PART.findall(line)}
    return LlamaCppCache(
        kind="kv",
        cells=context,
        layers=None,
        sequences=1,
        copies=1,
        total=printed(match.group(1), "MiB"),
        parts=parts,
    )
