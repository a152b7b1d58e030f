"""What `ask` and `demo` share: load a model, put a question to texts, stream the answer, make the bill."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from windowtax.base.errors import BadInput, DoesNotFit
from windowtax.base.units import format_bytes, format_tokens
from windowtax.cli.models import pull_with_bar
from windowtax.engine.bill import Bill, make_bill
from windowtax.engine.gauge import this_machine
from windowtax.engine.load import LoadedModel, ModelFiles, open_files
from windowtax.engine.memory import resident_bytes
from windowtax.engine.prompt import Prompt, build_prompt
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.session import EngineOptions, admit, open_engine, usable_bytes
from windowtax.texts.read import Document


@dataclass(frozen=True)
class Answer:
    """The text of an answer, and its bill."""

    text: str
    bill: Bill


def open_model(
    name_or_path: str, dtype: str, err: Console, *, rope: str | None = None, attention: str | None = None
) -> ModelFiles:
    """The model's files, pulled first if need be; no weight is read yet. rope, attention: overrides.

    Raises UnknownName, FetchFailed, BadInput, UnsupportedModel.
    """
    files = open_files(pull_with_bar(name_or_path, err), dtype=dtype, rope=rope, attention=attention)
    spec = files.spec
    err.print(
        f"{spec.name}: {spec.total_parameters:,} parameters, window {format_tokens(spec.max_context_tokens)} tokens",
        highlight=False,
    )
    return files


def load(
    files: ModelFiles, make_prompt: Callable[[], Prompt], max_tokens: int, options: EngineOptions, err: Console
) -> tuple[LoadedModel, Prompt]:
    """Reads the weights, and makes the prompt meanwhile.

    Raises DoesNotFit: for the weights before any is read, for the window as soon as its length is known.
    """
    free = usable_bytes(files.device)
    admit(files, max_tokens, options, free)
    backend = files.backend(options.cache_dtype, options.weights)
    made: list[Prompt] = []

    def meanwhile() -> None:
        made.append(make_prompt())
        admit(files, len(made[0].token_ids) + max_tokens, options, free)

    with err.status(f"loading {files.spec.name} ..."):
        model = files.load(backend, meanwhile)
    why = f", because {backend.why_not}" if backend.why_not else ""
    err.print(
        f"computed by {backend.name}{why}; weights {backend.weights_text}: {format_bytes(model.weight_bytes)}",
        highlight=False,
    )
    return model, made[0]


def put_together(
    files: ModelFiles, documents: Sequence[Document], question: str, max_tokens: int, err: Console
) -> Prompt:
    """The prompt, after saying what it takes of the window. Raises DoesNotFit where prompt and answer exceed it."""
    if files.tokenizer is None:
        raise BadInput(f"{files.spec.name} has no tokenizer.json.", "Put the model's tokenizer.json into its folder.")
    prompt = build_prompt(files.tokenizer, [(document.name, document.text) for document in documents], question)
    window, num_prompt = files.spec.max_context_tokens, len(prompt.token_ids)
    num_chars = sum(document.num_chars for document in documents)
    err.print(
        f"text: {len(documents)} document{'s' if len(documents) != 1 else ''}, {num_chars:,} characters = "
        f"{prompt.num_text_tokens:,} tokens; prompt: {num_prompt:,} tokens, "
        f"{num_prompt / window:.1%} of the window of {window:,}",
        highlight=False,
    )
    if num_prompt + max_tokens > window:
        raise DoesNotFit(
            f"The prompt is {num_prompt:,} tokens and the answer may take {max_tokens:,}: that is "
            f"{num_prompt + max_tokens - window:,} more than the window of {window:,} tokens. Nothing was cut.",
            f"Give less text (at most some {max(0, window - max_tokens):,} tokens), take a model with a longer window "
            f"(windowtax models list), or stretch this one with a RoPE scaling, for example "
            f"--rope yarn:{-(-(num_prompt + max_tokens) // window)}: it then reads past what it was trained on. "
            "Retrieval, which reads only what the question needs, is to come.",
        )
    return prompt


def answer(
    model: LoadedModel,
    prompt: Prompt,
    params: SamplingParams,
    options: EngineOptions,
    *,
    err: Console,
    show: Callable[[str], None],
    usd_per_hour: float | None,
) -> Answer:
    """Runs one request: progress on `err`, text through `show` as it comes. Raises DoesNotFit before any work."""
    hardware = this_machine(say=err.print)
    before = resident_bytes()
    engine = open_engine(model, len(prompt.token_ids) + params.max_tokens, options)
    request = engine.add(prompt.token_ids, params)
    events = engine.run(request)
    with _prefill_bar(err) as bar:
        task = bar.add_task("prefill", total=len(prompt.token_ids), rate="")
        for event in events:
            done = min(event.num_computed_tokens, len(prompt.token_ids))
            rate = request.meter.prefill_tokens / max(request.meter.prefill_s, 1e-9)
            bar.update(task, completed=done, rate=f"{rate:,.0f} tokens/s")
            if event.token_id is not None:
                break
    show(request.text)
    for event in events:
        show(event.text)
    price = usd_per_hour if usd_per_hour is not None else _usd_per_hour(hardware)
    bill = make_bill(
        engine,
        request,
        hardware,
        cache_dtype=options.cache_dtype,
        num_cached_tokens=prompt.num_text_tokens,
        usd_per_hour=price,
        resident_before_bytes=before,
    )
    return Answer(request.text, bill)


def _usd_per_hour(hardware: object) -> float | None:
    price = getattr(hardware, "usd_per_hour", None)
    return None if price is None else price.value


def _prefill_bar(err: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} / {task.total:,.0f} tokens"),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("time left"),
        TimeRemainingColumn(),
        console=err,
    )
