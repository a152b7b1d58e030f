"""The recorded decoder: packed weights, and the program of one step over a KV store."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

import numpy as np

from windowtax.base.errors import UnsupportedModel
from windowtax.nn.recorded.attention import (
    RECORDED_KINDS,
    AttentionWeights,
    bind_attention,
    record_attention,
    why_not_recorded,
)
from windowtax.nn.recorded.tape import Tape
from windowtax.nn.refuse import refuse_uncomputed
from windowtax.ops.native import Ending, NativeState, WeightFormat
from windowtax.ops.packed import Arena, PackedMatrix, Packer, packed_bytes
from windowtax.ops.rows import Codes, Floats, Matrix, interleaved, joined, matrix_of, padded_rows
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.cache import CacheLayout
from windowtax.spec.mlp import GatedMlp
from windowtax.spec.model import LayerSpec, ModelSpec, NormPlacement
from windowtax.store.planes import PlaneStore


class WeightSource(Protocol):
    """Where weights come from, by the names that ModelSpec.weights() yields."""

    def vector(self, name: str) -> Floats:
        """A weight of one dimension."""
        ...

    def matrix(self, name: str) -> Matrix:
        """A matrix, in codes where the file keeps it so; read from several threads."""
        ...

    def code_format(self, name: str) -> WeightFormat | None:
        """The format of those codes; None where the file keeps floats."""
        ...


ChooseFormat = Callable[[str, Sequence[WeightFormat | None]], WeightFormat]
"""The format of a matrix, by its name and the formats in which the file keeps what it is made of."""


@dataclass(frozen=True, slots=True)
class MatrixPlan:
    """One packed matrix: its name, the weights that it is made of, and its format."""

    name: str
    sources: tuple[str, ...]
    format: WeightFormat
    rows: int
    columns: int
    interleaved: bool = False

    @property
    def key(self) -> str:
        """Where it belongs: "embedding", "head", or "layers.3.attention.qkv", of which there may be three."""
        layer = self.sources[0].rpartition(self.name.split(".")[0])[0]
        return layer + self.name

    @property
    def num_bytes(self) -> int:
        """Bytes that it will take."""
        return packed_bytes(self.format, self.rows, self.columns)


def plan_matrices(spec: ModelSpec, source: WeightSource, choose: ChooseFormat) -> Iterator[MatrixPlan]:
    """All packed matrices of a model, without reading a weight: what `RecordedDecoder` packs, in its order."""
    shapes = {weight.name: weight.shape for weight in spec.weights()}

    def plan(name: str, *sources: str, gated: bool = False) -> MatrixPlan:
        chosen = choose(name, [source.code_format(one) for one in sources])
        rows = sum(padded_rows(shapes[one][0]) if gated else shapes[one][0] for one in sources)
        return MatrixPlan(name, sources, chosen, rows, shapes[sources[0]][1], gated)

    yield plan("embedding", "embedding")
    if not spec.tie_embeddings:
        yield plan("head", "head")
    for index in range(len(spec.layers)):
        prefix = f"layers.{index}."
        # q, k and v in as few matrices as keep them alike.
        parts = [f"{prefix}attention.{x}" for x in "qkv"]
        for _, alike in groupby(parts, lambda part: choose("attention.qkv", [source.code_format(part)])):
            yield plan("attention.qkv", *alike)
        yield plan("attention.o", f"{prefix}attention.o")
        yield plan("mlp.gate_up", f"{prefix}mlp.gate", f"{prefix}mlp.up", gated=True)
        yield plan("mlp.down", f"{prefix}mlp.down")


@dataclass(frozen=True, slots=True)
class RecordedLayer:
    """One layer's packed weights."""

    spec: LayerSpec
    attention: AttentionWeights
    norms: Mapping[str, Floats]
    gate_up: PackedMatrix
    gate_up_bias: Floats | None
    down: PackedMatrix
    down_bias: Floats | None


class SequenceTables(NamedTuple):
    """One sequence's part of a step: its tokens, and its blocks per layer group."""

    token_ids: list[int]
    start: int
    sampled: int
    context_tokens: int
    tables: list[list[int]]
    firsts: list[int]


