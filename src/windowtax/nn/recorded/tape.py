"""The tape: what a layer writes its operations on while the decoder is recorded.

It keeps what native code only borrows (packed weights), and makes buffers and RoPE tables once for all layers that
share them.
"""

from collections.abc import Sequence
from types import ModuleType

from windowtax.ops.native import Ending
from windowtax.ops.packed import PackedMatrix
from windowtax.ops.rows import Floats
from windowtax.spec.rope.base import Rope, RopeTable

_MOST_LENGTHS = 4096
"""Of so many lengths of sequences the RoPE tables are remembered."""


class Tape:
    """A native program being recorded. Numbers that methods return are names within the program."""

    def __init__(self, module: ModuleType, level: str, num_threads: int) -> None:
        self.module = module
        self.program = module.Program(level, num_threads)
        self.ropes: list[Rope] = []
        self._kept: list[PackedMatrix] = []
        self._buffers: dict[tuple[str, int], int] = {}
        self._frequencies: dict[tuple[int, RopeTable], int] = {}
        self._by_length: dict[int, list[int]] = {}

    def buffer(self, name: str, columns: int, *, sampled: bool = False) -> int:
        """The buffer of that name and width, [rows of the step, columns]; layers share it."""
        key = (name, columns)
        if key not in self._buffers:
            self._buffers[key] = self.program.buffer(columns, sampled)
        return self._buffers[key]

    def matrix(self, packed: PackedMatrix) -> int:
        """A packed matrix."""
        self._kept.append(packed)
        address = packed.data.ctypes.data
        return self.program.matrix(int(packed.format), packed.rows, packed.columns, address)

    def rotation(self, rope: Rope | None) -> int:
        """The cos and sin of a RoPE, -1 for none. All must be asked for before the first layer is recorded."""
        if rope is None:
            return -1
        if rope not in self.ropes:
            self.program.rotation(len(rope.table(1).inv_freq))
            self.ropes.append(rope)
        return self.ropes.index(rope)

    def frequencies(self, context_tokens: int) -> list[int]:
        """Per RoPE, the table that a sequence of this length uses. Asked for in every step, so the answer is kept."""
        found = self._by_length.get(context_tokens)
        if found is None:
            if len(self._by_length) >= _MOST_LENGTHS:
                self._by_length.clear()
            found = [self._table(index, rope.table(context_tokens)) for index, rope in enumerate(self.ropes)]
            self._by_length[context_tokens] = found
        return found

    def multiply(
        self,
        x: int,
        matrices: Sequence[PackedMatrix],
        out: int,
        *,
        norm: Floats | None = None,
        eps: float = 0.0,
        bias: Floats | None = None,
        ending: Ending = Ending.STORE,
    ) -> None:
        """out = norm(x) @ rows of all matrices, one after the other, plus bias."""
        weights = [] if norm is None else norm.tolist()
        biases = [] if bias is None else bias.tolist()
        ready: dict[int, int] = {}
        column = 0
        for packed in matrices:
            form = self.module.ready_as(int(packed.format))
            if form not in ready:
                ready[form] = self.program.ready(x, form, weights, eps)
            part = biases[column : column + packed.rows]
            self.program.linear(ready[form], self.matrix(packed), part, int(ending), out, column)
            column += packed.rows

    def head(
        self, x: int, packed: PackedMatrix, out: int, *, norm: Floats, eps: float, bias: Floats | None, cap: float
    ) -> None:
        """Logits: out = norm(x) @ rows of the matrix, plus bias; then cap * tanh(out / cap) unless cap is 0."""
        form = self.module.ready_as(int(packed.format))
        ready = self.program.ready(x, form, norm.tolist(), eps)
        self.program.head(ready, self.matrix(packed), [] if bias is None else bias.tolist(), cap, out)

    def _table(self, index: int, table: RopeTable) -> int:
        key = (index, table)
        if key not in self._frequencies:
            name = self.program.frequencies(index, list(table.inv_freq), table.attention_factor)
            self._frequencies[key] = name
        return self._frequencies[key]
