"""Answers with guesses and without, in turns, in one process; the tokens must be the same."""

import statistics

from benchmarks.kit.pieces import Round, on_idle_machine, say, task_of_piece, tell
from benchmarks.speculation.questions import Question, filler, questions

from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, open_files
from windowtax.engine.prompt import build_prompt
from windowtax.engine.request import Request
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.session import EngineOptions
from windowtax.engine.session_shared import open_shared_engine
from windowtax.engine.speculate import DRAFT_TOKENS
from windowtax.engine.tier_options import TierOptions
from windowtax.hub import fetch

ANSWER_TOKENS = 192
REPEATS = 3


def prompt_of(model: LoadedModel, question: Question, window: int) -> list[int]:
    """The question behind its document, and that behind filler up to about `window` tokens."""
    tokenizer = model.tokenizer
    assert tokenizer is not None
    documents = [("document", question.text)] if question.text else []
    ids = build_prompt(tokenizer, documents, question.asked).token_ids
    room = window - len(ids) - 16
    if question.filler and room > 0:
        before = tokenizer.decode(tokenizer.encode(filler(), add_special_tokens=False)[:room])
        ids = build_prompt(tokenizer, [("reference", before), *documents], question.asked).token_ids
    return ids


def answer(engine: Engine, ids: list[int], logprobs: int | None = None) -> Request:
    """One greedy answer, with the prompt's blocks found in the cache from the second time on."""
    request = engine.add(ids, SamplingParams(max_tokens=ANSWER_TOKENS, logprobs=logprobs))
    for _ in engine.run(request):
        pass
    return request


def parting(engines: dict[str, Engine], ids: list[int]) -> Round | None:
    """Where the two answers part, and how many nats lie there between the two likeliest tokens without guesses; None
    where they never do. Rows of other numbers are summed in another order, so that near ties can fall either way."""
    plain, guessed = (answer(engines[side], ids, logprobs=2) for side in ("without", "with"))
    pairs = zip(plain.output_ids, guessed.output_ids, strict=False)
    at = next((place for place, (a, b) in enumerate(pairs) if a != b), None)
    if at is None:
        return None
    (_, first), (_, second) = plain.logprobs[at].top[:2]
    return {"token": at, "nats": first - second}


def sides(model: LoadedModel, task: Round, question: Question) -> Round:
    """One question both ways."""
    ids = prompt_of(model, question, task["window"])
    options = {
        side: EngineOptions(cache_dtype=task["cache_dtype"], draft_tokens=tokens)
        for side, tokens in (("without", 0), ("with", DRAFT_TOKENS))
    }
    engines = {
        side: open_shared_engine(model, len(ids) + ANSWER_TOKENS + 64, one, max_sequences=1, tiers=TierOptions())
        for side, one in options.items()
    }
    tpots: dict[str, list[float]] = {side: [] for side in engines}
    last: dict[str, Request] = {}
    for turn in range(REPEATS + 1):
        for side, engine in engines.items():
            last[side] = request = answer(engine, ids)
            tpot = request.meter.tpot_s(len(request.output_ids))
            if turn and tpot is not None:
                tpots[side].append(tpot)
    meter = last["with"].meter
    found: Round = {
        "prompt_tokens": len(ids),
        "answer_tokens": len(last["with"].output_ids),
        "parting": parting(engines, ids),
        "steps": meter.decode_steps,
        "drafted": meter.drafted_tokens,
        "accepted": meter.accepted_tokens,
        "tpot_s": {side: statistics.median(times) for side, times in tpots.items()},
        "answer": last["with"].text,
    }
    for engine in engines.values():
        engine.close()
    return found


def main() -> None:
    """Measures the piece that it is told."""
    task = task_of_piece()
    files = open_files(fetch.pull(task["model"]))
    model = files.load(files.backend(task["cache_dtype"], "stored"))
    found = on_idle_machine()
    found["backend"] = model.backend.name
    for question in questions():
        say(f"  {question.name} ...")
        found[question.name] = sides(model, task, question)
    tell(found)


if __name__ == "__main__":
    main()
