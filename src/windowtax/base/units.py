"""Units: how quantities are read from people and shown. GB is 10^9 bytes, GiB is 2^30; 128K tokens are 131,072."""

import re
from fractions import Fraction

from windowtax.base.errors import BadInput

KB, MB, GB, TB = 10**3, 10**6, 10**9, 10**12
KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40
TFLOPS = 10**12

_BYTE_UNITS = {"": 1, "b": 1, "kb": KB, "mb": MB, "gb": GB, "tb": TB, "kib": KIB, "mib": MIB, "gib": GIB, "tib": TIB}
_TOKEN_UNITS = {"": 1, "k": KIB, "m": MIB}
_NUMBER = re.compile(r"^\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*$")


def parse_tokens(text: str) -> int:
    """Tokens from "8192", "8,192", "128K" (131,072) or "1M" (1,048,576). Raises BadInput."""
    return _parse(text, _TOKEN_UNITS, "a number of tokens", "Write 131072, 128K or 1M (K = 1,024, M = 1,048,576).")


def parse_bytes(text: str) -> int:
    """Bytes from "24GiB", "80GB" or "1000". Raises BadInput."""
    return _parse(text, _BYTE_UNITS, "a number of bytes", "Write 24GiB (2^30) or 24GB (10^9).")


def _parse(text: str, units: dict[str, int], what: str, hint: str) -> int:
    match = _NUMBER.match(text)
    if match is None or match.group(2).lower() not in units:
        raise BadInput(f"{text!r} is not {what}.", hint)
    value = Fraction(match.group(1).replace(",", "").replace("_", "")) * units[match.group(2).lower()]
    if value.denominator != 1 or value <= 0:
        raise BadInput(f"{text!r} is not a whole positive {what.removeprefix('a ')}.", hint)
    return int(value)


def format_bytes(num_bytes: float | Fraction) -> str:
    """Bytes in the binary unit that reads best: "40.00 GiB", "22.5 KiB", "576 B"."""
    size = float(num_bytes)
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if abs(size) >= unit:
            return f"{size / unit:,.2f} {name}"
    return f"{size:,.0f} B"


def format_exact_bytes(num_bytes: int | Fraction) -> str:
    """Bytes twice: the exact count and the binary unit, "42,949,672,960 B (40.00 GiB)"."""
    exact = f"{num_bytes:,} B" if isinstance(num_bytes, int) else f"{float(num_bytes):,.2f} B"
    return exact if num_bytes < KIB else f"{exact} ({format_bytes(num_bytes)})"


def format_tokens(num_tokens: int) -> str:
    """The exact count, and the K or M it is where it is whole: "131,072 (128K)"."""
    for unit, name in ((MIB, "M"), (KIB, "K")):
        if num_tokens >= unit and num_tokens % unit == 0:
            return f"{num_tokens:,} ({num_tokens // unit}{name})"
    return f"{num_tokens:,}"


def format_seconds(seconds: float) -> str:
    """Seconds in the unit that reads best: "1.33 s", "12.4 ms", "3 min 20 s"."""
    if seconds >= 120:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.2f} ms"
    return f"{seconds * 1e6:.1f} µs"


def format_usd(dollars: float) -> str:
    """Dollars with as many digits as the amount needs: "$1,234", "$1.28", "$0.0004"."""
    if dollars == 0:
        return "$0"
    if abs(dollars) >= 1000:
        return f"${dollars:,.0f}"
    if abs(dollars) >= 1:
        return f"${dollars:,.2f}"
    if abs(dollars) >= 0.01:
        return f"${dollars:.3f}"
    return f"${dollars:.2g}" if abs(dollars) >= 1e-4 else f"${dollars:.2e}"


def format_rate(per_second: float, unit: str) -> str:
    """A rate in SI steps: format_rate(3.35e12, "B/s") is "3.35 TB/s"."""
    for scale, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(per_second) >= scale:
            return f"{per_second / scale:,.2f} {prefix}{unit}"
    return f"{per_second:,.2f} {unit}"
