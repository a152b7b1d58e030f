"""Makes the golden RoPE tables from transformers: python tests/goldens/rope/make.py [folder].

One JSON file per case of cases.py, written beside this file or into the folder. See README.md.
"""

import copy
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.deepseek_v3.modeling_deepseek_v3 import yarn_apply_mscale

from cases import CASES

DATE = "2026-11-22"


def rope_init(config: Any, rope_type: str) -> Any:
    """The transformers function that makes the table; the unscaled one is a static method of each model."""
    if rope_type != "default":
        return ROPE_INIT_FUNCTIONS[rope_type]
    module_name = type(config).__module__.replace("configuration_", "modeling_")
    module = importlib.import_module(module_name)
    prefix = type(config).__name__.removesuffix("Config")
    return getattr(module, f"{prefix}RotaryEmbedding").compute_default_rope_parameters


def one_kind(config: Any, layer_type: str | None, contexts: list[int]) -> dict[str, Any]:
    """Tables of one layer kind for each context."""
    parameters = config.rope_parameters[layer_type] if layer_type else config.rope_parameters
    init = rope_init(config, parameters["rope_type"])
    if layer_type:
        config = config.per_layer_config[layer_type]
    tables = []
    for context in contexts:
        inv_freq, attention_factor = init(config, device=None, seq_len=context, layer_type=layer_type)
        tables.append(
            {"context_tokens": context, "attention_factor": attention_factor, "inv_freq": inv_freq.double().tolist()}
        )
    return {
        "rope_type": parameters["rope_type"],
        "mla_softmax_factor": yarn_apply_mscale(parameters, 1.0),
        "tables": tables,
    }


def make(case: dict[str, Any]) -> dict[str, Any]:
    """The content of one golden file."""
    config = getattr(transformers, case["config_class"])(**copy.deepcopy(case["config"]))
    kinds = case["head_dim"] if isinstance(case["head_dim"], dict) else {"all": None}
    contexts = case["contexts"]
    golden = {"transformers": transformers.__version__, "date": DATE}
    golden |= {key: value for key, value in case.items() if key != "contexts"}
    golden["ropes"] = {kind: one_kind(config, kind if kind != "all" else None, contexts) for kind in kinds}
    return golden


def as_text(golden: dict[str, Any]) -> str:
    """JSON with lists of numbers on one line each."""
    text = json.dumps(golden, indent=1)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"


def main() -> None:
    """Writes every case. Refuses where a scaling of transformers has no case."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    goldens = [make(case) for case in CASES]
    made = {rope["rope_type"] for golden in goldens for rope in golden["ropes"].values()}
    if missing := set(ROPE_INIT_FUNCTIONS) - made:
        raise SystemExit(f"transformers {transformers.__version__} has RoPE types without a case: {sorted(missing)}")
    for golden in goldens:
        (folder / f"{golden['case']}.json").write_text(as_text(golden))


if __name__ == "__main__":
    main()
