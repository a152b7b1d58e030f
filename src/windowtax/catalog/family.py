"""Model families: how a published config, or the metadata of a GGUF file, becomes a ModelSpec, and where weights are.

To add one: a file in `families/` with a reader (and name tables where the engine runs it), and its config.json in
`models/`. There is no class per family: a family is this record, filled with functions and tables.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.base.registry import Registry
from windowtax.base.strict import StrictConfig
from windowtax.catalog.ignorable import IGNORABLE, IGNORABLE_GGUF
from windowtax.catalog.weight_names import WeightNames, WeightSource
from windowtax.spec.model import ModelSpec

Reader = Callable[[StrictConfig], ModelSpec]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One model family.

    architectures: the strings of a config's "architectures" and "model_type". gguf_architectures: of
    `general.architecture`. runs: whether the engine computes it; False: it is planned only. reader, gguf_reader: the
    config to a spec; they read every key they need and expect the values that would change the maths. ignorable: keys
    of this family's configs without effect here, each with its reason. hf_names, gguf_names: where a checkpoint
    keeps our weights. nested_prefix: what stands for "model." when the decoder is a part of a bigger model. parts: keys
    that give away an uncommon part (not_yet.py) and that the reader reads.
    """

    name: str
    architectures: tuple[str, ...]
    reader: Reader
    runs: bool = False
    ignorable: Mapping[str, str] | None = None
    gguf_architectures: tuple[str, ...] = ()
    gguf_reader: Reader | None = None
    hf_names: WeightNames | None = None
    gguf_names: WeightNames | None = None
    nested_prefix: str = ""
    parts: tuple[str, ...] = ()

    def read_config(self, config: StrictConfig, name: str) -> ModelSpec:
        """The spec that a config.json describes. Raises UnsupportedModel for keys or values that nobody reads, BadInput
        for numbers that cannot be, or not together."""
        config.ignore(IGNORABLE)
        config.ignore(self.ignorable or {})
        try:
            spec = self.reader(config)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise BadInput(
                f"{config.source}: its numbers do not make a model of the family {self.name!r} ({error}).",
                "Compare it with the published config.json.",
            ) from error
        if min(len(spec.layers), spec.hidden_size, spec.vocab_size) < 1:
            raise BadInput(f"{config.source}: a model without layers, width or vocabulary cannot be.")
        config.finish()
        return replace(spec, name=name)

    def read_gguf(self, metadata: StrictConfig, name: str) -> ModelSpec:
        """The spec that GGUF metadata describes (keys without the architecture's prefix; see gguf.py)."""
        if self.gguf_reader is None:
            raise UnsupportedModel(
                f"{metadata.source}: models of the family {self.name!r} are not read from GGUF files."
            )
        metadata.ignore(IGNORABLE_GGUF)
        spec = self.gguf_reader(metadata)
        metadata.finish()
        return replace(spec, name=name)

    def hf_weights(self, spec: ModelSpec, *, nested: bool = False) -> dict[str, WeightSource]:
        """Our weight name -> where a safetensors checkpoint keeps it. nested: the decoder of a multi-modal model."""
        if self.hf_names is None:
            raise self._plans_only()
        found = self.hf_names.sources(spec)
        if not nested:
            return found
        return {
            ours: replace(source, key=source.key.replace("model.", self.nested_prefix, 1))
            for ours, source in found.items()
        }

    def gguf_weights(self, spec: ModelSpec) -> dict[str, WeightSource]:
        """Our weight name -> where a GGUF file keeps it."""
        if self.gguf_names is None:
            raise self._plans_only()
        return self.gguf_names.sources(spec)

    def _plans_only(self) -> UnsupportedModel:
        return UnsupportedModel(
            f"Models of the family {self.name!r} are planned, not run, by this version.",
            "`windowtax plan` takes them; for `ask` and `serve` choose a family that runs.",
        )


FAMILIES: Registry[Family] = Registry("model family", "windowtax.catalog.families")
