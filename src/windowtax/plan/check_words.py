"""From a sentence to what it claims: a quantity with a unit, models, a context, a dtype, users, a device."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from windowtax.base.errors import BadInput, WindowtaxError
from windowtax.catalog.hardware_catalog import hardware, hardware_names
from windowtax.catalog.read import catalog_entry, model_names
from windowtax.spec.dtypes import CACHE_DTYPES, OTHER_NAMES

_BYTES = {
    "b": 1,
    "byte": 1,
    "bytes": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}
_SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3}

_NUMBER = r"(?<![\w.])(\$?)\s?(\d[\d,_]*(?:\.\d+)?)"
_QUANTITY = re.compile(
    _NUMBER
    + r"\s*("
    + "|".join([*sorted(_BYTES, key=len, reverse=True), "ms", "seconds", "sec", "s", "x", "%"])
    + r")?"
    r"(?![\w%])\s*((?:/|per|a|each)\s*(?:token|tok)s?)?",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"(?<![\w.$])(\d[\d,_]*(?:\.\d+)?)\s*(k|m|million|thousand)?\s*-?(tokens?|tok|context|ctx|window)?\b", re.I
)
_USERS = re.compile(
    r"(?:(\d[\d,]*)\s*(?:users?|sequences?|requests?|streams?)|batch(?: size)?(?: of)?\s*(\d[\d,]*))", re.I
)
_DEVICES = re.compile(r"(\d+)\s*(?:x|×)?\s*$", re.I)
_BITS = re.compile(r"(\d+)[ -]?bits?\b", re.I)

EXACT_CONTEXTS = {"k": (1024, 1000), "thousand": (1000,), "m": (1024**2, 1000**2), "million": (1000**2, 1024**2)}


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """The claimed number. value: in `unit`; half: half a unit of its last digit, what rounds to it is exact.

    kind: "bytes", "seconds", "usd", "ratio" or "share". per_token: the sentence says so.
    """

    text: str
    value: float
    half: float
    unit: str
    kind: str
    per_token: bool


@dataclass(frozen=True, kw_only=True)
class Context:
    """A length in tokens under each convention, the usual one first: 128K is 131,072, or 128,000."""

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Words:
    """A sentence taken apart. Empty, None or 1 where it does not say."""

    quantity: Quantity
    models: tuple[str, ...]
    context: Context | None
    dtype: str | None
    users: int
    device: str | None
    devices: int | None
    layer: bool
    rest: str


def read_words(text: str) -> Words:
    """Takes a sentence apart. Raises BadInput where no quantity with a unit is in it."""
    rest, models = _models(text)
    rest, device, devices = _device(rest)
    rest, users = _users(rest)
    rest, dtype = _dtype(rest)
    quantity, rest = _quantity(rest, text)
    context = _context(rest)
    return Words(
        quantity=quantity,
        models=models,
        context=context,
        dtype=dtype,
        users=users,
        device=device,
        devices=devices,
        layer=bool(re.search(r"(per|each|one|a)\s+layer", rest, re.IGNORECASE)),
        rest=rest,
    )


def _quantity(rest: str, text: str) -> tuple[Quantity, str]:
    for match in _QUANTITY.finditer(rest):
        dollar, number, unit, per_token = match.groups()
        if not dollar and not unit:
            continue
        plain = number.replace(",", "").replace("_", "")
        if not float(plain):
            raise BadInput(
                f"{match.group(0).strip()} is nothing that a formula could reproduce.", "Give an amount above 0."
            )
        digits = len(plain.partition(".")[2])
        kind = _kind(dollar, unit)
        found = Quantity(
            text=match.group(0).strip(),
            value=float(plain),
            half=0.5 * 10.0**-digits,
            unit="USD" if dollar else _spelled(unit),
            kind=kind,
            per_token=per_token is not None or bool(re.search(r"(/|per|each)\s*(token|tok)\b", rest, re.IGNORECASE)),
        )
        return found, rest[: match.start()] + " " + rest[match.end() :]
    raise BadInput(
        f"There is no quantity with a unit in {text!r}.",
        'Write one such as "83.9 GiB at 1M on DeepSeek-V3.2", "320 KB per token", "$1.28", "10.1 s" or "16x".',
    )


def _kind(dollar: str, unit: str | None) -> str:
    if dollar:
        return "usd"
    name = (unit or "").lower()
    if name in _BYTES:
        return "bytes"
    return "seconds" if name in _SECONDS else {"x": "ratio", "%": "share"}[name]


def _spelled(unit: str) -> str:
    """KiB, GB, s and so on as people write them."""
    name = unit.lower()
    if name in ("b", "byte", "bytes"):
        return "B"
    if name in _BYTES:
        return name[0].upper() + name[1:-1] + "B"
    return "s" if name in ("s", "sec", "seconds") else name


def unit_factor(unit: str) -> float:
    """How many bytes, seconds, dollars or plain ones a unit is."""
    name = unit.lower()
    return float(_BYTES.get(name) or _SECONDS.get(name) or (0.01 if name == "%" else 1))


def _context(rest: str) -> Context | None:
    best: tuple[int, Context] | None = None
    for match in _CONTEXT.finditer(rest):
        number, scale, word = match.groups()
        if not scale and not word:
            continue
        plain = Decimal(number.replace(",", "").replace("_", ""))
        if not plain:
            raise BadInput(f"{match.group(0).strip()!r} is no context: it holds nothing.", "Give a length above 0.")
        scales = EXACT_CONTEXTS[scale.lower()] if scale else (1,)
        tokens = tuple(int(plain * one) for one in scales if plain * one >= 1)
        rank = 2 * bool(word) + bool(scale)
        if tokens and (best is None or rank > best[0]):
            best = (rank, Context(text=match.group(0).strip(), tokens=tokens))
    return best[1] if best else None


def _users(rest: str) -> tuple[str, int]:
    match = _USERS.search(rest)
    if match is None:
        return rest, 1
    count = int((match.group(1) or match.group(2)).replace(",", ""))
    return rest[: match.start()] + " " + rest[match.end() :], max(1, count)


def _dtype(rest: str) -> tuple[str, str | None]:
    names = sorted([*CACHE_DTYPES, *OTHER_NAMES], key=len, reverse=True)
    for name in names:
        match = re.search(rf"(?<![\w.]){re.escape(name)}(?![\w])", rest, re.IGNORECASE)
        if match:
            return rest[: match.start()] + " " + rest[match.end() :], OTHER_NAMES.get(name, name)
    match = _BITS.search(rest)
    if match is None:
        return rest, None
    name = {"16": "bf16", "32": "fp32", "8": "fp8"}.get(match.group(1), f"{match.group(1)}-bit")
    return rest[: match.start()] + " " + rest[match.end() :], name


def _device(rest: str) -> tuple[str, str | None, int | None]:
    for word, name in _device_words().items():
        match = re.search(rf"(?<![\w-])(?:(\d+)\s*[x×]?\s*)?{re.escape(word)}s?(?![\w-])", rest, re.IGNORECASE)
        if match:
            count = int(match.group(1)) if match.group(1) else None
            return rest[: match.start()] + " " + rest[match.end() :], name, count
    return rest, None, None


def _device_words() -> Mapping[str, str]:
    """Names by which a device may be called, longest first."""
    found = {name: name for name in hardware_names() if name != "this-machine"}
    for name in list(found):
        for part in (name.split("-")[0], name.replace("-", " ")):
            try:
                found.setdefault(part, hardware(part).name)
            except WindowtaxError:
                continue
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def _models(text: str) -> tuple[str, tuple[str, ...]]:
    """Names of catalog models in the text, longest first, in the order in which they stand."""
    rest = text
    found: list[tuple[int, str]] = []
    for pattern, name in _model_patterns():
        match = pattern.search(rest)
        if match:
            found.append((match.start(), name))
            rest = rest[: match.start()] + " " * len(match.group(0)) + rest[match.end() :]
    return rest, tuple(name for _, name in sorted(found))


def _model_patterns() -> Iterator[tuple[re.Pattern[str], str]]:
    words: list[tuple[str, str]] = []
    for name in model_names():
        entry = catalog_entry(name)
        words += [
            (word, name) for word in (name, entry.title, *entry.aliases, *(a.split("/")[-1] for a in entry.aliases))
        ]
    for word, name in sorted(words, key=lambda item: (-len(item[0]), item[1])):
        parts = [re.escape(part) for part in re.findall(r"[a-z]+|[\d.]+", word.lower())]
        yield re.compile(r"(?<![\w.])" + r"[\s_/-]*".join(parts) + r"(?![\w])", re.IGNORECASE), name
