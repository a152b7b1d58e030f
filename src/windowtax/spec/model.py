"""ModelSpec: everything about a decoder that bytes, FLOPs and logits depend on."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from windowtax.base.errors import UnsupportedModel
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.cache import DEFAULT_BLOCK_SIZE, CacheLayout
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.mlp import Mlp
from windowtax.spec.weights import Weight


class NormPlacement(StrEnum):
    """Where a layer normalises."""

    PRE = "pre"
    """Before attention and before the MLP (Llama)."""
    POST = "post"
    """After both, on what they give, before it is added (OLMo 2, EXAONE 4)."""
    SANDWICH = "sandwich"
    """Before and after both (Gemma 2 and 3)."""
    PARALLEL = "parallel"
    """One norm before both, which run side by side on what it gives (Cohere)."""
    BORROWED = "borrowed"
    """None of its own: it runs beside the next layer's attention, on what that one's norm gives (Falcon-H1)."""


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """One decoder layer. extra_weights: tensors beside attention, feed-forward part and norms."""

    attention: AttentionKind
    mlp: Mlp
    norms: NormPlacement = NormPlacement.PRE
    extra_weights: tuple[Weight, ...] = ()

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        """Its parameter tensors: attention.*, mlp.*, the norms of the parts that are there, and what else it has."""
        parts = {"attention": self.attention.weights(hidden_size), "mlp": self.mlp.weights(hidden_size)}
        names = [f"{name}_norm" for name, weights in parts.items() if weights]
        if self.norms is NormPlacement.PARALLEL:
            names = ["attention_norm"]
        if self.norms is NormPlacement.BORROWED:
            names = []
        if self.norms is NormPlacement.SANDWICH:
            names += ["attention_post_norm", "mlp_post_norm"]
        return (
            *(weight.under(name) for name, weights in parts.items() for weight in weights),
            *(Weight(name, (hidden_size,)) for name in names),
            *self.extra_weights,
        )


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A decoder-only language model.

    max_context_tokens: what the config claims. norm_unit_offset: norms multiply by 1 + weight (Gemma).
    embedding_scale: embeddings are multiplied by it (Gemma: sqrt(hidden_size)). logit_softcap: final logits become
    softcap * tanh(logits / softcap). weight_dtype: of the published checkpoint, by element-type name. cache_dtype: what
    that checkpoint was calibrated to keep its cache in; None where it says nothing. extra_weights: tensors outside of
    the layers beside embedding, norm and head. draft_layers: layers of multi-token prediction, which are no part of the
    decoder: they cost only where they draft (`with_drafts`).
    """

    name: str
    family: str
    vocab_size: int
    hidden_size: int
    layers: tuple[LayerSpec, ...]
    max_context_tokens: int
    norm_eps: float
    norm_unit_offset: bool = False
    tie_embeddings: bool = False
    head_bias: bool = False
    embedding_scale: float = 1.0
    logit_softcap: float | None = None
    weight_dtype: str = "bf16"
    cache_dtype: str | None = None
    extra_weights: tuple[Weight, ...] = ()
    draft_layers: tuple[LayerSpec, ...] = ()

    def weights(self) -> Iterator[Weight]:
        """Every parameter tensor: embedding, layers.<i>.*, norm, head (absent where it is the embedding)."""
        yield Weight("embedding", (self.vocab_size, self.hidden_size))
        for index, layer in enumerate(self.layers):
            for weight in layer.weights(self.hidden_size):
                yield weight.under(f"layers.{index}")
        yield Weight("norm", (self.hidden_size,))
        if not self.tie_embeddings:
            yield Weight("head", (self.vocab_size, self.hidden_size))
        if self.head_bias:
            yield Weight("head_bias", (self.vocab_size,))
        yield from self.extra_weights

    @cached_property
    def total_parameters(self) -> int:
        """Numbers in the checkpoint; a tied head counts once."""
        return sum(weight.count for weight in self.weights())

    @cached_property
    def active_parameters(self) -> int:
        """Numbers that one token uses: of routed experts only the chosen ones."""
        return sum(weight.active_count for weight in self.weights())

    @cached_property
    def layer_flops_per_token(self) -> int:
        """FLOPs of all layers' matrices for one token: two per active number. Attention itself comes on top."""
        layers = (weight for layer in self.layers for weight in layer.weights(self.hidden_size))
        tensors = (*layers, *self.extra_weights)
        return 2 * sum(weight.active_count for weight in tensors if weight.is_matrix)

    @property
    def head_flops_per_token(self) -> int:
        """FLOPs of the output head, needed only for positions that are sampled."""
        return 2 * self.vocab_size * self.hidden_size

    def attention_flops(self, start: int, num_tokens: int) -> int:
        """FLOPs of scores and weighted sums in all layers for the queries at start ... start + num_tokens - 1."""
        return sum(count * kind.flops(start, num_tokens) for kind, count in self._kind_counts.items())

    def prefill_flops(self, num_tokens: int, start: int = 0) -> int:
        """FLOPs of a prefill of `num_tokens` behind `start` cached tokens, with one sampled position."""
        matrices = num_tokens * self.layer_flops_per_token + self.head_flops_per_token
        return matrices + self.attention_flops(start, num_tokens)

    def decode_flops(self, context_tokens: int) -> int:
        """FLOPs of one decode step of one sequence; context_tokens counts the token that is computed."""
        return self.prefill_flops(1, context_tokens - 1)

    def layout(self, dtype: CacheDtype, block_size: int = DEFAULT_BLOCK_SIZE) -> CacheLayout:
        """The cache of this model in that dtype: the object that planner, engine and bill share.

        Raises BadInput where the dtype has no layout for what a layer keeps.
        """
        known = self._layouts.get((dtype, block_size))
        if known is None:
            known = self._layouts[dtype, block_size] = self._layout(dtype, block_size)
        return known

    def _layout(self, dtype: CacheDtype, block_size: int) -> CacheLayout:
        kinds = [layer.attention for layer in self.layers]
        dtypes = [dtype.inner] * len(kinds)
        if dtype.edges:
            keeps = [i for i, kind in enumerate(kinds) if any(not part.is_state for part in kind.caches(dtype.edge))]
            for index in {*keeps[: dtype.edges], *keeps[-dtype.edges :]}:
                dtypes[index] = dtype.edge
        each = list(zip(kinds, dtypes, strict=True))
        return CacheLayout.of(
            (kind.caches(chosen) for kind, chosen in each),
            block_size,
            borrowed=(kind.borrowed(chosen) for kind, chosen in each),
        )

    def with_drafts(self) -> "ModelSpec":
        """The spec while its multi-token prediction layers draft: one more layer of cache and weights each.

        Raises UnsupportedModel where the model has none.
        """
        if not self.draft_layers:
            raise UnsupportedModel(
                f"{self.name} has no layers for multi-token prediction, so it cannot draft for itself.",
                "Plan without speculative decoding.",
            )
        return replace(self, layers=self.layers + self.draft_layers, draft_layers=())

    def shard(self, tensor_parallel: int) -> "ModelSpec":
        """The spec as one tensor-parallel rank sees its attention (the cache's share; the MLP is left whole).

        Raises BadInput where the heads do not divide.
        """
        if tensor_parallel not in self._shards:
            layers = tuple(replace(layer, attention=layer.attention.shard(tensor_parallel)) for layer in self.layers)
            self._shards[tensor_parallel] = replace(self, layers=layers)
        return self._shards[tensor_parallel]

    @cached_property
    def kinds(self) -> dict[str, int]:
        """How many layers there are of each attention kind."""
        return dict(Counter(layer.attention.kind for layer in self.layers))

    @cached_property
    def _shards(self) -> dict[int, "ModelSpec"]:
        """What `shard` gave: a plan asks for the same few shards hundreds of times."""
        return {}

    @cached_property
    def _layouts(self) -> dict[tuple[CacheDtype, int], CacheLayout]:
        """What `layout` gave, likewise."""
        return {}

    @cached_property
    def _kind_counts(self) -> Counter[AttentionKind]:
        return Counter(layer.attention for layer in self.layers)
