"""Element types, and the cache dtypes that are built of them.

A cache dtype says which planes one cached vector per head becomes: its elements, and the scales that belong to them.
What a person writes (`cache_dtype` reads it): a name; a name for keys and one for values, `int8/int4_hadamard`, which
has the short name `k8v4`, as `int4_channel/int4_hadamard` is `k4v4`; and behind a plus what else is chosen: `+edges:2`
(the first and last two layers that keep tokens stay in bf16), `+index:mxfp4` (keys of a sparse index), `+state:bf16`
and `+conv:fp32` (recurrent and convolution states).
"""

from dataclasses import dataclass, replace
from math import prod

from windowtax.base.errors import BadInput, UnknownName
from windowtax.spec.planes import Growth, Plane


@dataclass(frozen=True, slots=True)
class ElementType:
    """One stored number: its name and its width in bits."""

    name: str
    bits: int


FP32 = ElementType("fp32", 32)
BF16 = ElementType("bf16", 16)
FP16 = ElementType("fp16", 16)
FP8 = ElementType("fp8", 8)
INT8 = ElementType("int8", 8)
INT8_HADAMARD = ElementType("int8_hadamard", 8)
INT5 = ElementType("int5", 5)
INT4 = ElementType("int4", 4)
INT4_HADAMARD = ElementType("int4_hadamard", 4)
INT3 = ElementType("int3", 3)
E2M1 = ElementType("e2m1", 4)
UE8M0 = ElementType("ue8m0", 8)

ELEMENT_TYPES = {element.name: element for element in (FP32, BF16, FP16, FP8, INT8, INT5, INT4, INT3, E2M1, UE8M0)}


