"""Types of the native module (native/src/bind). It is built with the package where there is a C++ compiler."""

import numpy as np
from numpy.typing import NDArray

class Level:
    name: str
    built: bool
    runs: bool
    why_not: str

def levels() -> list[Level]: ...
def packed_bytes(format: int, rows: int, columns: int) -> int: ...
def pack(format: int, values: NDArray[np.float32], out: NDArray[np.uint8]) -> None: ...
def pack_codes(
    format: int,
    codes: NDArray[np.int8],
    scale: NDArray[np.float32],
    least: NDArray[np.float32] | None,
    out: NDArray[np.uint8],
) -> None: ...
def reads_blocks(type: str) -> bool: ...
def read_blocks(
    type: str,
    stored: NDArray[np.uint8],
    codes: NDArray[np.int8],
    scale: NDArray[np.float32],
    least: NDArray[np.float32] | None,
) -> None: ...
def unpack(format: int, packed: NDArray[np.uint8], out: NDArray[np.float32]) -> None: ...

class Attention:
    query_heads: int
    kv_heads: int
    k_dim: int
    v_dim: int
    scale: float
    softcap: float
    window: int
    chunk: int
    turned_keys: bool
    def __init__(self) -> None: ...
    def add_part(
        self,
        k_element: int,
        v_element: int,
        group: int,
        k: list[int],
        v: list[int],
        k_scale: list[int],
        v_scale: list[int],
        skip_first: int,
        keep_first: int,
        windowed: bool,
        scale_group: int,
        tail_group: int,
        tail: list[int],
    ) -> None: ...
    def set_top_blocks(self, top: int, group: int, minimum: list[int], maximum: list[int]) -> None: ...

class Step:
    def __init__(self) -> None: ...
    def add(
        self,
        token_ids: list[int],
        start: int,
        sampled: int,
        tables: list[list[int]],
        firsts: list[int],
        rotation: list[int],
    ) -> None: ...

class Program:
    level: str
    num_threads: int
    num_operations: int
    buffer_bytes: int
    def __init__(self, level: str, num_threads: int) -> None: ...
    def matrix(self, format: int, rows: int, columns: int, address: int) -> int: ...
    def buffer(self, columns: int, sampled: bool = False) -> int: ...
    def rotation(self, half: int) -> int: ...
    def frequencies(self, rotation: int, inverse: list[float], factor: float) -> int: ...
    def attention(self, attention: Attention) -> int: ...
    def embed(self, matrix: int, scale: float, out: int) -> None: ...
    def ready(self, x: int, format: int, norm: list[float], eps: float) -> int: ...
    def linear(self, ready: int, matrix: int, bias: list[float], ending: int, out: int, column: int = 0) -> None: ...
    def heads(
        self, attention: int, norm: int, q_norm: list[float], k_norm: list[float], eps: float, rotation: int, qkv: int
    ) -> None: ...
    def attend(self, attention: int, qkv: int, out: int) -> None: ...
    def norm_add(self, x: int, weight: list[float], eps: float, out: int) -> None: ...
    def gather(self, x: int, out: int) -> None: ...
    def cap(self, x: int, cap: float) -> None: ...
    def run(self, step: Step) -> None: ...
    def rows(self, buffer: int, count: int) -> NDArray[np.float32]: ...
