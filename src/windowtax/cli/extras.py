"""Optional parts of windowtax: a clear word where one is missing."""

from importlib.util import find_spec

from windowtax.base.errors import MissingExtra

_ENGINE = ("torch", "tokenizers", "safetensors", "gguf", "jinja2")


def need_engine() -> None:
    """Raises MissingExtra unless what the engine needs is installed."""
    missing = [name for name in _ENGINE if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"This command runs models, and {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed.",
            "pip install 'windowtax[engine]'  (planning and pricing work without)",
        )
