"""A job in transformers: direct calls of the model, no generate() around them; sdpa attention, bf16."""

import time

import common
import torch
from transformers import AutoConfig, AutoModelForCausalLM


@torch.inference_mode()
def main() -> None:
    """Prefill, where the job says so copies of the cache, decode."""
    task = common.job()
    torch.set_num_threads(2)
    ids, batch = common.tokens(task), task["batch"]
    config = AutoConfig.from_pretrained(task["model"])
    if task["rope_factor"] > 1:
        config.rope_parameters = {**config.rope_parameters, "rope_type": "linear", "factor": float(task["rope_factor"])}
    model = AutoModelForCausalLM.from_pretrained(
        task["model"], config=config, dtype=torch.bfloat16, attn_implementation="sdpa"
    ).eval()
    loaded = time.time()
    # A batch is prefilled as a batch only where it must be: to measure decode, copies of one sequence's cache will do.
    prompt = torch.tensor([ids[: task["fill"]]])
    prefill_s: list[float] = []
    for _ in range(task["repeats"]):
        out = None
        seconds, out = common.timed(lambda: model(prompt, use_cache=True, logits_to_keep=1))
        prefill_s.append(seconds)
    chosen = [int(out.logits[0, -1].argmax())]
    first_token = time.time()
    cache = out.past_key_values
    times = task["context"] // task["fill"]
    if times > 1 or batch > 1:
        for layer in cache.layers:
            layer.keys, layer.values = (x.repeat(batch, 1, times, 1) for x in (layer.keys, layer.values))
    decode_s: list[float] = []
    for _ in range(task["decode"]):
        token = torch.tensor([chosen[-1:]] * batch)
        seconds, out = common.timed(lambda t=token: model(t, past_key_values=cache, use_cache=True))
        decode_s.append(seconds)
        chosen.append(int(out.logits[0, -1].argmax()))
    common.tell(prefill_s=prefill_s, decode_s=decode_s, loaded=loaded, first_token=first_token, ids=chosen[:8])


main()
