"""lm-eval's local-completions: likelihoods by echo and log-probabilities, beside transformers' own on the same weights.

The witness computes in float32 what the file's codes say, with its own tokenizer. The server runs as users start it,
and once more in float32, so that what the API adds can be told from what 16-bit numbers and 8-bit activations do.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any

from tools.conformance.outcome import Outcome, run_tool
from tools.conformance.server import NAME, serving
from windowtax.hub import fetch

TASKS = ("windowtax_choice", "windowtax_text", "windowtax_greedy")
WINDOW = 512
RUNS = {
    "as users start it": ((), 0.02, 0.02),
    "in float32": (("--dtype", "fp32", "--cache-dtype", "fp32", "--weights", "full"), 1e-4, 1e-5),
}
"""Options of the server, and how far from the witness it may be: all likelihoods together, in nats per token; and one
request, in probability (the geometric mean over its tokens: a token of 1 in 500,000 may be half a nat off, and no task
minds)."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A continuation's log-likelihood in nats, as lm-eval got it. context: None for a text from its first token on."""

    context: str | None
    text: str
    nats: float
    is_greedy: bool | None


def run(folder: Path, programs: Path) -> Outcome:
    """Runs the tasks twice, and the witness once."""
    witness = Witness()
    outcomes = [_one(folder, programs, name, witness) for name in RUNS]
    return Outcome(
        tool="lm-eval",
        rows=[row for one in outcomes for row in one.rows],
        faults=[fault for one in outcomes for fault in one.faults],
    )


def _one(folder: Path, programs: Path, name: str, witness: "Witness") -> Outcome:
    words, bound, largest_bound = RUNS[name]
    place = folder / f"lm-eval-{name.replace(' ', '-')}"
    _write_tasks(place)
    with serving(
        place / "server.log", "--max-model-len", str(WINDOW), "--kv-cache-memory-bytes", "256MiB", *words
    ) as url:
        code = _lm_eval(place, programs, url)
    if code:
        return Outcome(tool="lm-eval", rows=(), faults=[f"lm-eval ended with {code}: see {place / 'lm-eval.log'}"])
    scored = list(_scored(place))
    tokens = sum(witness.num_tokens(one) for one in scored)
    mean = sum(witness.difference(one) * witness.num_tokens(one) for one in scored) / tokens
    largest = max((witness.difference_of_probability(one) for one in scored), key=abs)
    greedy = [witness.is_greedy(one) == one.is_greedy for one in scored if one.is_greedy is not None]
    rows = [
        (f"{name}: scored", f"{len(scored)} requests, {tokens:,} tokens"),
        (f"{name}: difference to transformers, nats per token", f"{mean:+.1e} (bound {bound:g})"),
        (f"{name}: the largest of one request, in probability", f"{largest:+.1e} (bound {largest_bound:g})"),
        (f"{name}: greedy or not, as transformers says", f"{sum(greedy)} of {len(greedy)}"),
        *((f"{name}: {task}", value) for task, value in _results(place)),
    ]
    wrong = abs(mean) > bound or abs(largest) > largest_bound
    return Outcome(tool="lm-eval", rows=rows, faults=[f"{name}: likelihoods are off"] if wrong else ())


def _write_tasks(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for file in sorted((Path(__file__).parent / "tasks").iterdir()):
        (place / file.name).write_text(file.read_text("utf-8").replace("FOLDER", str(place)), encoding="utf-8")
    for old in (place / "out").rglob("*.json*"):
        old.unlink()


def _lm_eval(place: Path, programs: Path, url: str) -> int:
    model = f"model=default,base_url={url}/v1/completions,max_length={WINDOW},num_concurrent=4,tokenizer_backend=remote"
    return run_tool(
        place / "lm-eval.log", place, str(programs / "lm-eval"), "run", "--model", "local-completions",
        "--model_args", model, "--tasks", ",".join(TASKS), "--include_path", str(place), "--output_path", "out",
        "--log_samples",
    )  # fmt: skip


def _scored(place: Path) -> Iterator[Scored]:
    for task in TASKS[:2]:
        (path,) = (place / "out").rglob(f"samples_{task}_*.jsonl")
        for line in path.read_text("utf-8").splitlines():
            yield from _of_sample(json.loads(line))


def _of_sample(sample: dict[str, Any]) -> Iterator[Scored]:
    for arguments, (answer,) in zip(sample["arguments"].values(), sample["resps"], strict=True):
        if "arg_1" in arguments:
            yield Scored(arguments["arg_0"], arguments["arg_1"], float(answer[0]), str(answer[1]) == "True")
        else:
            yield Scored(None, arguments["arg_0"], float(answer), None)


def _results(place: Path) -> list[tuple[str, str]]:
    (path,) = (place / "out").rglob("results_*.json")
    found: list[tuple[str, str]] = []
    for task, values in json.loads(path.read_text("utf-8"))["results"].items():
        told = {name.partition(",")[0]: value for name, value in values.items() if isinstance(value, float)}
        found += [(f"{task} {name}", f"{value:.3f}") for name, value in told.items() if "stderr" not in name]
    return found


class Witness:
    """transformers on the same file: its tokenizer, its model in float32."""

    def __init__(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        path = fetch.pull(NAME)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        kind: Any = GgufConfig(dequantize=True)
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype="float32", quantization_config=kind
        )
        self._known: dict[tuple[str | None, str], tuple[float, bool, int]] = {}

    def difference(self, one: Scored) -> float:
        """Nats per token that the server is above the witness."""
        nats, _, count = self._score(one)
        return (one.nats - nats) / count

    def difference_of_probability(self, one: Scored) -> float:
        """The same of the geometric mean of its tokens' probabilities."""
        nats, _, count = self._score(one)
        return exp(one.nats / count) - exp(nats / count)

    def is_greedy(self, one: Scored) -> bool:
        """Whether each token is the likeliest."""
        return self._score(one)[1]

    def num_tokens(self, one: Scored) -> int:
        """Of the continuation."""
        return self._score(one)[2]

    def _score(self, one: Scored) -> tuple[float, bool, int]:
        found = self._known.get((one.context, one.text))
        if found is None:
            found = self._known[one.context, one.text] = self._computed(one)
        return found

    def _computed(self, one: Scored) -> tuple[float, bool, int]:
        import torch

        context, whole = self._ids(one)
        with torch.no_grad():
            logits = self._model(torch.tensor([whole[:-1]])).logits[0].log_softmax(-1)
        rows, targets = logits[len(context) - 1 :], torch.tensor(whole[len(context) :])
        nats = rows.gather(1, targets[:, None]).sum().item()
        return nats, bool((rows.argmax(-1) == targets).all()), len(targets)

    def _ids(self, one: Scored) -> tuple[Sequence[int], list[int]]:
        """The tokens before, and all: as lm-eval splits a pair, or a text behind the begin token."""

        def encode(text: str) -> list[int]:
            return self._tokenizer(text, add_special_tokens=False)["input_ids"]

        if one.context is None:
            return [self._tokenizer.bos_token_id], [self._tokenizer.bos_token_id, *encode(one.text)]
        return encode(one.context), encode(one.context + one.text)
