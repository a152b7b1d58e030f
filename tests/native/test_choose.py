"""The largest logit as native code finds it while the head computes it: what numpy finds in the logits themselves."""

import numpy as np
import pytest

from tests.native.harness import levels, native
from windowtax.nn.recorded.tape import Tape
from windowtax.ops.native import WeightFormat, native_state
from windowtax.ops.packed import Arena, PackedMatrix, Packer, packed_bytes
from windowtax.ops.rows import matrix_of

HIDDEN, VOCAB, TOKENS = 64, 1003, 50
_ODD = 7  # the token whose hidden numbers are NaN


class Model:
    """A program that is an embedding and a head in that format."""

    def __init__(
        self, level: str, format: WeightFormat, threads: int = 2, cap: float = 0.0, bias: bool = False
    ) -> None:
        random = np.random.default_rng(3)
        embedding = random.standard_normal((TOKENS, HIDDEN), dtype=np.float32)
        embedding[_ODD] = np.nan
        head = random.standard_normal((VOCAB, HIDDEN), dtype=np.float32)
        head[500:] = head[:503]  # every logit of the second half equals one of the first
        module = native_state().module
        assert module is not None
        self.tape = Tape(module, level, threads)
        hidden = self.tape.buffer("hidden", HIDDEN)
        sampled = self.tape.buffer("sampled", HIDDEN, sampled=True)
        self.logits = self.tape.buffer("logits", VOCAB, sampled=True)
        self.tape.program.embed(self.tape.matrix(packed(embedding, WeightFormat.F32)), 1.0, hidden)
        self.tape.program.gather(hidden, sampled)
        norm, shift = np.ones(HIDDEN, np.float32), np.tile(np.array([0.5, 0.0], np.float32), VOCAB)[:VOCAB]
        self.tape.head(
            sampled, packed(head, format), self.logits, norm=norm, eps=1e-6, bias=shift if bias else None, cap=cap
        )

    def step(self, token_ids: list[int]):
        step = self.tape.module.Step()
        step.add(token_ids, 0, len(token_ids), [], [], [])
        return step

    def largest(self, token_ids: list[int]) -> list[int]:
        """By numpy, from the logits."""
        self.tape.program.run(self.step(token_ids))
        logits = self.tape.program.rows(self.logits, len(token_ids))
        return [-1 if np.isnan(row).any() else int(row.argmax()) for row in logits]


def packed(numbers: np.ndarray, format: WeightFormat) -> PackedMatrix:
    with Packer(1, Arena(packed_bytes(format, *numbers.shape))) as packer:
        found = packer.pack(matrix_of(numbers), format)
    return found


@native
@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("format", WeightFormat)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("cap", "bias"), [(0.0, False), (0.0, True), (2.0, True), (0.01, False)])
def test_the_largest_logit_is_the_first_of_the_largest(
    level: str, format: WeightFormat, threads: int, cap: float, bias: bool
) -> None:
    model = Model(level, format, threads, cap, bias)
    ids = [i % TOKENS for i in range(60) if i % TOKENS != _ODD]
    for count in (1, 5, 16, 17, 40):
        expected = model.largest(ids[:count])
        assert model.tape.program.choose(model.step(ids[:count])) == expected
        # Under a cap so low that most are equal to it, the first of many; else one of the first half, never its double.
        assert all(0 <= one < 500 for one in expected)


@native
@pytest.mark.parametrize("level", levels())
def test_a_row_that_is_not_a_number_is_told_apart(level: str) -> None:
    model = Model(level, WeightFormat.F32)
    ids = [1, _ODD, 2]
    assert model.tape.program.choose(model.step(ids)) == model.largest(ids)
    assert model.tape.program.choose(model.step(ids))[1] == -1


@native
def test_a_step_that_samples_nothing_chooses_nothing() -> None:
    model = Model("", WeightFormat.BF16)
    step = model.tape.module.Step()
    step.add([1, 2], 0, 0, [], [], [])
    assert model.tape.program.choose(step) == []
