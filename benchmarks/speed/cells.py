"""The cells of the speed table: which jobs are run, and which of their figures are held against each other."""

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

K = 1024
FILL_TOKENS = 2 * K
"""Behind a longer context decode is measured on copies of the blocks of so many prefilled tokens, in every engine but
vLLM: what dense attention costs does not depend on what the cache says."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the table. short: what its rows begin with. native_tokens: RoPE is scaled linearly beyond."""

    name: str
    short: str
    native_tokens: int
    gguf_weights: str


SMOL = Model("smollm2-135m", "smol", 8 * K, "Q4_1")
GEMMA = Model("gemma-3-270m", "gemma", 32 * K, "Q4_K_M")
QWEN = Model("qwen2.5-coder-0.5b", "qwen", 32 * K, "Q4_K_M")


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
        mine, theirs = list(self.ours.values()), list(self.peers.values())
        return [job for pair in zip_longest(mine, theirs) for job in pair if job is not None]


def zip_longest(a: list[Job], b: list[Job]) -> list[tuple[Job | None, Job | None]]:
    """Pairs, the shorter list filled up with None."""
    size = max(len(a), len(b))
    return [(a[i] if i < len(a) else None, b[i] if i < len(b) else None) for i in range(size)]


def rows() -> list[Row]:
    """The whole table."""
    return [*_dense(SMOL), *_levers(), *_batches(), *_around(), *_dense_small(GEMMA), *_dense_small(QWEN)]


def _repeats(context: int) -> int:
    """Of every engine's prefills and decodes: the median is of an engine that has touched its memory, where that is
    not too long."""
    return 3 if context <= 8 * K else 1


def _ours(model: Model, context: int, weights: str, *, fill: int | None = None, **more: Any) -> Job:
    fill = context if fill is None else fill
    repeats = _repeats(context)
    return Job(engine="ours", model=model, context=context, fill=fill, weights=weights, repeats=repeats, **more)


def _both(model: Model, context: int, **more: Any) -> dict[str, Job]:
    return {weights: _ours(model, context, weights, **more) for weights in ("stored", "full")}


def _llama(model: Model, context: int, *, flash: bool, **more: Any) -> Job:
    """Its prefill is best with flash attention, its decode without."""
    fill = context if flash else min(context, FILL_TOKENS)
    repeats = _repeats(context)
    return Job(engine="llama", model=model, context=context, fill=fill, flash=flash, repeats=repeats, **more)


def _hf(model: Model, context: int, **more: Any) -> Job:
    repeats = _repeats(context)
    return Job(engine="hf", model=model, context=context, fill=context, decode=12, repeats=repeats, **more)


def _vllm(model: Model, contexts: tuple[int, ...], batch: int = 1) -> Job:
    longest = max(contexts)
    repeats = _repeats(longest)
    return Job(
        engine="vllm",
        model=model,
        context=longest,
        fill=longest,
        contexts=contexts,
        batch=batch,
        repeats=repeats,
        decode=12,
    )


def _dense(model: Model) -> list[Row]:
    """Prefill and decode of one sequence. llama.cpp prefills up to 8K only: it falls ever further behind the others."""
    short, long = (512, 2 * K, 8 * K), (16 * K, 32 * K)
    found: list[Row] = []
    for context in (*short, *long):
        vllm = _vllm(model, short if context in short else long)
        ours = _both(model, context)
        peers = {"vllm": vllm, "hf": _hf(model, context)}
        prefill = peers | ({"llama": _llama(model, context, flash=True)} if context in short else {})
        decode = peers | {"llama": _llama(model, context, flash=False)}
        size = _size(context)
        goal = 1.5 if context == 512 else 2.0 if context == 2 * K else 3.0
        found.append(
            Row(
                name=f"{model.short} prefill {size}",
                section=f"{model.short} prefill",
                metric="prefill",
                context=context,
                ours=ours,
                peers=prefill,
                goal=goal,
                floor_goal=0.6,
            )
        )
        if context != 16 * K:
            found.append(
                Row(
                    name=f"{model.short} decode {size}",
                    section=f"{model.short} decode",
                    metric="decode",
                    context=context,
                    ours=ours,
                    peers=decode,
                    goal=3.0,
                    floor_goal=0.8,
                )
            )
    return found


