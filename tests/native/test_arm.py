"""The kernels of 64-bit Arm (portable and neon), cross-compiled and run by qemu: right there, though never timed.

Needs Debian's g++-aarch64-linux-gnu and qemu-user, which `make test` does not install."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "native"
COMPILER = "aarch64-linux-gnu-g++"
RUN = "qemu-aarch64"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("arm"),
    pytest.mark.skipif(
        not all(shutil.which(tool) for tool in ("cmake", COMPILER, RUN)),
        reason=f"there is no cmake, {COMPILER} or {RUN}",
    ),
]


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arm")
    cross = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={COMPILER}"]
    options = ["-DCMAKE_EXE_LINKER_FLAGS=-static", "-DWINDOWTAX_MODULE=OFF", "-DWINDOWTAX_TESTS=ON"]
    run(["cmake", "-S", str(ROOT), "-B", str(folder), *cross, *options])
    run(["cmake", "--build", str(folder), "-j2"])
    return folder


@pytest.mark.parametrize("part", sorted(path.stem for path in (ROOT / "tests").glob("fuzz_*.cpp")))
def test_kernels_equal_their_references(built: Path, part: str) -> None:
    lines = run([RUN, str(built / part), "1"]).splitlines()
    of_neon = [line for line in lines if line.startswith("neon")]
    assert of_neon and "not run" not in of_neon[0]


@pytest.mark.parametrize("source", sorted(path.name for path in (ROOT / "src" / "program").glob("*.cpp")))
def test_the_recorded_program_compiles(source: str) -> None:
    path = str(ROOT / "src" / "program" / source)
    run([COMPILER, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'src'}", path])
