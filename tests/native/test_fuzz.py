"""The kernels' own fuzz tests, built from the sources with the address and undefined-behaviour sanitizers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "native"
PARTS = sorted(path.stem for path in (ROOT / "tests").glob("fuzz_*.cpp"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("fuzz"),
    pytest.mark.skipif(
        shutil.which("cmake") is None or shutil.which("c++") is None, reason="there is no cmake or no C++ compiler"
    ),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sanitized")
    options = ["-DWINDOWTAX_MODULE=OFF", "-DWINDOWTAX_TESTS=ON", "-DWINDOWTAX_SANITIZE=ON"]
    for command in (["cmake", "-S", str(ROOT), "-B", str(folder), *options], ["cmake", "--build", str(folder), "-j2"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_kernels_equal_their_references(built: Path, part: str, seed: int) -> None:
    done = subprocess.run([built / part, str(seed)], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
