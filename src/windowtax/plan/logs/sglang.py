"""SGLang's start-up lines (mem_cache/memory_pool.py). It divides by 2^30 and prints "GB"; each rank prints its own.

[... TP0] KV Cache is allocated. #tokens: 367404, K size: 8.23 GB, V size: 8.23 GB
[... DP0 TP0] KV Cache is allocated. #tokens: 975424, KV size: 43.67 GB                       (MLA)
[...] KV Cache is allocated. dtype: torch.float8_e4m3fn, #tokens: 500000, K size: ...         (since 0.5.6)
[...] SWAKVPool mem usage: 3.18 GB, swa size: 29664, full size: 37081                         (both pools of windows)
[...] Mamba Cache is allocated. max_mamba_cache_size: 82, conv_state size: 0.13GB, ssm_state size: 7.29GB
"""

import re

from windowtax.base.units import GIB
from windowtax.plan.logs.patterns import NUMBER, dtype_name, number_setting, setting
from windowtax.plan.logs.record import Printed, SglangLog, SglangPool, printed

_KV = re.compile(rf"KV Cache is allocated\..*?#tokens: {NUMBER}")
_STATE = re.compile(rf"Mamba Cache is allocated\..*?max_mamba_cache_size: {NUMBER}")
_WINDOWS = re.compile(rf"SWAKVPool mem usage: {NUMBER} GB, swa size: (\d+), full size: (\d+)")
_PART = re.compile(rf"\b(K|V|KV|conv_state|ssm_state) size: {NUMBER}\s*GB")
_LABEL = re.compile(r"\[[^\]]*?((?:DP\d+ )?TP\d+)[^\]]*\]")
_NAMES = {"conv_state": "conv", "ssm_state": "ssm"}


def read_sglang(text: str) -> SglangLog | None:
    """The record of an SGLang log. None where no line of it is SGLang's."""
    pools: list[SglangPool] = []
    for line in text.splitlines():
        if both := _WINDOWS.search(line):
            whole = {"KV": printed(both.group(1), "GB", GIB)}
            pools.append(SglangPool(kind="kv", rows=int(both.group(3)), window_rows=int(both.group(2)), parts=whole))
        for kind, pattern in (("kv", _KV), ("state", _STATE)):
            match = pattern.search(line)
            if match:
                label = _LABEL.search(line)
                rows = int(match.group(1).replace(",", ""))
                pools.append(
                    SglangPool(kind=kind, rows=rows, parts=_parts(line), label=label.group(1) if label else "")
                )
    if not pools:
        return None
    dtype = re.findall(r"(?:KV Cache is allocated\. dtype|Using KV cache dtype): ([\w.]+)", text)
    return SglangLog(
        pools=tuple(pools),
        page_tokens=number_setting(text, "page_size", "--page-size"),
        tensor_parallel=_ranks(text),
        cache_dtype=dtype_name(dtype[-1] if dtype else setting(text, "kv_cache_dtype", "--kv-cache-dtype")),
    )


def _ranks(text: str) -> int | None:
    """Ranks that share the heads. With DP attention every rank keeps its own sequences whole."""
    ranks = number_setting(text, "tp_size", "--tp-size", "--tp", "tensor_parallel_size")
    if re.search(r"--enable-dp-attention|enable_dp_attention['\"]?\s*[=:]\s*True", text):
        replicas = number_setting(text, "dp_size", "--dp-size", "--dp")
        return max(1, (ranks or 1) // replicas) if replicas else ranks
    named = {int(rank) for rank in re.findall(r"\[[^\]]*?\bTP(\d+)[^\]]*\] (?:KV|Mamba) Cache is", text)}
    return ranks or (max(named) + 1 if len(named) > 1 and not re.search(r"\bDP\d+ TP", text) else None)


def _parts(line: str) -> dict[str, Printed]:
    found: list[tuple[str, str]] = _PART.findall(line)
    return {_NAMES.get(name, name): printed(number, "GB", GIB) for name, number in found}
