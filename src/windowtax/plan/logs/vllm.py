"""vLLM's start-up lines: worker.py, gpu_worker.py and kv_cache_utils.py print them; the words changed with versions.

Available KV cache memory: 8.11 GiB                                  (V1, each worker)
the rest of the memory reserved for KV Cache is 3.81GiB.             (V0, 0.6 to 0.8)
available_kv_cache_memory    53.29GiB                                (V0, the table of 0.6.5)
Memory profiling results: ... kv_cache_size=3.81GiB ...              (V0, 0.6.4)
# GPU blocks: 1952, # CPU blocks: 2048                               (V0; "# cuda blocks" in 0.7)
GPU KV cache size: 178,880 tokens                                    (V1, each engine core)
Maximum concurrency for 40,960 tokens per request: 4.37x
"""

import re

from windowtax.plan.logs.patterns import NUMBER, dtype_name, number_setting, setting
from windowtax.plan.logs.record import Printed, VllmLog, printed

_AVAILABLE = re.compile(
    r"(?:Available KV cache memory:|reserved for KV Cache is|available_kv_cache_memory|kv_cache_size[=:])\s*"
    rf"{NUMBER}\s*GiB",
    re.IGNORECASE,
)
_TOKENS = re.compile(rf"(?:GPU KV cache size:\s*{NUMBER} tokens|stored in KV cache \({NUMBER}\))")
_BLOCKS = re.compile(rf"(?:\b(?:GPU|cuda) blocks: |num_gpu_blocks(?: is)?\s*[:=]\s*){NUMBER}")
_CONCURRENCY = re.compile(rf"Maximum concurrency for {NUMBER} tokens per request: {NUMBER}x")
_BLOCK_TOKENS = re.compile(r"(?:attention block size to|cache block size to|Block size is set to) (\d+)")


def read_vllm(text: str) -> VllmLog | None:
    """The record of a vLLM log; of several starts in one text, the last. None where no line of it is vLLM's."""
    sizes = list(_TOKENS.finditer(text)) + list(_BLOCKS.finditer(text))
    if not sizes:
        return None
    end = max(match.end() for match in sizes)
    tokens, blocks = list(_TOKENS.finditer(text)), list(_BLOCKS.finditer(text))
    concurrency = list(_CONCURRENCY.finditer(text))
    sized = list(_BLOCK_TOKENS.finditer(text))
    block = int(sized[-1].group(1)) if sized else number_setting(text, "block_size", "--block-size")
    return VllmLog(
        # What a later start prints does not belong to this one, unless lines were pasted in another order.
        available=_available(text[:end]) or _available(text),
        tokens=_whole(tokens[-1].group(1) or tokens[-1].group(2)) if tokens else None,
        blocks=_whole(blocks[-1].group(1)) if blocks else None,
        concurrency=(_whole(concurrency[-1].group(1)), _times(concurrency[-1].group(2))) if concurrency else None,
        block_tokens=block,
        batched_tokens=number_setting(text, "max_num_batched_tokens", "--max-num-batched-tokens"),
        tensor_parallel=number_setting(text, "tensor_parallel_size", "--tensor-parallel-size", "-tp") or _workers(text),
        cache_dtype=dtype_name(setting(text, "kv_cache_dtype", "--kv-cache-dtype")),
    )


def _available(text: str) -> tuple[Printed, ...]:
    """One figure per worker of the last start: the last figure, and those before it that other workers printed."""
    found: dict[str, Printed] = {}
    for line in text.splitlines():
        match = _AVAILABLE.search(line)
        if match:
            worker = re.search(r"pid=(\d+)|(TP\d+)", line)
            name = worker.group(0) if worker else ""
            if name in found:
                found.clear()
            found[name] = printed(match.group(1), "GiB")
    return tuple(found.values())


def _workers(text: str) -> int | None:
    ranks = {int(rank) for rank in re.findall(r"Worker_(?:PP\d+_)?TP(\d+)", text)}
    return max(ranks) + 1 if ranks else None


def _times(number: str) -> Printed:
    times = printed(number, "x", 1)
    return Printed(f"{number}x", times.value, times.slack)


def _whole(number: str) -> int:
    return int(number.replace(",", ""))
