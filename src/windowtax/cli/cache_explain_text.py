"""What `windowtax cache explain` prints."""

from typing import Any

from rich.console import Console
from rich.text import Text

from windowtax.base.units import format_seconds, format_usd
from windowtax.cli.columns import columns

Json = dict[str, Any]


def show_miss(out: Console, found: Json) -> None:
    """One request of a server."""
    out.print(
        f"{found['request_id']} ({found['endpoint']}): {found['cached_tokens']:,} of {found['prompt_tokens']:,} prompt "
        f"tokens were found in the cache; {found['meaning']}.",
        markup=False,
    )
    if found["reason"] != "none":
        out.print(f"from token {found['position']:,} on, in {found['where']}:", markup=False)
        _show_texts(out, found["after"], {"kept": found["kept_text"], "asked": found["text"]})
    lost, unknown = found["lost_tokens"], "not known"
    rows = [
        ("computed", f"{found['computed_tokens']:,} tokens", ""),
        ("lost", f"{lost:,} tokens", "that were kept, or lie behind the difference in both"),
        ("", unknown if found["lost_s_estimate"] is None else format_seconds(found["lost_s_estimate"]),
         "of prefill, at what this request's tokens took: estimated"),
        ("", unknown if found["lost_usd"] is None else format_usd(found["lost_usd"]), "at the price of the machine"),
        ("", format_usd(found["lost_usd_api"]), f"at {found['api']}: as fresh input instead of cached, list prices"),
    ]  # fmt: skip
    out.print(columns(out, [("", "", ""), *rows], right={1}))
    _show_changes(out, "", found["normalized"])


def show_comparison(out: Console, found: Json) -> None:
    """Two request bodies."""
    out.print(
        f"A is {found['files'][0]}, B is {found['files'][1]}; tokens are those of {found['model']}.", markup=False
    )
    _show_difference(out, found)
    after = found.get("normalized")
    if after is None:
        return
    out.print("\nWith --normalize:", style="bold")
    _show_changes(out, "A ", after["a"]["normalized"])
    _show_changes(out, "B ", after["b"]["normalized"])
    _show_difference(out, after)
    more, spared = after["shared_tokens"] - found["shared_tokens"], format_usd(found["usd"] - after["usd"])
    out.print(f"B finds {more:,} tokens more of A: {spared} less a request at {found['api']}.", markup=False)


def _show_difference(out: Console, found: Json) -> None:
    one, two = found["a"], found["b"]
    if found["identical"]:
        out.print(f"Both prompts are the same {one['prompt_tokens']:,} tokens.")
        return
    out.print(f"The first token that differs is {found['shared_tokens']:,}:")
    out.print(f"  in A in {one['where']}, in B in {two['where']}", markup=False)
    _show_texts(out, found["before"], {"A": one["text"], "B": two["text"]})
    shared, block, count = found["shared_tokens"], found["block_tokens"], found["shared_blocks"]
    blocks = f"{count:,} whole block{'' if count == 1 else 's'} of {block:,}"
    rows = [
        ("prompt of A", f"{one['prompt_tokens']:,} tokens", ""),
        ("prompt of B", f"{two['prompt_tokens']:,} tokens", ""),
        ("shared", f"{shared:,} tokens", blocks),
        ("lost", f"{found['lost_tokens']:,} tokens", "behind the difference, in both"),
        ("B uncached", format_usd(found["usd_uncached"]), f"input at {found['api']}, list prices"),
        ("B after A", format_usd(found["usd"]), "with what they share cached there"),
        ("difference", format_usd(found["usd_lost"]), "a request, for what is lost"),
    ]
    out.print(columns(out, [("", "", ""), *rows], right={1}))


def _show_texts(out: Console, before: str, sides: dict[str, str | None]) -> None:
    """The words before a difference, and below each other how the sides go on, control characters spelled out."""
    width = max(map(len, ("after", *sides)))
    lines = {
        "after": f"...{_spelled(before)}",
        **{name: None if one is None else _spelled(one) for name, one in sides.items()},
    }
    for name, line in lines.items():
        style = "dim" if name == "after" else "bold"
        out.print(Text(f"  {name:{width}}  "), Text("(nothing)" if line is None else line, style=style), sep="")


def _show_changes(out: Console, name: str, changes: list[Json]) -> None:
    for one in changes:
        to = "" if one["to"] is None else f" ({one['to']})"
        out.print(f"{name}{one['kind']}: {one['what']}{to}, from {one['from']}:", markup=False)
        out.print(Text(f"  - {_spelled(one['text'])}", style="red"))
        if one["becomes"]:
            out.print(Text(f"  + {_spelled(one['becomes'])}", style="green"))


def _spelled(words: str) -> str:
    return words.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
