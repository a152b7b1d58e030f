"""Prefill and decode of windowtax beside transformers: the same weights, the same tokens, in turns, in one process."""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from windowtax.catalog.read import gguf_family, read_gguf_file
from windowtax.engine.checkpoint import GgufFile, ModelWeights
from windowtax.engine.gauge import this_machine
from windowtax.engine.load import LoadedModel, load_model
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.session import EngineOptions, open_engine
from windowtax.hub import fetch
from windowtax.plan.roofline import decode_floor, prefill_floor
from windowtax.spec.dtypes import cache_dtype
from windowtax.texts.builtin import python_language_reference

CONTEXTS = (512, 2048, 8192)
DECODE_TOKENS = 24


@dataclass(frozen=True)
class Sample:
    """Seconds of one prefill, and of one decoded token behind it."""

    prefill_s: float
    decode_s: float


@dataclass(frozen=True)
class Cell:
    """Medians of one context. The ratios are medians of ratios inside a round: how many times as fast ours is."""

    context_tokens: int
    ours: Sample
    theirs: Sample
    prefill_ratio: float
    decode_ratio: float
    prefill_floor_s: float
    decode_floor_s: float


def transformers_model(path: Path) -> PreTrainedModel:
    """The same bf16 weights in transformers' Llama: ours, under the names that its checkpoints use."""
    spec, header = read_gguf_file(path)
    family = gguf_family(header)
    weights = ModelWeights(spec, family.gguf_weights(spec), GgufFile(header), "bf16")
    attention = spec.layers[0].attention
    config = LlamaConfig(
        vocab_size=spec.vocab_size,
        hidden_size=spec.hidden_size,
        intermediate_size=spec.layers[0].mlp.intermediate_size,
        num_hidden_layers=len(spec.layers),
        num_attention_heads=attention.num_query_heads,
        num_key_value_heads=attention.num_kv_heads,
        max_position_embeddings=spec.max_context_tokens,
        rms_norm_eps=spec.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": attention.rope.theta},
        tie_word_embeddings=spec.tie_embeddings,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    state = {
        source.key: torch.from_numpy(weights.floats(name, 0, weights.shape(name)[0])).bfloat16()
        for name, source in family.hf_weights(spec).items()
    }
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    return model


@torch.inference_mode()
def run_transformers(model: PreTrainedModel, tokens: list[int]) -> tuple[Sample, list[int]]:
    """One prefill and DECODE_TOKENS greedy tokens, by direct calls of the model: no generate() around it."""
    began = time.perf_counter()
    out = model(torch.tensor([tokens]), use_cache=True, logits_to_keep=1)
    prefilled = time.perf_counter()
    chosen = [int(out.logits[0, -1].argmax())]
    for _ in range(DECODE_TOKENS):
        out = model(torch.tensor([chosen[-1:]]), past_key_values=out.past_key_values, use_cache=True)
        chosen.append(int(out.logits[0, -1].argmax()))
    return Sample(prefilled - began, (time.perf_counter() - prefilled) / DECODE_TOKENS), chosen


def run_ours(model: LoadedModel, tokens: list[int]) -> tuple[Sample, list[int]]:
    """The same through the engine, as `windowtax ask` runs it."""
    engine = open_engine(model, len(tokens) + DECODE_TOKENS + 1, EngineOptions())
    request = engine.add(tokens, SamplingParams(max_tokens=DECODE_TOKENS + 1, ignore_eos=True))
    while engine.has_work:
        engine.step()
    tpot = request.meter.tpot_s(len(request.output_ids))
    assert tpot is not None and request.meter.ttft_s is not None
    return Sample(request.meter.ttft_s, tpot), request.output_ids


def measure(contexts: tuple[int, ...], rounds: int) -> list[Cell]:
    """All cells, the two engines in turns, after one round to warm up."""
    path = fetch.pull("smollm2-135m")
    ours, theirs = load_model(path), transformers_model(path)
    assert ours.tokenizer is not None
    tokens = ours.tokenizer.encode(python_language_reference())[: max(contexts)]
    cells: list[Cell] = []
    for context in contexts:
        pairs: list[tuple[Sample, Sample]] = []
        for turn in track(range(rounds + 1), f"{context} tokens", console=Console(stderr=True)):
            runs: list[Callable[[], tuple[Sample, list[int]]]] = [
                lambda n=context: run_ours(ours, tokens[:n]),
                lambda n=context: run_transformers(theirs, tokens[:n]),
            ]
            (a, ids_a), (b, ids_b) = (run() for run in (runs if turn % 2 else reversed(runs)))
            if turn % 2 == 0:
                (a, ids_a), (b, ids_b) = (b, ids_b), (a, ids_a)
            assert ids_a[0] == ids_b[0], "the two disagree on the first token"
            if turn:
                pairs.append((a, b))
        cells.append(cell(ours, context, pairs))
    return cells


def cell(model: LoadedModel, context: int, pairs: list[tuple[Sample, Sample]]) -> Cell:
    """Medians over the rounds, and the floors of this machine."""
    machine, layout = this_machine(), model.spec.layout(cache_dtype("bf16"))
    ours, theirs = (
        Sample(statistics.median(s.prefill_s for s in side), statistics.median(s.decode_s for s in side))
        for side in zip(*pairs, strict=True)
    )
    return Cell(
        context,
        ours,
        theirs,
        statistics.median(b.prefill_s / a.prefill_s for a, b in pairs),
        statistics.median(b.decode_s / a.decode_s for a, b in pairs),
        prefill_floor(model.spec, machine, context).seconds,
        decode_floor(model.spec, machine, context, layout).seconds,
    )


def show(cells: list[Cell]) -> None:
    """The table that the README quotes."""
    table = Table(title=f"SmolLM2-135M, bf16, {torch.get_num_threads()} threads, load average {os.getloadavg()[0]:.1f}")
    for column in ("context", "", "windowtax", "transformers", "ratio", "floor", "of floor"):
        table.add_column(column, justify="right", no_wrap=True)
    for c in cells:
        rate = c.context_tokens
        table.add_row(
            f"{rate:,}",
            "prefill tokens/s",
            f"{rate / c.ours.prefill_s:,.0f}",
            f"{rate / c.theirs.prefill_s:,.0f}",
            f"{c.prefill_ratio:.2f}",
            f"{rate / c.prefill_floor_s:,.0f}",
            f"{c.prefill_floor_s / c.ours.prefill_s:.0%}",
        )
        table.add_row(
            "",
            "decode tokens/s",
            f"{1 / c.ours.decode_s:,.1f}",
            f"{1 / c.theirs.decode_s:,.1f}",
            f"{c.decode_ratio:.2f}",
            f"{1 / c.decode_floor_s:,.1f}",
            f"{c.decode_floor_s / c.ours.decode_s:.0%}",
        )
    Console(width=110).print(table)


def main() -> None:
    """Reads the options, measures, prints the table, writes the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contexts", type=int, nargs="+", default=CONTEXTS)
    parser.add_argument("--json", type=Path, help="write all cells to this file")
    options = parser.parse_args()
    cells = measure(tuple(options.contexts), options.rounds)
    show(cells)
    if options.json:
        options.json.write_text(json.dumps([asdict(c) for c in cells], indent=2) + "\n")


if __name__ == "__main__":
    main()
