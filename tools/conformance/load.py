"""guidellm: synthetic prompts at several rates, streamed, with the token counts of the model's own tokenizer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.conformance.outcome import Outcome, run_tool
from tools.conformance.server import NAME, serving
from windowtax.engine.tokenizer import load_tokenizer
from windowtax.hub import fetch

PROMPT_TOKENS, OUTPUT_TOKENS, REQUESTS = 256, 32, 16
FORMATS = ("/v1/completions", "/v1/chat/completions", "/v1/responses")
STREAMS = 4


def run(folder: Path, programs: Path) -> Outcome:
    """Every format that it knows and we have, at four requests at a time."""
    place = folder / "guidellm"
    _write_tokenizer(place / "tokenizer")
    rows: list[tuple[str, str]] = []
    faults: list[str] = []
    with serving(place / "server.log", "--max-model-len", "1K", "--kv-cache-memory-bytes", "256MiB") as url:
        for form in FORMATS:
            name = form.rpartition("v1/")[2].replace("/", "-")
            report, log = place / f"{name}.json", place / f"{name}.log"
            report.unlink(missing_ok=True)
            code = _guidellm(place, programs, url, form, report, log)
            if code or not report.exists():
                faults.append(f"guidellm ended with {code} for {form}: see {log}")
                continue
            (found,) = json.loads(report.read_text("utf-8"))["benchmarks"]
            rows += [(f"{form}: {what}", value) for what, value in _figures(found["metrics"])]
            faults += [f"{form}: {fault}" for fault in _faults(form, found["metrics"])]
    return Outcome(tool="guidellm", rows=rows, faults=faults)


def _guidellm(place: Path, programs: Path, url: str, form: str, report: Path, log: Path) -> int:
    return run_tool(
        log, place, str(programs / "guidellm"), "run",
        "--backend", f"kind=openai_http,target={url},model=default,request_format={form}",
        "--profile", f"kind=concurrent,streams={STREAMS}", "--constraint", f"kind=max_requests,count={REQUESTS}",
        "--data", f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={OUTPUT_TOKENS}",
        "--tokenizer", f"kind=huggingface_auto,model={place / 'tokenizer'}", "--output", f"kind=json,path={report}",
        "--disable-console-interactive",
    )  # fmt: skip


def _write_tokenizer(place: Path) -> None:
    """The model's tokenizer as files, so that nothing has to come from a hub."""
    place.mkdir(parents=True, exist_ok=True)
    load_tokenizer(fetch.pull(NAME)).backend.save(str(place / "tokenizer.json"))
    (place / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def _figures(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    totals = metrics["request_totals"]
    yield "requests done, failed", f"{totals['successful']}, {totals['errored']}"
    for what, name, unit in (
        ("prompt tokens of a request", "prompt_token_count", ""),
        ("output tokens of a request", "output_token_count", ""),
        ("time to the first token", "time_to_first_token_ms", " ms"),
        ("between tokens", "inter_token_latency_ms", " ms"),
    ):
        yield what, f"{metrics[name]['successful']['median']:,.1f}{unit}"


def _faults(form: str, metrics: dict[str, Any]) -> Iterator[str]:
    totals = metrics["request_totals"]
    if totals["errored"] or totals["successful"] < REQUESTS:
        yield f"{totals['errored']} of {REQUESTS} requests failed"
    prompts = metrics["prompt_token_count"]["successful"]
    if form == FORMATS[0] and {prompts["min"], prompts["max"]} != {PROMPT_TOKENS}:
        yield f"prompts of {PROMPT_TOKENS} tokens are counted {prompts['min']} to {prompts['max']}"
    outputs = metrics["output_token_count"]["successful"]
    if {outputs["min"], outputs["max"]} != {OUTPUT_TOKENS}:
        yield f"answers of {OUTPUT_TOKENS} tokens are counted {outputs['min']} to {outputs['max']}"
