"""Long texts that every Python carries: its own language reference, from the topics of `help()`."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from windowtax.base.errors import BadInput, UnknownName

PREFIX = "builtin:"


def python_topics() -> Mapping[str, str]:
    """The topics of this Python's language reference, name to text. Raises BadInput if this Python lacks them."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise BadInput("This Python came without pydoc_data.", "Install the complete standard library.") from error
    return topics


def python_topic(name: str) -> str:
    """One topic's text, without a heading. Raises UnknownName with near names."""
    topics = python_topics()
    if name in topics:
        return topics[name]
    folded = {topic.lower(): topic for topic in topics}
    if name.lower() in folded:
        return topics[folded[name.lower()]]
    near = [folded[match] for match in get_close_matches(name.lower(), folded, n=3)]
    hint = f"Did you mean {', '.join(near)}?" if near else f"There are: {', '.join(sorted(topics))}."
    raise UnknownName(f"Python's language reference has no topic {name!r}.", hint)


def python_language_reference(names: Sequence[str] = ()) -> str:
    """Topics with a heading line each: those named, in that order, or else all of them, sorted by name.

    The same Python gives the same text, byte for byte; other versions of Python have other texts. Raises UnknownName.
    """
    chosen = names or sorted(python_topics())
    return "\n\n".join(f"==== Python topic: {name} ====\n\n{python_topic(name).strip()}" for name in chosen) + "\n"


BUILTIN: Mapping[str, Callable[[Sequence[str]], str]] = {"python-reference": python_language_reference}
"""Name to a function from the parts that are wanted (none: everything) to the text."""


def read_builtin(path: str) -> str:
    """The text of `builtin:NAME` or `builtin:NAME/PART,PART`. Raises UnknownName with near names, BadInput."""
    name, slash, parts = path.removeprefix(PREFIX).partition("/")
    if name not in BUILTIN:
        near = get_close_matches(name, BUILTIN, n=3)
        hint = f"Did you mean {PREFIX}{near[0]}?" if near else f"There are: {', '.join(sorted(BUILTIN))}."
        raise UnknownName(f"There is no built-in text called {name!r}.", hint)
    wanted = [part.strip() for part in parts.split(",") if part.strip()]
    if slash and not wanted:
        raise BadInput(f"{path!r} names no topic after the slash.", f"Write {PREFIX}{name}/with,async or leave it off.")
    return BUILTIN[name](wanted)
