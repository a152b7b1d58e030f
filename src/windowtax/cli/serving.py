"""From the words of `windowtax serve` to a server that runs: load, size the pool, say what there is, serve."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from windowtax.base.errors import BadInput
from windowtax.base.units import format_bytes, format_exact_bytes, format_tokens, parse_bytes, parse_tokens
from windowtax.catalog.hardware_catalog import hardware, hardware_names
from windowtax.catalog.read import read_model
from windowtax.cli.ask import draft_tokens
from windowtax.cli.asking import open_model
from windowtax.cli.console import messages
from windowtax.cli.plan_words import priced_device
from windowtax.cli.serve_words import ServeWords
from windowtax.engine.books import window_tokens, windows_held
from windowtax.engine.engine import Engine
from windowtax.engine.gauge import this_machine
from windowtax.engine.load import LoadedModel
from windowtax.engine.service import EngineService, ServiceLimits
from windowtax.engine.session import EngineOptions, admit, longest_window
from windowtax.engine.session_shared import open_shared_engine
from windowtax.engine.tier_options import TierOptions
from windowtax.plan.page.form import Form, Start
from windowtax.plan.page.planner import Planner
from windowtax.price.api import PriceList
from windowtax.server.app import make_app
from windowtax.server.biller import Biller
from windowtax.server.keys import make_keyring
from windowtax.server.ledger import Ledger, ledger_path
from windowtax.server.logs import FORMATS, set_up
from windowtax.server.metrics import Metrics
from windowtax.server.normalize import Normalizer
from windowtax.server.opening import opening
from windowtax.server.reasoning import thoughts_of
from windowtax.server.run import bind, make_server
from windowtax.server.served import Served
from windowtax.server.settings import DEFAULT_PRICE_LIST, Settings
from windowtax.server.toolcalls.formats import check_parser
from windowtax.spec.hardware import Hardware

_HERE = ("127.0.0.1", "localhost", "::1")
_LEVELS = ("debug", "info", "warning", "error")
AUTO = "auto"
_FIRST_TOKENS = 16
"""A window that is surely wanted: what does not even hold this is refused before a weight is read."""


def run(name: str, words: ServeWords) -> None:
    """Serves until a signal comes. Raises what reading, admitting and binding raise, before any request is taken."""
    err = messages()
    if words.log_format not in FORMATS or words.log_level not in _LEVELS:
        raise BadInput(
            f"--log-format {words.log_format} and --log-level {words.log_level} make no log.",
            f"Formats: {', '.join(FORMATS)}; levels: {', '.join(_LEVELS)}.",
        )
    thoughts_of(words.reasoning_parser, None)
    check_parser(words.tool_call_parser)
    keyring, settings = make_keyring(words.api_key or (), words.api_keys_file), _settings(words)
    tiers = TierOptions.parse(words.cache_ram, words.cache_ssd)
    listening = bind(words.host, words.port)
    try:
        set_up(words.log_format, words.log_level)
        with opening(listening):
            engine, why = open_engine(name, words, tiers, err)
            served = _served(engine, words, settings)
        running = make_server(make_app(served, keyring), served)
        address = f"http://{words.host}:{listening.getsockname()[1]}"
        _say(err, engine, why, tiers, served, address, is_open=keyring.is_open)
        running.run(sockets=[listening])
    finally:
        listening.close()


def open_engine(name: str, words: ServeWords, tiers: TierOptions, err: Console) -> tuple[Engine, str]:
    """The engine, and why its window is what it is. Raises DoesNotFit, with the sum."""
    options = EngineOptions(
        cache_dtype=words.cache_dtype,
        step_tokens=words.max_num_batched_tokens,
        limit_bytes=None if words.kv_cache_memory_bytes is None else parse_bytes(words.kv_cache_memory_bytes),
        draft_tokens=draft_tokens(words.speculate),
        weights=words.weights,
    )
    files = open_model(name, words.dtype, err, rope=words.rope, attention=words.attention)
    asked = None if words.max_model_len == AUTO else parse_tokens(words.max_model_len)
    admit(files, asked or _FIRST_TOKENS, options)
    with err.status(f"loading {files.spec.name} ..."):
        model = files.load(files.backend(options.cache_dtype, options.weights))
    window, why = _window(model, asked, options)
    most = words.max_num_seqs
    return open_shared_engine(model, window, options, max_sequences=most, policy=words.eviction, tiers=tiers), why


def _window(model: LoadedModel, asked: int | None, options: EngineOptions) -> tuple[int, str]:
    claimed = model.spec.max_context_tokens
    if asked is not None:
        if asked > claimed:
            raise BadInput(
                f"--max-model-len {asked:,} is more than the {claimed:,} tokens that {model.spec.name} was made for.",
                f"Stretch it with --rope yarn:{-(-asked // claimed)}, or take a model with a longer window.",
            )
        return asked, "as asked"
    longest = longest_window(model, options)
    return longest, "the model's own" if longest >= claimed else "the longest that the memory holds"


def _settings(words: ServeWords) -> Settings:
    """What needs no model: read, and refused, before one is loaded."""
    return Settings(
        names=tuple(words.served_model_name or ()),
        chat_template=None if words.chat_template is None else _template(words.chat_template),
        hosts=(*_HERE, "[::1]", *(words.allowed_hosts or ())) if words.host in _HERE else ("*",),
        cors_origins=tuple(words.cors_origin or ()),
        body_bytes=parse_bytes(words.max_body_bytes),
        drain_s=words.drain_timeout,
        usd_per_hour=words.usd_per_hour,
        normalizer=Normalizer.parse(words.normalize or ()),
        reasoning_parser=words.reasoning_parser,
        tool_call_parser=words.tool_call_parser,
        price_list=DEFAULT_PRICE_LIST if words.compare_api is None else PriceList.parse(words.compare_api),
    )


def _served(engine: Engine, words: ServeWords, settings: Settings) -> Served:
    machine = this_machine(say=messages().print)
    rent = None if machine.usd_per_hour is None else machine.usd_per_hour.value
    settings = replace(
        settings,
        names=settings.names or (engine.model.spec.name,),
        usd_per_hour=rent if settings.usd_per_hour is None else settings.usd_per_hour,
    )
    limits = ServiceLimits(max_waiting=words.max_waiting, timeout_s=words.request_timeout)
    service = EngineService(engine, limits)
    return Served(
        service=service,
        settings=settings,
        metrics=Metrics(service, settings.names[0]),
        biller=Biller(service.tally, settings.price_list, settings.usd_per_hour),
        ledger=None if words.ledger == "none" else Ledger(ledger_path(words.ledger)),
        planner=_planner(engine, words, machine),
    )


def _planner(engine: Engine, words: ServeWords, machine: Hardware) -> Planner:
    """Plans around the served model on this machine; other models and machines are those of the catalog."""
    from windowtax.plan.page.controls import model_choices

    spec = engine.model.spec
    form = Form(
        model=spec.name,
        context=window_tokens(engine),
        output_tokens=min(512, max(1, window_tokens(engine) // 2)),
        hardware=machine.name,
        cache_dtype=words.cache_dtype,
    )
    start = Start(
        form=form,
        read_spec=lambda name: spec if name == spec.name else read_model(name),
        device=priced_device,
        models={**model_choices(spec.name), spec.name: spec.name},
        devices={name: hardware(name).title for name in hardware_names()},
    )
    return Planner(start)


def _template(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(f"The chat template {path} cannot be read: {error}") from None


def _say(
    err: Console, engine: Engine, why: str, tiers: TierOptions, served: Served, address: str, *, is_open: bool
) -> None:
    """The start-up banner: what computes, what the cache holds, for how many, and who can reach it."""
    backend, cache, config = engine.model.backend, engine.cache, engine.scheduler.config
    window = window_tokens(engine)
    reason = f" ({backend.why_not})" if backend.why_not else ""
    token_bytes = cache.layout.growth_bytes_per_token
    ram = [f"host RAM, up to {format_bytes(tiers.ram_bytes)}"] if tiers.ram_bytes else []
    disk = [f"{tiers.ssd}, up to {format_bytes(tiers.ssd_bytes)}"] if tiers.ssd else []
    lines = [
        ("model", f"{served.name}, computed by {backend.name}{reason}; weights {backend.weights_text}: "
                  f"{format_bytes(engine.model.weight_bytes)}"),
        ("window", f"{format_tokens(window)} tokens, {why}"),
        ("KV cache", f"{format_exact_bytes(cache.layout.pool_bytes(cache.num_blocks))}; {token_bytes:,} B per token"),
        ("users", f"{windows_held(engine):.2f} at that window; up to {config.max_sequences:,} requests at once"),
        ("kept in", "; ".join(["the pool while there is room", *ram, *disk])),
        ("step", f"up to {config.max_step_tokens:,} tokens"),
        ("ledger", str(served.ledger.path) if served.ledger else "none"),
        ("address", address),
    ]  # fmt: skip
    rules = served.settings.normalizer.rules
    if rules:
        lines.insert(-1, ("normalize", ", ".join(rule.kind for rule in rules)))
    for name, text in lines:
        err.print(f"{name:9} {text}", markup=False, highlight=False)
    public = not any(f"//{name}:" in address for name in _HERE)
    if public:
        who = "everybody who reaches this machine may use it: set --api-key" if is_open else "with an API key"
        err.print(f"{'open':9} this listens beyond this machine, {who}", style="bold yellow" if is_open else None)
