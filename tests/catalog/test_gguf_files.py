"""GGUF headers and the models they describe: small files that the gguf package writes, and real ones where fetched."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.base.folders import cache_folder
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES
from windowtax.catalog.gguf_metadata import GGML_TYPES, GgufArray, read_gguf_header
from windowtax.catalog.read import read_gguf_file, read_model
from windowtax.spec.model import ModelSpec

VOCAB, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INNER = 96, 32, 2, 4, 2, 8, 64

Edit = Callable[[gguf.GGUFWriter, dict[str, tuple[int, ...]]], None]


def llama_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCAB, HIDDEN), "output_norm.weight": (HIDDEN,)}
    for index in range(LAYERS):
        shapes |= {
            f"blk.{index}.attn_norm.weight": (HIDDEN,),
            f"blk.{index}.attn_q.weight": (HEADS * HEAD_DIM, HIDDEN),
            f"blk.{index}.attn_k.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
            f"blk.{index}.attn_v.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
            f"blk.{index}.attn_output.weight": (HIDDEN, HEADS * HEAD_DIM),
            f"blk.{index}.ffn_norm.weight": (HIDDEN,),
            f"blk.{index}.ffn_gate.weight": (INNER, HIDDEN),
            f"blk.{index}.ffn_up.weight": (INNER, HIDDEN),
            f"blk.{index}.ffn_down.weight": (HIDDEN, INNER),
        }
    return shapes


def write(path: Path, edit: Edit | None = None, architecture: str = "llama") -> Path:
    """A small model; `edit` changes the metadata and the tensors before they are written."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCAB)
    writer.add_token_list([f"token {index}" for index in range(VOCAB)])
    writer.add_token_scores([0.5] * VOCAB)
    shapes = llama_shapes()
    if edit is not None:
        edit(writer, shapes)
    for name, shape in shapes.items():
        kind = np.float32 if len(shape) == 1 else np.float16
        writer.add_tensor(name, np.ones(shape, dtype=kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# --- the header ---------------------------------------------------------------------------------------------------


def test_type_table_is_that_of_the_gguf_package() -> None:
    assert {int(kind): (kind.name.lower(), *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()} == GGML_TYPES


def test_header_agrees_with_the_gguf_package(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf")
    header, reader = read_gguf_header(path), gguf.GGUFReader(path)
    theirs = {tensor.name: tensor for tensor in reader.tensors}
    assert header.tensors.keys() == theirs.keys()
    for name, tensor in header.tensors.items():
        assert tensor.shape == tuple(reversed(theirs[name].shape.tolist()))
        assert tensor.offset == theirs[name].data_offset
        assert tensor.num_bytes == theirs[name].n_bytes
        assert tensor.type == theirs[name].tensor_type.name.lower()
    assert header.weight_bytes == sum(tensor.n_bytes for tensor in reader.tensors)
    assert header.metadata["llama.block_count"] == LAYERS
    assert header.architecture == "llama"


def test_arrays_are_stepped_over_and_read_when_asked_for(tmp_path: Path) -> None:
    header = read_gguf_header(write(tmp_path / "m.gguf"))
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, GgufArray)
    assert tokens.count == VOCAB
    assert header.array("tokenizer.ggml.tokens")[7] == "token 7"
    assert header.array("tokenizer.ggml.scores") == [0.5] * VOCAB
    with pytest.raises(BadInput, match=r"no array 'tokenizer\.ggml\.merges'"):
        header.array("tokenizer.ggml.merges")


def test_a_float32_is_the_decimal_that_was_meant(tmp_path: Path) -> None:
    header = read_gguf_header(write(tmp_path / "m.gguf"))
    assert header.metadata["llama.attention.layer_norm_rms_epsilon"] == 1e-5
    assert header.metadata["llama.rope.freq_base"] == 10000.0


@pytest.mark.parametrize("alignment", [32, 64, 256])
def test_tensors_start_where_the_alignment_says(tmp_path: Path, alignment: int) -> None:
    path = write(tmp_path / "m.gguf", lambda writer, _: writer.add_custom_alignment(alignment))
    theirs = {tensor.name: tensor.data_offset for tensor in gguf.GGUFReader(path).tensors}
    assert {name: tensor.offset for name, tensor in read_gguf_header(path).tensors.items()} == theirs


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "too short"),
        (lambda data: b"PK\x03\x04" + data[4:], "is not a GGUF file"),
        (lambda data: data[:4] + struct.pack("<I", 1) + data[8:], "version 1"),
        (lambda data: data[:4] + struct.pack(">I", 3) + data[8:], "versions 2 and 3"),
        (lambda data: data[:200], "cut off inside its GGUF header"),
        (lambda data: data[:-5000], "is cut off: its tensors end at byte"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = write(tmp_path / "m.gguf")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInput, match=message):
        read_gguf_header(path)


def test_a_file_cut_anywhere_in_its_header_is_refused_and_never_crashes(tmp_path: Path) -> None:
    data = write(tmp_path / "m.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in range(24, 3000, 37):
        cut.write_bytes(data[:length])
        with pytest.raises(BadInput):
            read_gguf_header(cut)


# --- the model ----------------------------------------------------------------------------------------------------


def test_a_small_llama(tmp_path: Path) -> None:
    spec, _ = read_gguf_file(write(tmp_path / "tiny.gguf"))
    assert (spec.name, spec.family, spec.vocab_size, spec.max_context_tokens) == ("tiny", "llama", VOCAB, 512)
    assert spec.tie_embeddings
    assert spec.norm_eps == 1e-5
    assert spec.weight_dtype == "f16"
    assert spec.kinds == {"full": LAYERS}
    assert read_model(str(tmp_path / "tiny.gguf")) == spec


def test_an_output_tensor_means_that_the_head_is_not_tied(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", lambda _, shapes: shapes.update({"output.weight": (VOCAB, HIDDEN)}))
    assert not read_gguf_file(path)[0].tie_embeddings


def test_rope_freqs_become_factors(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", lambda _, shapes: shapes.update({"rope_freqs.weight": (HEAD_DIM // 2,)}))
    rope = read_gguf_file(path)[0].layers[0].attention.rope
    assert rope.scaling.name == "factors"
    assert rope.scaling.factors == (1.0,) * 4


@pytest.mark.parametrize(
    ("kind", "described"), [("linear", "linear x4"), ("yarn", "yarn x4 from 128 tokens"), ("none", "none")]
)
def test_rope_scaling_by_metadata(tmp_path: Path, kind: str, described: str) -> None:
    def edit(writer: gguf.GGUFWriter, _: dict[str, tuple[int, ...]]) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(128)

    rope = read_gguf_file(write(tmp_path / "m.gguf", edit))[0].layers[0].attention.rope
    assert rope.scaling.describe() == described


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (lambda w, s: w.add_uint32("llama.warp", 1), UnsupportedModel, "warp=1"),
        (lambda w, s: w.add_expert_count(8), UnsupportedModel, "expert_count=8"),
        (lambda w, s: w.add_uint32("clip.size", 1), UnsupportedModel, "clip.size=1"),
        (lambda w, s: s.update({"blk.0.attn_q.bias": (32,)}), UnsupportedModel, "attn_q.bias"),
        (lambda w, s: s.pop("blk.1.ffn_up.weight"), BadInput, "'blk.1.ffn_up.weight' is missing"),
        (lambda w, s: s.pop("token_embd.weight"), BadInput, "no tensor token_embd.weight"),
        (lambda w, s: s.update({"blk.1.ffn_up.weight": (48, 32)}), BadInput, "ffn_up.weight' is .48, 32."),
        (lambda w, s: w.add_value_length(16), UnsupportedModel, "attention.value_length"),
    ],
    ids=["key", "experts", "namespace", "bias", "missing", "no embedding", "shape", "values"],
)
def test_files_that_hold_something_else_are_refused(
    tmp_path: Path, edit: Edit, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_gguf_file(write(tmp_path / "m.gguf", edit))


def test_unknown_architectures_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"'mamba'.*\n.*gemma3, llama"):
        read_gguf_file(write(tmp_path / "m.gguf", architecture="mamba"))


def test_longrope_of_phi_3(tmp_path: Path) -> None:
    def edit(writer: gguf.GGUFWriter, shapes: dict[str, tuple[int, ...]]) -> None:
        for index in range(LAYERS):
            for part in ("attn_q", "attn_k", "attn_v", "ffn_gate"):
                del shapes[f"blk.{index}.{part}.weight"]
            shapes[f"blk.{index}.attn_qkv.weight"] = ((HEADS + 2 * KV_HEADS) * HEAD_DIM, HIDDEN)
            shapes[f"blk.{index}.ffn_up.weight"] = (2 * INNER, HIDDEN)
        shapes |= {"rope_factors_long.weight": (HEAD_DIM // 2,), "rope_factors_short.weight": (HEAD_DIM // 2,)}
        writer.add_rope_scaling_orig_ctx_len(128)
        writer.add_rope_scaling_attn_factors(1.19)
        writer.add_sliding_window(200)

    spec, _ = read_gguf_file(write(tmp_path / "m.gguf", edit, "phi3"))
    rope = spec.layers[0].attention.rope
    assert rope.scaling.describe() == "longrope x4 from 128 tokens"
    assert rope.table(512).attention_factor == 1.19
    assert spec.kinds == {"sliding": LAYERS}


def test_gemma_2_and_3_know_their_patterns_by_heart(tmp_path: Path) -> None:
    def edit(writer: gguf.GGUFWriter, shapes: dict[str, tuple[int, ...]]) -> None:
        for index in range(LAYERS):
            shapes[f"blk.{index}.post_attention_norm.weight"] = (HIDDEN,)
            shapes[f"blk.{index}.post_ffw_norm.weight"] = (HIDDEN,)
        writer.add_sliding_window(128)

    def with_norms(writer: gguf.GGUFWriter, shapes: dict[str, tuple[int, ...]]) -> None:
        edit(writer, shapes)
        for index in range(LAYERS):
            shapes[f"blk.{index}.attn_q_norm.weight"] = (HEAD_DIM,)
            shapes[f"blk.{index}.attn_k_norm.weight"] = (HEAD_DIM,)

    second, _ = read_gguf_file(write(tmp_path / "2.gguf", edit, "gemma2"))
    assert [layer.attention.kind for layer in second.layers] == ["sliding", "full"]
    assert (second.logit_softcap, second.layers[0].attention.softcap) == (30.0, 50.0)
    third, _ = read_gguf_file(write(tmp_path / "3.gguf", with_norms, "gemma3"))
    assert third.kinds == {"sliding": LAYERS}
    assert third.layers[0].attention.softmax_scale == HEAD_DIM**-0.5


@pytest.mark.parametrize(
    ("family", "layers", "hidden", "scalar"), [("gemma2", 46, 4608, 144), ("gemma3", 62, 5376, 168)]
)
def test_the_27b_gemmas_have_a_softmax_scale_of_their_own(family: str, layers: int, hidden: int, scalar: int) -> None:
    metadata = {
        "block_count": layers,
        "embedding_length": hidden,
        "context_length": 8192,
        "feed_forward_length": 64,
        "attention.head_count": 32,
        "attention.head_count_kv": 16,
        "attention.key_length": 128,
        "attention.value_length": 128,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.sliding_window": 1024,
        "file.vocab_size": 96,
        "file.tied_embeddings": True,
        "file.weight_dtype": "q4_k",
    }
    read = FAMILIES.get(family).read_gguf
    assert read(StrictConfig(metadata, "m"), "m").layers[0].attention.softmax_scale == scalar**-0.5
    smaller = {**metadata, "block_count": layers - 1}
    assert read(StrictConfig(smaller, "m"), "m").layers[0].attention.softmax_scale == 128**-0.5


# --- real files ---------------------------------------------------------------------------------------------------

REAL = {
    "smollm2-135m": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "gemma-3-270m": "gemma-3-270m-q4_k_m.gguf",
    "qwen2.5-coder-0.5b": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
}


def bare(spec: ModelSpec) -> ModelSpec:
    """The spec without what a file may choose for itself: its name, its types, a head of its own."""
    return replace(spec, name="", weight_dtype="", tie_embeddings=True)


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_the_models_of_the_catalog(name: str) -> None:
    path = cache_folder() / "models" / name / REAL[name]
    if not path.is_file():
        pytest.skip(f"{path} is not there; `windowtax models pull {name}` fetches it")
    spec, header = read_gguf_file(path)
    assert bare(spec) == bare(read_model(name))
    assert spec.tie_embeddings is ("output.weight" not in header.tensors)
    assert header.weight_bytes < path.stat().st_size
    assert FAMILIES.get(spec.family).gguf_weights(spec).keys() == {weight.name for weight in spec.weights()}