@dataclass(frozen=True, slots=True)
class RowFormat:
    """A served layout of one latent row: its first part in `element` with a scale per `group` numbers, its RoPE part in
    `rope`, and `pad_bytes` behind them. page_align_bytes: what each page of such rows is padded to."""

    element: ElementType
    scale: ElementType
    group: int
    rope: ElementType
    pad_bytes: int = 0
    page_align_bytes: int = 1

    def planes(self, name: str, dim: int, rope_dim: int, grows: Growth) -> tuple[Plane, ...]:
        """The planes of rows of dim + rope_dim numbers. Raises BadInput where the groups do not fit."""
        _check_group(dim, self.group, "latent rows")
        found = [
            Plane(name, (dim,), self.element.name, self.element.bits, grows),
            Plane(f"{name}_scale", (dim // self.group,), self.scale.name, self.scale.bits, grows),
            Plane(f"{name}_rope", (rope_dim,), self.rope.name, self.rope.bits, grows),
        ]
        if self.pad_bytes:
            found.append(Plane(f"{name}_pad", (self.pad_bytes,), "uint8", 8, grows))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class CacheDtype:
    """In what bits keys and values are kept.

    scale: the type of the scales, None without; there are `scales` of them (2: with a zero point or minimum) for each
    `group` numbers, or per token and head where group is None. span: keys have a scale and a least value per channel
    for so many tokens instead, and wait in bf16 until so many are there. key_element: the element of keys, if another.
    value: the dtype of values, if another.
    latent, shared: served layouts of latent rows (MLA) and of rows that are key and value at once (DeepSeek-V4).
    latent_only: there is no such layout for keys and values of heads. index: of the keys of a sparse index, by name.
    state: of recurrent states, None for what the model asks for. conv: of convolution states. edges: so many first and
    last layers stay in bf16.
    """

    name: str
    element: ElementType
    scale: ElementType | None
    note: str
    group: int | None = None
    scales: int = 1
    span: int = 1
    key_element: ElementType | None = None
    value: "CacheDtype | None" = None
    latent: RowFormat | None = None
    shared: RowFormat | None = None
    latent_only: bool = False
    index: str | None = None
    state: ElementType | None = None
    conv: ElementType = BF16
    edges: int = 0

    @property
    def values(self) -> "CacheDtype":
        """The dtype of values."""
        return self if self.value is None else self.value

    @property
    def index_dtype(self) -> "CacheDtype":
        """The dtype of index keys: as wide as the cache, but fp8 with a scale per token where that is narrow."""
        if self.index is not None:
            return CACHE_DTYPES[self.index]
        return self if self.element.bits >= 16 else CACHE_DTYPES["fp8_token_head"]

    @property
    def inner(self) -> "CacheDtype":
        """The same for layers that are no edge."""
        return replace(self, edges=0)

    @property
    def edge(self) -> "CacheDtype":
        """The dtype of the layers at the edges: bf16, states as chosen."""
        return replace(CACHE_DTYPES["bf16"], state=self.state, conv=self.conv)

    def key_planes(self, num_heads: int, dim: int) -> tuple[Plane, ...]:
        """The planes of one token's keys: as other vectors, unless scales run along the tokens. Raises BadInput."""
        if self.span == 1 or self.scale is None:
            return replace(self, element=self.key_element or self.element).vector_planes("k", num_heads, dim)
        grows = Growth.PER_TOKEN
        codes = Plane("k", (num_heads, dim), self.element.name, self.element.bits, grows)
        return (codes, Plane("k_scale", (num_heads, self.scales, dim), *_type(self.scale), grows, self.span))

    def tail_planes(self, num_heads: int, dim: int) -> tuple[Plane, ...]:
        """Where a sequence's newest keys wait until `span` of them can be kept; none where scales are per token."""
        shape = (self.span, num_heads, dim)
        return () if self.span == 1 else (Plane("k_tail", shape, *_type(BF16), Growth.PER_SEQUENCE),)

    def vector_planes(self, name: str, num_heads: int, dim: int, grows: Growth = Growth.PER_TOKEN) -> tuple[Plane, ...]:
        """The planes of one vector of `dim` numbers per head and row: [num_heads, dim], and its scales.

        Raises BadInput where the dtype has no such layout, or the groups of its scales do not divide `dim`.
        """
        if self.latent_only:
            raise BadInput(
                f"The cache dtype {self.name} is a layout of latent rows (MLA); this model keeps keys and values.",
                "Take fp8, or another dtype of keys and values.",
            )
        if self.span > 1:
            raise BadInput(
                f"The cache dtype {self.name} is a layout of keys of heads; this model also keeps {name}.",
                "Take another cache dtype.",
            )
        data = Plane(name, (num_heads, dim), self.element.name, self.element.bits, grows)
        if self.scale is None:
            return (data,)
        return (data, Plane(f"{name}_scale", self._scale_shape(name, num_heads, dim), *_type(self.scale), grows))

    def latent_planes(self, rank: int, rope_dim: int) -> tuple[Plane, ...]:
        """The planes of one latent row: `rank` compressed numbers and `rope_dim` of the shared RoPE key."""
        if self.latent is not None:
            return self.latent.planes("latent", rank, rope_dim, Growth.PER_TOKEN)
        rope = self.vector_planes("k_rope", 1, rope_dim) if rope_dim else ()
        return self.vector_planes("latent", 1, rank) + rope

    def shared_planes(self, dim: int, rope_dim: int, grows: Growth) -> tuple[Plane, ...]:
        """The planes of one row that is key and value at once: dim numbers, of which the last rope_dim are turned."""
        if self.shared is not None:
            return self.shared.planes("kv", dim - rope_dim, rope_dim, grows)
        return self.vector_planes("kv", 1, dim, grows)

    def index_planes(self, dim: int, grows: Growth = Growth.PER_TOKEN) -> tuple[Plane, ...]:
        """The planes of one index key."""
        return self.index_dtype.vector_planes("index_k", 1, dim, grows)

    def vector_bytes(self, dim: int) -> float:
        """Bytes of one vector of `dim` numbers with its scales, as facts tables print them."""
        return sum(prod(plane.shape) * plane.bits / 8 / plane.span for plane in self.key_planes(1, dim))

    def _scale_shape(self, name: str, num_heads: int, dim: int) -> tuple[int, ...]:
        if self.group is None:
            return (num_heads,) if self.scales == 1 else (num_heads, self.scales)
        _check_group(dim, self.group, f"the dtype {self.name} of {name}")
        groups = dim // self.group
        return (num_heads, groups) if self.scales == 1 else (num_heads, groups, self.scales)


def _type(element: ElementType) -> tuple[str, int]:
    return element.name, element.bits


def _check_group(dim: int, group: int, what: str) -> None:
    if dim % group:
        raise BadInput(
            f"{what} has one scale per {group} numbers, which does not divide a vector of {dim}.",
            "Take a cache dtype with a scale per token and head (int8, int4, fp8_token_head) or without (bf16, fp8).",
        )


CHANNEL_SPAN = 32
"""Tokens that share a channel's scale: those of one block of the engine."""

_INT8 = CacheDtype(
    "int8",
    INT8,
    FP32,
    "1 byte per number and one fp32 scale per token and head; keys behind a Hadamard matrix",
    key_element=INT8_HADAMARD,
)
_INT4 = CacheDtype("int4", INT4, FP32, "half a byte per number and one fp32 scale per token and head")
_INT4_HADAMARD = CacheDtype(
    "int4_hadamard",
    INT4_HADAMARD,
    FP16,
    "values: half a byte per number behind a Hadamard matrix, an fp16 scale and middle per token and head",
    scales=2,
)
_INT4_CHANNEL = CacheDtype(
    "int4_channel",
    INT4,
    FP16,
    "keys: half a byte per number, an fp16 scale and least value per channel and 32 tokens; values: int4_hadamard",
    scales=2,
    span=CHANNEL_SPAN,
    value=_INT4_HADAMARD,
)

_MLA_FP8 = RowFormat(FP8, FP32, 128, BF16)
_MLA_NVFP4 = RowFormat(E2M1, FP8, 16, FP8)
_V4_FP8 = RowFormat(FP8, UE8M0, 64, BF16, pad_bytes=1, page_align_bytes=576)

_TQ3 = CacheDtype("tq_k3", INT3, FP16, "TurboQuant keys: 3 bits, one fp16 norm")
_TQ4 = CacheDtype("tq_k4", INT4, FP16, "TurboQuant keys: 4 bits, one fp16 norm")
_TQ8 = CacheDtype("tq_k8", FP8, None, "keys in fp8")
_TQ_V4 = CacheDtype("tq_v4", INT4, FP16, "values: 4 bits, fp16 scale and zero point", scales=2)
_TQ_V3 = CacheDtype("tq_v3", INT3, FP16, "values: 3 bits, fp16 scale and zero point", scales=2)


def _turbo(name: str, keys: CacheDtype, values: CacheDtype) -> CacheDtype:
    return replace(keys, name=name, value=values, note=f"TurboQuant as vLLM keeps it: {keys.note}; {values.note}")


CACHE_DTYPES = {
    dtype.name: dtype
    for dtype in (
        CacheDtype("fp32", FP32, None, "4 bytes per number, also of convolution states", conv=FP32),
        CacheDtype("bf16", BF16, None, "2 bytes per number, the default"),
        CacheDtype("fp16", FP16, None, "2 bytes per number"),
        CacheDtype("fp8", FP8, None, "1 byte per number, one scale per layer (not counted: it does not grow)"),
        CacheDtype("fp8_token_head", FP8, FP32, "1 byte per number and one fp32 scale per token and head"),
        _INT8,
        _INT4,
        _INT4_CHANNEL,
        _INT4_HADAMARD,
        CacheDtype("mxfp8", FP8, UE8M0, "1 byte per number and one exponent byte per 32 numbers", group=32),
        CacheDtype("mxfp4", E2M1, UE8M0, "half a byte per number and one exponent byte per 32 numbers", group=32),
        CacheDtype("nvfp4", E2M1, FP8, "half a byte per number and one e4m3 scale per 16 numbers", group=16),
        CacheDtype("q8_0", INT8, FP16, "llama.cpp: 34 bytes per 32 numbers", group=32),
        CacheDtype("q5_1", INT5, FP16, "llama.cpp: 24 bytes per 32 numbers", group=32, scales=2),
        CacheDtype("q5_0", INT5, FP16, "llama.cpp: 22 bytes per 32 numbers", group=32),
        CacheDtype("q4_1", INT4, FP16, "llama.cpp: 20 bytes per 32 numbers", group=32, scales=2),
        CacheDtype("q4_0", INT4, FP16, "llama.cpp: 18 bytes per 32 numbers", group=32),
        CacheDtype("iq4_nl", INT4, FP16, "llama.cpp: 18 bytes per 32 numbers, not evenly spaced", group=32),
        _turbo("turboquant_k8v4", _TQ8, _TQ_V4),
        _turbo("turboquant_4bit_nc", _TQ4, _TQ_V4),
        _turbo("turboquant_k3v4_nc", _TQ3, _TQ_V4),
        _turbo("turboquant_3bit_nc", _TQ3, _TQ_V3),
        CacheDtype("tq3_0", INT3, FP16, "a llama.cpp fork's TurboQuant: 14 bytes per 32 numbers", group=32),
        CacheDtype("tbq3_0", INT3, FP16, "TurboQuant as proposed to llama.cpp: 98 bytes per 256 numbers", group=256),
        CacheDtype(
            "fp8_ds_mla",
            FP8,
            FP32,
            "DeepSeek's served rows: MLA 512 e4m3 + 4 fp32 scales + 64 bf16 = 656 bytes; V4 584 bytes",
            latent=_MLA_FP8,
            shared=_V4_FP8,
            latent_only=True,
        ),
        CacheDtype(
            "nvfp4_ds_mla",
            E2M1,
            FP8,
            "MLA rows of 352 bytes: 512 e2m1 + 32 e4m3 scales + 64 e4m3",
            latent=_MLA_NVFP4,
            latent_only=True,
        ),
    )
}

OTHER_NAMES = {
    "f32": "fp32",
    "f16": "fp16",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
    "fp8_per_token_head": "fp8_token_head",
    "int8_per_token_head": "int8",
    "int4_per_token_head": "int4",
    "k8v4": "int8/int4_hadamard",
    "k4v4": "int4_channel/int4_hadamard",
}
"""Spellings of engines and of configs, and short names -> ours."""


def cache_dtype(name: str) -> CacheDtype:
    """The cache dtype of that name or combination (see the head of this file). Raises UnknownName or BadInput."""
    base, *choices = name.split("+")
    keys, slash, values = OTHER_NAMES.get(base, base).partition("/")
    found = _named(keys)
    if slash:
        found = replace(found, value=replace(_named(values).values, value=None))
        if found.latent_only or found.values.latent_only:
            raise BadInput(f"{name!r}: latent rows are keys and values at once, so they have one dtype.")
    for choice in choices:
        found = _chosen(found, choice, name)
    plain = not slash and not choices
    return found if plain else replace(found, name=name, note=_note(found, slash, choices))


def _named(name: str) -> CacheDtype:
    known = OTHER_NAMES.get(name, name)
    if known not in CACHE_DTYPES:
        raise UnknownName(
            f"There is no cache dtype called {name!r}.",
            f"There are: {', '.join(CACHE_DTYPES)}. Keys and values may differ: int8/int4 (short: k8v4). "
            "Behind a plus: edges:2, index:mxfp4, state:bf16, conv:fp32.",
        )
    return CACHE_DTYPES[known]


def _chosen(dtype: CacheDtype, choice: str, whole: str) -> CacheDtype:
    what, _, value = choice.partition(":")
    if what == "edges" and value.isdecimal():
        return replace(dtype, edges=int(value))
    if what == "index" and value:
        return replace(dtype, index=_named(value).name)
    if what == "state" and value:
        return replace(dtype, state=element_type(OTHER_NAMES.get(value, value)))
    if what == "conv" and value:
        return replace(dtype, conv=element_type(OTHER_NAMES.get(value, value)))
    raise BadInput(
        f"{whole!r}: {choice!r} is no choice of a cache dtype.",
        "Write edges:2, index:mxfp4, state:bf16 or conv:fp32 behind a plus.",
    )


def _note(dtype: CacheDtype, slash: str, choices: list[str]) -> str:
    parts = [f"keys: {dtype.note}; values: {dtype.values.note}" if slash else dtype.note]
    if dtype.edges:
        parts.append(f"the first and last {dtype.edges} layers that keep tokens in bf16")
    parts += [choice for choice in choices if not choice.startswith("edges")]
    return "; ".join(parts)


def element_type(name: str) -> ElementType:
    """The element type of that name. Raises UnknownName."""
    if name not in ELEMENT_TYPES:
        raise UnknownName(f"There is no element type called {name!r}.", f"There are: {', '.join(ELEMENT_TYPES)}.")
    return ELEMENT_TYPES[name]
