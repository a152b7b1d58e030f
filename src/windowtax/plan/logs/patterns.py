"""Reading settings out of log lines, as engines and command lines write them."""

import re

NUMBER = r"([0-9][0-9,]*(?:\.[0-9]+)?)"
_OURS = {
    **dict.fromkeys(("fp8", "fp8_e4m3", "fp8_e5m2", "float8_e4m3fn", "float8_e5m2"), "fp8"),
    **dict.fromkeys(("bf16", "bfloat16"), "bf16"),
    **dict.fromkeys(("fp16", "f16", "float16", "half"), "fp16"),
    **dict.fromkeys(("fp32", "f32", "float32", "float"), "fp32"),
}


def setting(text: str, *names: str) -> str | None:
    """The last value of a setting written as name=4, name='4', "name": 4, name: 4, --name 4 or --name=4; else None."""
    found: str | None = None
    for name in names:
        flag = name if name.startswith("-") else rf"(?<![\w-])['\"]?{name}['\"]?"
        for match in re.finditer(rf"{flag}(?:\s*[=:]\s*|\s+)['\"]?([\w./:-]+)", text):
            found = match.group(1).rstrip(".,:")
    return found


def number_setting(text: str, *names: str) -> int | None:
    """The last value of a setting that is a whole number, else None."""
    value = setting(text, *names)
    return int(value) if value is not None and value.isdecimal() else None


def dtype_name(word: str | None) -> str | None:
    """Our name of a cache type as logs write it (torch.bfloat16, f16, fp8_e4m3, q8_0); None for "auto" and silence."""
    if word is None or word == "auto":
        return None
    plain = word.lower().removeprefix("torch.")
    return _OURS.get(plain, plain)
