"""Fetches the real weights that tests read, where they are not kept yet, with a word on what is going on."""

from rich.console import Console

from windowtax.cli.models import pull_with_bar

NAMES = ("smollm2-135m", "gemma-3-270m", "qwen2.5-coder-0.5b")


def main() -> None:
    """Pulls one after the other."""
    err = Console(stderr=True)
    for name in NAMES:
        pull_with_bar(name, err)


if __name__ == "__main__":
    main()
