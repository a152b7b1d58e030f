"""Checkpoints: shards, missing tensors, wrong shapes, and files that do not belong together."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cases.families import save_tiny
from tests.engine.harness import greedy, make_engine, run_all
from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.engine.load import load_model

PROMPT = list(range(3, 40))


def outputs(folder: Path) -> list[int]:
    return run_all(make_engine(load_model(folder, dtype="fp32"), 60), [PROMPT], greedy(12))[0]


def test_shards_are_the_same_as_one_file(tmp_path: Path) -> None:
    whole, sharded = tmp_path / "whole", tmp_path / "sharded"
    model = save_tiny("qwen3", whole)
    model.save_pretrained(sharded, max_shard_size="40KB")  # type: ignore[operator]
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    assert outputs(whole) == outputs(sharded)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"neither model\.safetensors nor"):
        load_model(tmp_path)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(tmp_path)


def test_a_config_of_another_size_is_refused(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    with pytest.raises(BadInput, match=r"should be \[96, 48\].*gives \[80, 48\]"):
        load_model(tmp_path)


def test_quantised_safetensors_are_refused_not_misread(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(48, dtype=torch.int8)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedModel, match="int8"):
        load_model(tmp_path)


def test_an_unknown_key_is_refused_before_any_weight_is_read(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"attention_wiggle": 3}))
    with pytest.raises(UnsupportedModel, match="attention_wiggle=3"):
        load_model(tmp_path)
