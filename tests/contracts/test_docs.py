"""Law 11: every path and command that a page names exists, and every example that can run here runs."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from windowtax.cli.main import build

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "benchmarks").rglob("*.md"))
NAMED = re.compile(r"`((?:src|tests|docs|tools|benchmarks)/[\w./-]+)")
LINKED = re.compile(r"\]\(([^)#:]+)\)")
FENCED = re.compile(r"```sh\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`(windowtax [^`]+)`")
RUN_HERE = {"plan", "compare", "sweep", "classify", "claims", "check", "models list"}
RUN_HERE |= {f"price {verb}" for verb in ("bill", "compare", "show", "cache", "tiers", "retrieval")}
"""Commands that examples really run: fast, offline, and without torch."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [name for name in NAMED.findall(text) if not (ROOT / name.rstrip(".")).exists()]
    missing += [link for link in LINKED.findall(text) if not (page.parent / link).exists()]
    assert not missing


def examples() -> list[tuple[str, str]]:
    """(page, command) of every example in a fence or between backticks."""
    found: list[tuple[str, str]] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line.split(" #")[0].strip() for block in FENCED.findall(text) for line in block.splitlines()]
        for line in [*lines, *INLINE.findall(text)]:
            if line.startswith("windowtax ") and not re.search(r"NAME|MODEL|QUESTION|\b[A-Z]\b|\.\.\.(?!\d)|\[", line):
                found.append((str(page.relative_to(ROOT)), line))
    return sorted(set(found))


@pytest.mark.parametrize(("page", "line"), examples())
def test_examples_are_commands(page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line)[1:]
    command, path = typer.main.get_command(build()), []
    while isinstance(command, TyperGroup):
        if not words:
            return  # a group of commands, named as such
        assert words[0] in command.commands, f"{page}: there is no command `{line}`"
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    options = {name for parameter in command.params for name in parameter.opts}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in options]
    assert not unknown, f"{page}: {line}"
    if " ".join(path) in RUN_HERE and words:
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(build(), [*path, *words])
        assert result.exit_code == 0, f"{page}: {line}\n{result.output}\n{result.exception}"


@pytest.mark.parametrize("target", ["run", "test", "check", "format", "bench", "docs", "clean"])
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.M)
