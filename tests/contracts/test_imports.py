"""Law 2: imports go down, and torch-free rooms stay torch-free. The table is the one in docs/map.md's drawing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "windowtax"

MAY_IMPORT: dict[str, set[str]] = {
    "base": set(),
    "spec": {"base"},
    "hub": {"base"},
    "texts": {"base"},
    "catalog": {"base", "spec"},
    "price": {"base", "spec", "catalog"},
    "cache": {"base", "spec"},
    "schedule": {"base", "spec", "cache"},
    "plan": {"base", "spec", "catalog", "price", "cache", "schedule"},
    "ops": {"base"},
    "store": {"base", "spec", "ops"},
    "nn": {"base", "spec", "ops", "store"},
    "engine": {"base", "spec", "catalog", "price", "cache", "schedule", "plan", "ops", "store", "nn", "texts", "hub"},
    "server": {"base", "spec", "catalog", "price", "plan", "schedule", "engine", "texts", "hub"},
    "cli": {"server", "base", "spec", "catalog", "price", "cache", "schedule", "plan", "engine", "texts", "hub"},
}
TORCH_ROOMS = {"ops", "store", "nn", "engine", "server"}
PLAN_ONLY = {"fit", "plan", "sweep", "explain", "contract", "compare"}
"""What of plan/ the engine must not touch: it may ask for floors, for the bill, and for nothing else."""


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


FILES = sorted(SOURCE.rglob("*.py"))


def test_every_room_is_in_the_table() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0]
    if room not in MAY_IMPORT:  # the package's own __init__
        return
    for module in imported(path):
        parts = module.split(".")
        if parts[0] == "windowtax" and len(parts) > 1:
            assert parts[1] == room or parts[1] in MAY_IMPORT[room], f"{room} may not import {module}"
            if room == "engine" and parts[1] == "plan" and len(parts) > 2:
                assert parts[2] not in PLAN_ONLY, f"the engine may ask plan/ for floors only, not {module}"
        if room not in TORCH_ROOMS:
            assert parts[0] not in {"torch", "transformers"}, f"{room} is torch-free"
        assert parts[0] != "transformers", "transformers is a witness in tests, never a need at run time"


def test_planning_loads_no_torch() -> None:
    rooms = sorted(set(MAY_IMPORT) - TORCH_ROOMS - {"cli"})
    modules = [
        ".".join(("windowtax", *path.relative_to(SOURCE).with_suffix("").parts))
        for path in FILES
        if path.relative_to(SOURCE).parts[0] in rooms and path.stem != "__init__"
    ]
    code = "import importlib, sys\n" + f"for name in {modules!r}: importlib.import_module(name)\n"
    code += "import windowtax.cli.main\nassert 'torch' not in sys.modules, 'torch was loaded'\n"
    subprocess.run([sys.executable, "-c", code], check=True)
