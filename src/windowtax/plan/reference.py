"""The page docs/reference/plan-json.md, generated: `python -m windowtax.plan.reference` prints it."""

SOURCED = "figure: {value, unit, basis, source, date}"

KEYS: dict[str, tuple[str, str]] = {
    "schema_version": ("integer", "1; rises when a key changes its meaning or goes"),
    "model": ("text", "the model's name"),
    "family": ("text", "the family that read its config"),
    "max_context_tokens": ("integer", "the window the model claims, --rope counted in"),
    "context_tokens": ("integer", "the window at its fullest: prompt and output together"),
    "prompt_tokens": ("integer", "context_tokens - output_tokens"),
    "output_tokens": ("integer", "generated tokens of each call"),
    "cached_tokens": ("integer", "tokens of each prompt found in a prefix cache, not computed"),
    "users": ("integer", "windows held at the same time"),
    "cache_dtype": ("text", "in what bits keys and values are kept"),
    "weights_dtype": ("text", "in what bits the layers' matrices are kept"),
    "parameters.total": ("integer", "numbers in the checkpoint, a tied head once"),
    "parameters.active": ("integer", "numbers that one token uses"),
    "cache.growth_bytes_per_token": ("integer", "bytes that each further token costs once all windows are full"),
    "cache.window_bytes": ("integer", "bytes of all windows and chunks when full"),
    "cache.state_bytes": ("integer", "bytes that every sequence holds however short it is"),
    "cache.total_bytes": ("integer", "one user at context_tokens, as the architecture asks"),
    "cache.block_size_tokens": ("integer", "tokens per block of the allocated reading"),
    "cache.chunk_tokens": ("integer", "most tokens of one request that a step of prefill computes"),
    "cache.allocated_bytes_per_user": ("integer", "the same window in whole blocks, with the chunk's headroom"),
    "cache.users_bytes": ("integer", "allocated_bytes_per_user times users, each byte stored once"),
    "cache.groups[].kinds": ("list of text", "attention kinds of the group's layers"),
    "cache.groups[].layers": ("integer", "layers that keep the same things"),
    "cache.groups[].token_bytes": ("integer", "bytes of one kept token over these layers"),
    "cache.groups[].window": ("integer or null", "tokens kept, null for all"),
    "cache.groups[].chunk": ("integer or null", "tokens per chunk, null for no chunks"),
    "weights.bytes": ("integer", "all weights, scales included, each stored once"),
    "activations.bytes": ("integer", "of one accelerator: a prefill chunk and all users' logits"),
    "hardware.name": ("text", "the catalog's name"),
    "hardware.title": ("text", "the name for people"),
    "hardware.memory_bytes": (SOURCED, "memory of one accelerator, B"),
    "hardware.usable_memory": (SOURCED, "share of it that may be used"),
    "hardware.read_bytes_per_s": (SOURCED, "peak memory bandwidth, B/s"),
    "hardware.bandwidth_efficiency": (SOURCED, "share of it that a decode step reaches"),
    "hardware.peak_flops_per_s.<type>": (SOURCED, "dense FLOP/s by element type"),
    "hardware.compute_efficiency.<type>": (SOURCED, "share of it that a prefill reaches"),
    "hardware.layer_overhead_s": (SOURCED, "s per layer and step that no roofline explains"),
    "hardware.accelerators_per_node": (SOURCED, "accelerators in a node"),
    "hardware.link_bytes_per_s": (SOURCED + " or null", "B/s per direction between the accelerators of a node"),
    "hardware.network_bytes_per_s": (SOURCED + " or null", "B/s per direction and accelerator to other nodes"),
    "hardware.usd_per_hour": (SOURCED + " or null", "rent of one accelerator"),
    "fit.fits": ("boolean", "whether all users fit"),
    "fit.accelerators": ("integer", "ranks x stages x ring x replicas; ranks: the larger of the two parallelisms"),
    "fit.tensor_parallel": ("integer", "ranks that split every layer"),
    "fit.pipeline_stages": ("integer", "nodes that deal out the layers; 1 unless no node holds one window"),
    "fit.replicas": ("integer", "copies of the model"),
    "fit.ring": ("integer", "parts of every sequence, each on its own tensor-parallel ranks"),
    "fit.expert_parallel": ("integer", "ranks that share the routed experts; 1: as tensor_parallel"),
    "fit.nodes": ("integer", "nodes that this takes"),
    "fit.kv_copies": ("number", "how often the ranks of a group store each cached byte together"),
    "fit.users_per_group": ("integer", "users of the fullest replica"),
    "fit.most_users": ("integer", "windows of context_tokens that the whole deployment holds"),
    "fit.longest_context_tokens": ("integer or null", "at users_per_group; null: unbounded"),
    "fit.accelerator.memory_bytes": ("integer", "memory of the fullest accelerator"),
    "fit.accelerator.usable_bytes": ("integer", "what may be used of it"),
    "fit.accelerator.weights_bytes": ("integer", "its share of the weights"),
    "fit.accelerator.activations_bytes": ("integer", "as activations.bytes"),
    "fit.accelerator.cache_bytes": ("integer", "its share of the cache of its group's users, as allocated"),
    "fit.accelerator.left_bytes": ("integer", "what remains; below zero is what is missing"),
    "fit.choices[].tensor_parallel": ("integer", "one group of this size by itself"),
    "fit.choices[].weights_bytes": ("integer", "weights on each of its accelerators"),
    "fit.choices[].cache_bytes_per_user": ("integer", "one window on each of its accelerators, as allocated"),
    "fit.choices[].kv_copies": ("number", "how often the group stores each cached byte"),
    "fit.choices[].most_users": ("integer", "windows that the group holds; 0: not even one"),
    "time.ttft_s": ("number", "time to the first token, alone, reading and computing overlapped"),
    "time.ttft_serial_s": ("number", "the same without overlap"),
    "time.ttft_bound_by": ("text", "memory or compute"),
    "time.tpot_s": ("number", "one decode step of a group's users, windows full, overlapped"),
    "time.tpot_serial_s": ("number", "the same without overlap"),
    "time.tpot_bound_by": ("text", "memory or compute"),
    "time.tpot_cache_share": ("number", "share of the bytes read in that step that are cache"),
    "time.loaded_tpot_low_s": ("number", "between tokens under steady load, other prompts read meanwhile: overlapped"),
    "time.loaded_tpot_high_s": ("number", "the same without overlap"),
    "time.call_s": ("number", "first token and all others, undisturbed by other prompts"),
    "time.output_tokens_per_s": ("number", "of the whole deployment under steady load, without overlap"),
    "equation.batch": ("integer", "sequences per step of one stage and attention group"),
    "equation.memory_s": ("number", "t_mem: reading weights and cache"),
    "equation.compute_s": ("number", "t_comp: matrices and attention"),
    "equation.step_overlap_s": ("number", "the longer of both, with link and overhead"),
    "equation.step_serial_s": ("number", "the sum of both, with link and overhead"),
    "equation.sweet_spot_batch": ("number", "B*: computing takes as long as reading the weights, from the peaks"),
    "equation.reached_sweet_spot_batch": ("number", "B* with what is reached of the peaks"),
    "equation.memory_limit_batch": ("integer", "windows that one replica holds"),
    "equation.cache_passes_weights_tokens": ("integer or null", "context from which more cache than weights is read"),
    "equation.prefill_equal_tokens": ("integer or null", "L_eq: prompt whose attention costs as much as its matrices"),
    "equation.decode_equal_tokens": ("integer or null", "context at which one token's attention does"),
    "equation.cache_time_share": ("number", "share of a decode step's time that reads the cache"),
    "equation.cache_time_share_500k": ("number", "the same at 500,000 tokens"),
    "equation.batch_for_68_percent_500k": ("integer or null", "sequences from which that share is 68 percent"),
    "equation.batch_for_94_percent_500k": ("integer or null", "sequences from which it is 94 percent"),
    "load.most_in_flight": ("integer", "windows that one replica holds"),
    "load.now.users": ("integer", "at the users asked for: users of one replica"),
    "load.now.in_flight": ("integer", "at the users asked for: of these, those whose window is in memory"),
    "load.now.ttft_s": ("number", "at the users asked for: mean time to the first token, waiting included"),
    "load.now.tpot_s": ("number", "at the users asked for: mean time between tokens, other prompts read meanwhile"),
    "load.now.requests_per_s": ("number", "at the users asked for: of one replica"),
    "load.now.output_tokens_per_s": ("number", "at the users asked for: of one replica"),
    "load.knee.users": ("integer", "where tokens/s / TPOT is largest: users of one replica"),
    "load.knee.in_flight": ("integer", "where tokens/s / TPOT is largest: of these, those whose window is in memory"),
    "load.knee.ttft_s": ("number", "where tokens/s / TPOT is largest: mean time to the first token, waiting included"),
    "load.knee.tpot_s": (
        "number",
        "where tokens/s / TPOT is largest: mean time between tokens, other prompts read meanwhile",
    ),
    "load.knee.requests_per_s": ("number", "where tokens/s / TPOT is largest: of one replica"),
    "load.knee.output_tokens_per_s": ("number", "where tokens/s / TPOT is largest: of one replica"),
    "load.full.users": ("integer", "with memory full: users of one replica"),
    "load.full.in_flight": ("integer", "with memory full: of these, those whose window is in memory"),
    "load.full.ttft_s": ("number", "with memory full: mean time to the first token, waiting included"),
    "load.full.tpot_s": ("number", "with memory full: mean time between tokens, other prompts read meanwhile"),
    "load.full.requests_per_s": ("number", "with memory full: of one replica"),
    "load.full.output_tokens_per_s": ("number", "with memory full: of one replica"),
    "load.curve[].users": ("integer", "from one user to twice what memory holds: users of one replica"),
    "load.curve[].in_flight": (
        "integer",
        "from one user to twice what memory holds: of these, those whose window is in memory",
    ),
    "load.curve[].ttft_s": (
        "number",
        "from one user to twice what memory holds: mean time to the first token, waiting included",
    ),
    "load.curve[].tpot_s": (
        "number",
        "from one user to twice what memory holds: mean time between tokens, other prompts read meanwhile",
    ),
    "load.curve[].requests_per_s": ("number", "from one user to twice what memory holds: of one replica"),
    "load.curve[].output_tokens_per_s": ("number", "from one user to twice what memory holds: of one replica"),
    "slo.ttft_s": ("number or null", "promised mean time to the first token"),
    "slo.tpot_s": ("number or null", "promised mean time between tokens"),
    "slo.kept": ("boolean or null", "whether the plan keeps it"),
    "slo.most_users_per_replica": ("integer or null", "users of a replica up to whom it is kept"),
    "cost.usd_per_hour": ("number", "all accelerators"),
    "cost.usd_per_user_hour": ("number", "holding one window for an hour beside as many as fit"),
    "cost.usd_per_call": ("number", "prompt and output, while the machines are busy"),
    "cost.usd_per_call_prompt": ("number", "the prompt's part"),
    "cost.usd_per_call_output": ("number", "the output's part"),
    "cost.usd_per_mtok_prompt": ("number", "per million prompt tokens"),
    "cost.usd_per_mtok_output": ("number", "per million output tokens"),
    "warnings[]": ("text", "what a reader must know before using the numbers"),
}
"""Every key of the JSON: its type and its meaning."""

_HEAD = """# The JSON of `windowtax plan`

`windowtax plan MODEL --json` prints one object with these keys; `windowtax compare A B --json` and
`windowtax sweep MODEL --json` print a list of such objects. `--csv` prints the same as rows: dotted keys, no lists, of
figures the value only, empty for null.

Bytes and tokens are plain integers, times are seconds, money is US dollars. `time` is null where the workload does not
fit, `load` where not even one window does, `cost` is null there and where no price is known. A *figure* carries
`value`, `unit`, `basis` (datasheet, derived, measured or assumed), `source` and `date`. The cache is counted in
`--cache-dtype bf16` unless another is given.

This page is generated by `python -m windowtax.plan.reference`.

| key | type | meaning |
|---|---|---|
"""


def reference_page() -> str:
    """The page as it must stand in docs/reference/plan-json.md."""
    rows = (f"| `{key}` | {kind} | {meaning} |\n" for key, (kind, meaning) in KEYS.items())
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    print(reference_page(), end="")
