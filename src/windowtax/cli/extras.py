"""Optional parts of windowtax: a clear word where one is missing."""

from importlib.util import find_spec

from windowtax.base.errors import MissingExtra

_ENGINE = ("torch", "tokenizers", "safetensors", "gguf", "jinja2")
_SERVER = ("fastapi", "uvicorn", "pydantic", "prometheus_client", "llguidance")


def need_engine() -> None:
    """Raises MissingExtra unless what the engine needs is installed."""
    _need(_ENGINE, "runs models", "engine")


def need_server() -> None:
    """Raises MissingExtra unless what the server needs is installed."""
    _need(_SERVER, "serves models", "serve")


def _need(names: tuple[str, ...], does: str, extra: str) -> None:
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"This command {does}, and {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed.",
            f"pip install 'windowtax[{extra}]'  (planning and pricing work without)",
        )
