"""What an engine does with the same model on the same chips: pages, batches, prefixes, chunks, separate pools."""

from dataclasses import replace

from windowtax.base.errors import BadInput
from windowtax.plan.techniques.base import Pair, State, technique

_SHARED = 0.9


@technique(
    "paged-attention",
    "Paged cache",
    paths=(4,),
    term="B_max: memory kept for tokens that are there",
    article="4: managing memory like an OS",
    source="Kwon et al. 2023, arXiv 2309.06180",
)
def paged_attention(base: State) -> Pair:
    """Blocks as the window fills, against one piece for the longest window that the model claims."""
    longest, context = base.spec.max_context_tokens, base.sizing.workload.context_tokens
    reserved = replace(base, window_tokens=max(longest, context))
    change = f"room for {context:,} tokens instead of {max(longest, context):,} reserved per request"
    return Pair(without=reserved, with_it=base, change=change)


@technique(
    "continuous-batching",
    "Continuous batching",
    paths=(4,),
    term="B: places in the batch that work",
    article="3: serving",
    source="Yu et al. 2022 (Orca), OSDI",
)
def continuous_batching(base: State) -> Pair:
    """Places are filled at once; a static batch waits for its longest answer, of lengths spread evenly from 0 to
    that."""
    users = base.sizing.workload.users
    # Of B numbers spread evenly over 0 to 1 the mean is 1/2, the largest B / (B + 1) on average.
    filled = (users + 1) / (2 * users)
    static = replace(base, slots_filled=filled)
    return Pair(
        without=static, with_it=base, change=f"{filled:.0%} of the places work in a static batch (assumed lengths)"
    )


@technique(
    "prefix-caching",
    "Prefix caching",
    paths=(1,),
    term="prompt tokens computed; B_max: shared blocks",
    article="1: vLLM prefix caching; 4: paging unlocks sharing",
    source="Zheng et al. 2024 (SGLang), arXiv 2312.07104",
)
def prefix_caching(base: State) -> Pair:
    """Nine tenths of each prompt are the same for all users (assumed) and in the cache."""
    prompt = base.sizing.workload.prompt_tokens
    shared = min(int(prompt * _SHARED) // base.sizing.block_size * base.sizing.block_size, prompt - 1)
    if shared < 1:
        raise BadInput(f"A prompt of {prompt:,} tokens has no whole block to share.", "Take a longer context.")
    kept = replace(base, cached_tokens=shared, shared_tokens=shared)
    return Pair(without=base, with_it=kept, change=f"{shared:,} of {prompt:,} prompt tokens are found again (assumed)")


@technique(
    "chunked-prefill",
    "Chunked prefill",
    paths=(4,),
    term="the longest gap between tokens; TTFT rises a little",
    article="3: chunked-prefill table",
    source="Agrawal et al. 2024 (Sarathi-Serve), arXiv 2403.02310",
)
def chunked_prefill(base: State) -> Pair:
    """Chunks beside decode steps, against whole prompts before which all others stop."""
    prompt, chunk = base.sizing.workload.prompt_tokens, base.sizing.chunk_tokens
    whole = replace(base, sizing=replace(base.sizing, chunk_tokens=prompt))
    chunked = replace(base, gap_tokens=min(chunk, prompt))
    return Pair(without=whole, with_it=chunked, change=f"a prompt of {prompt:,} tokens in chunks of {chunk:,}")


@technique(
    "pd-disaggregation",
    "Prefill and decode on separate machines",
    paths=(4,),
    term="time between tokens: no other prompts in it",
    source="Zhong et al. 2024 (DistServe), arXiv 2401.09670",
)
def pd_disaggregation(base: State) -> Pair:
    """Decoders never stop for a prompt. Prompts cost as much as before, on machines that are not counted here."""
    apart = replace(base, prompts_between=False)
    outputs = base.sizing.workload.output_tokens
    change = f"{base.sizing.workload.users - 1:,} other prompts per {outputs:,} output tokens are read elsewhere"
    return Pair(without=base, with_it=apart, change=change)
