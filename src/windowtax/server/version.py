"""The version of windowtax that runs."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """Of the installed package; "0+tree" where it runs from a source tree that is not installed."""
    try:
        return installed("windowtax")
    except PackageNotFoundError:
        return "0+tree"
