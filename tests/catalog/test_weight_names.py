"""Where checkpoints keep our weights: the names of transformers' own models, and of GGUF files."""

from collections import defaultdict
from typing import Any

import pytest
import torch
from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
)
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, Gemma2TensorProcessor, LlamaTensorProcessor

from tests.catalog.samples import model_of_each_family, raw, read_changed
from windowtax.base.errors import UnsupportedModel
from windowtax.catalog.family import FAMILIES
from windowtax.catalog.read import config_family, read_config, read_model
from windowtax.catalog.weight_names import Transform, WeightSource
from windowtax.spec.model import ModelSpec

RUNNING = [name for name, family in FAMILIES.items() if family.runs]
GGUF_ARCHITECTURES = [(name, arch) for name, family in FAMILIES.items() for arch in family.gguf_architectures]
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (model_of_each_family()[name], {}) for name in RUNNING},
    "gemma3": ("gemma-3-1b", {}),
    "llama, biases": ("llama-3.1-8b", {"attention_bias": True, "mlp_bias": True}),
    "llama, tied": ("llama-3.2-1b", {}),
    "qwen2, not tied": ("qwen2.5-7b", {}),
    "qwen3, biases": ("qwen3-8b", {"attention_bias": True}),
}


def built(model: str, changes: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The state dict that transformers saves for a catalog model, of shapes only; a tied head is left out."""
    config = {**raw(model), **changes}
    config = {key: value for key, value in config.items() if key not in ("architectures", "auto_map")}
    with torch.device("meta"):
        found = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    tied = read_changed(model, **changes).tie_embeddings
    return {key: tensor for key, tensor in found.state_dict().items() if not (tied and key == "lm_head.weight")}


def shapes_of(spec: ModelSpec, sources: dict[str, WeightSource]) -> dict[str, tuple[int, ...]]:
    """The shape of every stored tensor, put together from ours. Fused parts must follow without gap or overlap, in the
    tensor or in each head."""
    parts: defaultdict[str, list[tuple[tuple[int, int], tuple[int, ...]]]] = defaultdict(list)
    for weight in spec.weights():
        source = sources[weight.name]
        parts[source.key].append((source.rows or (0, weight.shape[0]), weight.shape))
    shapes: dict[str, tuple[int, ...]] = {}
    for key, found in parts.items():
        end, heads = 0, found[0][1][0] // (found[0][0][1] - found[0][0][0])
        for (first, past), shape in sorted(found):
            assert (first, heads * (past - first)) == (end, shape[0])
            end = past
        shapes[key] = (heads * end, *found[0][1][1:])
    return shapes


@pytest.mark.parametrize("variant", VARIANTS)
def test_hf_names_are_those_of_transformers(variant: str) -> None:
    model, changes = VARIANTS[variant]
    spec = read_changed(model, **changes)
    sources = FAMILIES.get(spec.family).hf_weights(spec)
    assert list(sources) == [weight.name for weight in spec.weights()]
    assert shapes_of(spec, sources) == {key: tuple(tensor.shape) for key, tensor in built(model, changes).items()}


def test_nested_names_are_those_that_transformers_saves(tmp_path) -> None:
    text = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": 4}
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14, "vision_use_head": False, "model_type": "siglip_vision_model"}
    model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4))
    model.save_pretrained(tmp_path)
    spec = read_model(str(tmp_path))
    sources = FAMILIES.get("gemma3").hf_weights(spec, nested=True)
    from safetensors import safe_open

    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        decoder = {key for key in file.keys() if key.startswith("language_model.")}  # noqa: SIM118
    assert {source.key for source in sources.values()} == decoder


def test_nested_names_of_a_decoder_with_states(tmp_path) -> None:
    text = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "head_dim": 16}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
    model = Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text, vision_config=vision))
    model.save_pretrained(tmp_path)
    spec = read_model(str(tmp_path))
    sources = FAMILIES.get("qwen3_5").hf_weights(spec, nested=True)
    from safetensors import safe_open

    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        decoder = {key for key in file.keys() if ".visual." not in key}  # noqa: SIM118
    assert {source.key for source in sources.values()} == decoder


@pytest.mark.parametrize(("family", "architecture"), GGUF_ARCHITECTURES)
def test_gguf_names_are_those_of_the_gguf_package(family: str, architecture: str) -> None:
    """The package knows which GGUF name a Hugging Face name becomes; ours must be the same pairs."""
    spec = read_model(model_of_each_family()[family])
    arch = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == architecture)
    assert isinstance(arch, MODEL_ARCH)
    names = get_tensor_name_map(arch, len(spec.layers))
    theirs = FAMILIES.get(family).hf_weights(spec)
    for ours, source in FAMILIES.get(family).gguf_weights(spec).items():
        stem, suffix = theirs[ours].key.rsplit(".", 1)
        assert source.key == f"{names.get_name(stem)}.{suffix}"
        assert source.rows == theirs[ours].rows


@pytest.mark.parametrize(("family", "architecture"), GGUF_ARCHITECTURES)
def test_gguf_transforms_are_those_of_transformers(family: str, architecture: str) -> None:
    spec = read_model(model_of_each_family()[family])
    processor = TENSOR_PROCESSORS.get(architecture)
    permuted, offset = processor is LlamaTensorProcessor, processor is Gemma2TensorProcessor
    for ours, source in FAMILIES.get(family).gguf_weights(spec).items():
        expected = Transform.NONE
        if permuted and ours.endswith((".attention.q", ".attention.k")):
            expected = Transform.UNPERMUTE_HEADS
        if offset and source.key.endswith("norm.weight"):
            expected = Transform.MINUS_ONE
        assert source.transform is expected, ours


def test_fused_parts_of_phi_3() -> None:
    spec = read_model("phi-4")
    sources = FAMILIES.get("phi3").hf_weights(spec)
    assert sources["layers.3.attention.k"] == WeightSource("model.layers.3.self_attn.qkv_proj.weight", (5120, 6400))
    assert sources["layers.3.attention.v"].rows == (6400, 7680)
    assert sources["layers.3.mlp.up"] == WeightSource("model.layers.3.mlp.gate_up_proj.weight", (17920, 35840))


@pytest.mark.parametrize("family", [name for name in FAMILIES.names() if name not in RUNNING])
def test_families_that_are_planned_only_say_so(family: str) -> None:
    spec = read_model(model_of_each_family()[family])
    for ask in (FAMILIES.get(family).hf_weights, FAMILIES.get(family).gguf_weights):
        with pytest.raises(UnsupportedModel, match="planned, not run"):
            ask(spec)


def test_the_model_type_counts_where_no_architecture_is_named() -> None:
    config = raw("mistral-7b-v0.3")
    del config["architectures"]
    assert config_family(config, "m").name == "mistral"


def test_a_known_model_type_with_another_head_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="LlamaForSequenceClassification"):
        config_family(raw("llama-3.1-8b", architectures=["LlamaForSequenceClassification"]), "m")


def test_the_architecture_decides_over_the_model_type() -> None:
    config = raw("mistral-7b-v0.3", model_type="llama")
    assert config_family(config, "m").name == "mistral"
    assert read_config(config, "m").family == "mistral"
