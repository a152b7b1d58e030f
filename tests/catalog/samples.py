"""Raw configs for the tests of this folder: the catalog's own, by model and by family."""

import json
from copy import deepcopy
from functools import cache
from typing import Any

from windowtax.catalog.read import catalog_entry, model_names, read_config, read_model
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.model import ModelSpec


def raw(model: str, **changes: Any) -> dict[str, Any]:
    """The contents of a catalog model's config.json, with some keys changed."""
    data = deepcopy(_load(model))
    data.update(changes)
    return data


def without(model: str, *keys: str) -> dict[str, Any]:
    """The same with some keys left out."""
    return {key: value for key, value in raw(model).items() if key not in keys}


def read_changed(model: str, **changes: Any) -> ModelSpec:
    """The spec of a catalog model with some keys changed."""
    return read_config(raw(model, **changes), model)


def attention(spec: ModelSpec, layer: int) -> SoftmaxAttention:
    """The attention of one layer."""
    found = spec.layers[layer].attention
    assert isinstance(found, SoftmaxAttention)
    return found


@cache
def model_of_each_family() -> dict[str, str]:
    """Family -> one of its models in the catalog: the last by name that stands in no config of a larger model, if
    there is one."""
    nested = [name for name in model_names() if "text_config" in _load(name)]
    return {read_model(name).family: name for name in (*nested, *(n for n in model_names() if n not in nested))}


@cache
def _load(model: str) -> dict[str, Any]:
    return json.loads(catalog_entry(model).path.read_text())
