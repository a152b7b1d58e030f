"""How Qwen's configs (and those written after them, such as MiMo's) say which layers slide a window.

A trap: `sliding_window` stands in most of them and is used in none, for `use_sliding_window` is false; and
`max_window_layers` counts the layers at the bottom that do NOT slide (transformers, Qwen2Config).
"""

from windowtax.base.errors import UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.catalog.layer_types import FULL, SLIDING, read_layer_types


def read_window_layers(config: StrictConfig, num_layers: int) -> list[int | None]:
    """The window of each layer in tokens, None for full attention. Raises UnsupportedModel for another layer type."""
    used = config.take("use_sliding_window", bool, False)
    window = config.take_optional("sliding_window", int)
    first = config.take("max_window_layers", int, 28)
    kinds = read_layer_types(config, num_layers)
    if kinds is None:
        return [window if used and index >= first else None for index in range(num_layers)]
    known = {FULL: None, SLIDING: window if used else None}
    if unknown := sorted(set(kinds) - set(known)):
        raise UnsupportedModel(f"{config.source}: 'layer_types' names {', '.join(unknown)}, which is not known here.")
    return [known[kind] for kind in kinds]
