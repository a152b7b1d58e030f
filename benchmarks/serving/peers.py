"""What a server of a peer needs beside the peer itself (benchmarks/speed/peers.py): llama-server, vLLM's tokenizer."""

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from benchmarks.speed.peers import LLAMA, LLAMA_FLAGS, make_peers, python_of

_TOKENIZER = """
import sys
from transformers import AutoTokenizer
folder, name, out = sys.argv[1:]
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(out)
"""
_OFF = ("BUILD_SHARED_LIBS", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_APP", "LLAMA_USE_PREBUILT_UI")


def make_servers(folder: Path, gguf: Path, model: str, engines: Collection[str]) -> None:
    """Makes what is not there yet: the peers, llama.cpp's own server (some ten minutes), the tokenizer's files."""
    if not {"llama", "vllm"} & set(engines):
        return
    make_peers(folder)
    if "llama" in engines and not llama_server(folder).exists():
        _build_llama_server(folder)
    if "vllm" in engines and not tokenizer(folder, model).exists():
        _run(str(python_of(folder, "hf")), "-c", _TOKENIZER, str(gguf.parent), gguf.name, str(tokenizer(folder, model)))


def llama_server(folder: Path) -> Path:
    """The program."""
    return folder / "llama-server.build" / "bin" / "llama-server"


def tokenizer(folder: Path, model: str) -> Path:
    """The tokenizer of the GGUF as transformers and vLLM read it."""
    return folder / "tokenizers" / model


def _build_llama_server(folder: Path) -> None:
    """From the sources and with the compiler flags that the Python package was built from (speed/peers.py)."""
    source, build = folder / f"llama_cpp_python-{LLAMA}" / "vendor" / "llama.cpp", folder / "llama-server.build"
    print(f"making {llama_server(folder)} ...", file=sys.stderr)
    flags = [f"-DCMAKE_{language}_FLAGS={LLAMA_FLAGS}" for language in ("C", "CXX")]
    off = [f"-D{name}=OFF" for name in (*_OFF, "LLAMA_OPENSSL")]
    _run("cmake", "-S", str(source), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release", *flags, *off)
    _run("cmake", "--build", str(build), "--target", "llama-server", "--parallel", "2")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