def _levers() -> list[Row]:
    """Decode with a cache in fewer bits, and with the top 64 blocks of 32."""
    found: list[Row] = []
    for context in (512, 2 * K, 8 * K, 32 * K):
        for cache in ("int8", "k8v4", "k4v4"):
            far = context == 32 * K
            job = _ours(SMOL, context, "stored", fill=min(context, FILL_TOKENS), cache_dtype=cache)
            found.append(
                Row(
                    name=f"smol decode {_size(context)} {cache}",
                    section="smol decode, cache in fewer bits",
                    metric="decode",
                    context=context,
                    ours={"stored": job},
                    peers={"llama": _llama(SMOL, context, flash=False)},
                    goal=4.0 if context >= 8 * K else None,
                    against="smol decode 32K" if far else None,
                    against_goal=(1.7 if cache == "int8" else 2.2) if far else None,
                )
            )
    dense = _ours(SMOL, 128 * K, "stored", fill=FILL_TOKENS, decode=8)
    found.append(
        Row(
            name="smol decode 128K",
            section="smol decode, top 64 blocks of 32",
            metric="decode",
            context=128 * K,
            ours={"stored": dense},
            peers={},
            floor_goal=0.8,
        )
    )
    for context, goal in ((32 * K, 5.0), (128 * K, 15.0)):
        job = _ours(SMOL, context, "stored", fill=FILL_TOKENS, attention="full=topk:64+block:32")
        found.append(
            Row(
                name=f"smol decode {_size(context)} top-64",
                section="smol decode, top 64 blocks of 32",
                metric="decode",
                context=context,
                ours={"stored": job},
                peers={},
                against=f"smol decode {_size(context)}",
                against_goal=goal,
            )
        )
    return found


def _batches() -> list[Row]:
    found: list[Row] = []
    for batch in (8, 16):
        peers = {
            "llama": _llama(SMOL, 2 * K, flash=False, batch=batch),
            "vllm": _vllm(SMOL, (2 * K,), batch),
            "hf": _hf(SMOL, 2 * K, batch=batch),
        }
        ours = {
            w: Job(engine="ours", model=SMOL, context=2 * K, fill=2 * K, weights=w, batch=batch)
            for w in ("stored", "full")
        }
        found.append(
            Row(
                name=f"smol batch {batch}",
                section="smol decode, batches at 2K each",
                metric="decode",
                context=2 * K,
                batch=batch,
                ours=ours,
                peers=peers,
                goal=3.0,
            )
        )
    return found


def _around() -> list[Row]:
    """A busy neighbour; a cold start; memory."""
    busy = _ours(SMOL, 2 * K, "stored", neighbour=True)
    peer = Job(engine="llama", model=SMOL, context=2 * K, fill=FILL_TOKENS, neighbour=True)
    found = [
        Row(
            name="smol decode 2K, busy neighbour",
            section="smol beside a busy process",
            metric="decode",
            context=2 * K,
            ours={"stored": busy},
            peers={"llama": peer},
            against="smol decode 2K",
            against_goal=1 / 2.5,
        ),
        Row(
            name="smol prefill 2K, busy neighbour",
            section="smol beside a busy process",
            metric="prefill",
            context=2 * K,
            ours={"stored": busy},
            peers={},
            against="smol prefill 2K",
            against_goal=1 / 2.5,
        ),
    ]
    cold = {
        w: Job(engine="ours", model=SMOL, context=512, fill=512, weights=w, decode=2, cold=True)
        for w in ("stored", "full")
    }
    peers = {
        "llama": Job(engine="llama", model=SMOL, context=512, fill=512, decode=2, flash=True, cold=True),
        "hf": Job(engine="hf", model=SMOL, context=512, fill=512, decode=2, cold=True),
        "vllm": Job(engine="vllm", model=SMOL, context=512, fill=512, contexts=(512,), decode=2, cold=True),
    }
    found.append(
        Row(
            name="smol start",
            section="smol, cold process to first token of a 512-token prompt",
            metric="start",
            context=512,
            ours=cold,
            peers=peers,
            goal=1.0,
        )
    )
    for context in (512, 8 * K):
        peers = {"llama": _llama(SMOL, context, flash=True), "hf": _hf(SMOL, context)}
        found.append(
            Row(
                name=f"smol memory {_size(context)}",
                section="smol, peak memory of the process",
                metric="memory",
                context=context,
                ours=_both(SMOL, context),
                peers=peers,
                goal=1.0,
            )
        )
    return found


def _dense_small(model: Model) -> list[Row]:
    """Fewer cells for the other models; Gemma's window cannot be filled with copies, so its prefills are whole."""
    found: list[Row] = []
    for context in (512, 2 * K, 8 * K):
        ours = _both(model, context)
        peers: dict[str, Job] = {"hf": _hf(model, context)}
        if context == 2 * K:
            peers |= {"vllm": _vllm(model, (512, 2 * K))}
        if context == 512:
            peers |= {"vllm": _vllm(model, (512, 2 * K))}
        llama = {} if context == 8 * K else {"llama": Job(engine="llama", model=model, context=context, fill=context)}
        size = _size(context)
        goal = 1.5 if context == 512 else 2.0 if context == 2 * K else 3.0
        for metric, share, wanted in (("prefill", 0.6, goal), ("decode", 0.8, 3.0)):
            found.append(
                Row(
                    name=f"{model.short} {metric} {size}",
                    section=f"{model.short} {metric}",
                    metric=metric,
                    context=context,
                    ours=ours,
                    peers=peers | llama,
                    goal=wanted,
                    floor_goal=share,
                )
            )
    return found


def _size(context: int) -> str:
    return f"{context // K}K" if context >= K else str(context)
