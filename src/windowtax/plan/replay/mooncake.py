"""Mooncake's trace format (Qin et al. 2025, Mooncake, FAST '25; kvcache-ai/Mooncake, FAST25-release/traces).

One object per line: timestamp (ms since the start), input_length and output_length (tokens), hash_ids (one number per
block of 512 tokens of the prompt, the last one also where it is not full; equal numbers, equal prefixes).
"""

from pathlib import Path

from windowtax.base.errors import BadInput
from windowtax.plan.replay.trace import Chains, Line, Trace, TraceRequest, by_arrival, read_lines

MOONCAKE_BLOCK_TOKENS = 512


def read_mooncake(path: Path, block_tokens: int = MOONCAKE_BLOCK_TOKENS) -> Trace:
    """Reads the file. Raises BadInput naming line and field."""
    chains = Chains()
    without_ids = without_output = 0
    requests: list[TraceRequest] = []
    for line in read_lines(path):
        request = _request(line, chains, block_tokens)
        requests.append(request)
        without_ids += "hash_ids" not in line
        without_output += line.raw("output_length") == 0
    if not requests:
        raise BadInput(f"{path.name} holds no requests.")
    ordered, was_unordered = by_arrival(requests)
    notes: list[str] = []
    if without_ids:
        notes.append(f"{without_ids:,} requests have no hash_ids: they find nothing in a prefix cache.")
    if without_output:
        notes.append(
            f"{without_output:,} requests have an output_length of 0: counted as 1, the token that is sampled."
        )
    if was_unordered:
        notes.append("The file is not in order of time: requests were sorted by arrival.")
    return Trace(
        name=path.name,
        format="mooncake",
        requests=ordered,
        block_tokens=block_tokens,
        num_keys=len(chains),
        notes=tuple(notes),
    )


def _request(line: Line, chains: Chains, block_tokens: int) -> TraceRequest:
    arrival_s = line.number_of("timestamp") / 1e3
    prompt, output = line.whole("input_length", 1), line.whole("output_length", 0)
    ids = line.whole_numbers("hash_ids") or []
    blocks = -(-prompt // block_tokens)
    if ids and not blocks - 1 <= len(ids) <= blocks:
        raise line.error(
            "hash_ids",
            f"has {len(ids)} ids, but {prompt:,} prompt tokens are {blocks} blocks of {block_tokens}.",
            "If the trace was made with other blocks, say so with --block-tokens.",
        )
    # A block that is not full is not kept: only whole blocks are found again.
    return TraceRequest(arrival_s, prompt, max(1, output), chains.name(ids[: prompt // block_tokens]), line.number)