class RecordedDecoder:
    """Packs the weights of a model. Raises UnsupportedModel as the torch decoder does.

    meanwhile: called while threads read the weights; what it raises stops them.
    """

    def __init__(
        self,
        spec: ModelSpec,
        source: WeightSource,
        choose: ChooseFormat,
        native: NativeState,
        num_threads: int,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        self.spec = spec
        self.native = native
        self.num_threads = num_threads
        self._source = source
        packed: dict[str, list[PackedMatrix]] = {}
        plans = list(plan_matrices(spec, source, choose))
        arena = Arena(sum(plan.num_bytes for plan in plans))
        with Packer(num_threads, arena) as packer:
            for plan in plans:
                packed.setdefault(plan.key, []).append(packer.pack(self._matrix(plan), plan.format))
            packer.start()
            meanwhile()
        self._packed = packed
        self.embedding = packed["embedding"][0]
        self.layers = [self._layer(index, layer) for index, layer in enumerate(spec.layers)]
        self.norm = self._norm("norm")
        self.head = self.embedding if spec.tie_embeddings else packed["head"][0]
        self.head_bias = source.vector("head_bias") if spec.head_bias else None

    @property
    def weight_bytes(self) -> int:
        """Bytes of all packed matrices."""
        return sum(matrix.data.nbytes for matrices in self._packed.values() for matrix in matrices)

    @property
    def step_weight_bytes(self) -> int:
        """Bytes of those that every step reads: all but an embedding that is not the head too."""
        apart = 0 if self.spec.tie_embeddings else self.embedding.data.nbytes
        return self.weight_bytes - apart

    def record(self, store: PlaneStore) -> "Recording":
        """The program of a step over that store. Raises UnsupportedModel where native code cannot read it."""
        reason = why_not_native(self.spec, store.layout, self.native)
        if reason is not None:
            raise UnsupportedModel(f"Native code does not compute {self.spec.name} with this cache: {reason}.")
        return Recording(self, store)

    def _layer(self, index: int, layer: LayerSpec) -> RecordedLayer:
        refuse_uncomputed(self.spec, layer)
        spec, mlp = layer.attention, layer.mlp
        assert isinstance(spec, SoftmaxAttention) and isinstance(mlp, GatedMlp)
        prefix = f"layers.{index}."
        named = [w.name for w in layer.weights(self.spec.hidden_size)]
        norms = {n: self._norm(prefix + n) for n in named if n.endswith("norm") and "." not in n}

        def optional(name: str) -> Floats | None:
            return self._source.vector(prefix + name) if name in named else None

        def head_norm(name: str) -> Floats | None:
            return self._norm(prefix + name) if name in named else None

        def matrices(name: str) -> list[PackedMatrix]:
            return self._packed[f"{prefix}{name}"]

        biases = [optional(f"attention.{x}_bias") for x in "qkv"]
        return RecordedLayer(
            layer,
            AttentionWeights(
                matrices("attention.qkv"),
                None if biases[0] is None else np.concatenate([b for b in biases if b is not None]),
                matrices("attention.o")[0],
                optional("attention.o_bias"),
                head_norm("attention.q_norm"),
                head_norm("attention.k_norm"),
            ),
            norms,
            matrices("mlp.gate_up")[0],
            _interleaved_bias(optional("mlp.gate_bias"), optional("mlp.up_bias")),
            matrices("mlp.down")[0],
            optional("mlp.down_bias"),
        )

    def _norm(self, name: str) -> Floats:
        """The factor that a norm multiplies by."""
        weight = self._source.vector(name)
        return weight + np.float32(1) if self.spec.norm_unit_offset else weight

    def _matrix(self, plan: MatrixPlan) -> Matrix:
        parts = [self._source.matrix(name) for name in plan.sources]
        return interleaved(*parts) if plan.interleaved else joined(parts)


class Recording:
    """A program that computes steps over one store. Not safe for use by several threads at once."""

    def __init__(self, decoder: RecordedDecoder, store: PlaneStore) -> None:
        assert decoder.native.module is not None
        self._tape = Tape(decoder.native.module, decoder.native.level, decoder.num_threads)
        self._decoder = decoder
        self._store = store
        spec = decoder.spec
        hidden = self._tape.buffer("hidden", spec.hidden_size)
        self._tape.program.embed(self._tape.matrix(decoder.embedding), spec.embedding_scale, hidden)
        for layer in spec.layers:
            assert isinstance(layer.attention, SoftmaxAttention)
            self._tape.rotation(layer.attention.rope)
        for index, layer in enumerate(decoder.layers):
            self._record_layer(index, layer, hidden)
        self._logits = self._record_head(hidden)

    def run(self, sequences: Sequence[SequenceTables]) -> Floats:
        """Logits [number of sampled rows, vocab_size] in float32, valid until the next run. Writes into the store."""
        self._tape.program.run(self._step(sequences))
        num_rows = sum(one.sampled for one in sequences)
        if num_rows == 0:
            return np.empty((0, self._decoder.spec.vocab_size), dtype=np.float32)
        return self._tape.program.rows(self._logits, num_rows)

    def choose(self, sequences: Sequence[SequenceTables]) -> list[int]:
        """Of each row of `run`'s logits the largest, of equals the first; -1 where one is NaN. Writes into the store.

        It is found where the head computes it, so that logits need not be kept.
        """
        return self._tape.program.choose(self._step(sequences))

    def _step(self, sequences: Sequence[SequenceTables]):
        step = self._tape.module.Step()
        for one in sequences:
            rotation = self._tape.frequencies(one.context_tokens)
            step.add(one.token_ids, one.start, one.sampled, one.tables, one.firsts, rotation)
        return step

    def _record_layer(self, index: int, layer: RecordedLayer, hidden: int) -> None:
        tape, spec, norms = self._tape, layer.spec, layer.norms
        attention, mlp, eps = spec.attention, spec.mlp, self._decoder.spec.norm_eps
        assert isinstance(attention, SoftmaxAttention) and isinstance(mlp, GatedMlp)
        sandwich = spec.norms is NormPlacement.SANDWICH
        # Where a norm follows before the sum, the product stops on the way.
        out = tape.buffer("between", self._decoder.spec.hidden_size) if sandwich else hidden
        ending = Ending.STORE if sandwich else Ending.ADD
        bound = bind_attention(tape, attention, index, self._store)
        record_attention(
            tape,
            attention,
            bound,
            layer.attention,
            x=hidden,
            norm=norms["attention_norm"],
            eps=eps,
            out=out,
            ending=ending,
        )
        if sandwich:
            tape.program.norm_add(out, norms["attention_post_norm"].tolist(), eps, hidden)
        inner = tape.buffer("inner", mlp.intermediate_size)
        gated = Ending.GATED_SILU if mlp.activation == "silu" else Ending.GATED_GELU
        gate_up = [layer.gate_up]
        tape.multiply(hidden, gate_up, inner, norm=norms["mlp_norm"], eps=eps, bias=layer.gate_up_bias, ending=gated)
        tape.multiply(inner, [layer.down], out, bias=layer.down_bias, ending=ending)
        if sandwich:
            tape.program.norm_add(out, norms["mlp_post_norm"].tolist(), eps, hidden)

    def _record_head(self, hidden: int) -> int:
        tape, decoder, spec = self._tape, self._decoder, self._decoder.spec
        sampled = tape.buffer("sampled", spec.hidden_size, sampled=True)
        logits = tape.buffer("logits", spec.vocab_size, sampled=True)
        tape.program.gather(hidden, sampled)
        cap, bias = spec.logit_softcap or 0.0, decoder.head_bias
        tape.head(sampled, decoder.head, logits, norm=decoder.norm, eps=spec.norm_eps, bias=bias, cap=cap)
        return logits


def why_not_native(spec: ModelSpec, layout: CacheLayout, native: NativeState) -> str | None:
    """Why the native decoder does not run this model with this cache here; None where it does."""
    if native.module is None:
        return native.why_not
    for index, layer in enumerate(spec.layers):
        attention = layer.attention
        if attention.kind not in RECORDED_KINDS or not isinstance(attention, SoftmaxAttention):
            return f"native code has no attention of the kind {attention.kind!r}"
        if not isinstance(layer.mlp, GatedMlp) or layer.norms not in (NormPlacement.PRE, NormPlacement.SANDWICH):
            return "native code has no layer of this form yet"
        reason = why_not_recorded(attention, layout, index)
        if reason is not None:
            return reason
    return None


def _interleaved_bias(gate: Floats | None, up: Floats | None) -> Floats | None:
    if gate is None or up is None:
        return None
    found = interleaved(matrix_of(gate[:, None]), matrix_of(up[:, None]))
    rows = found.read(0, found.shape[0])
    assert not isinstance(rows, Codes)
    return rows.ravel()
