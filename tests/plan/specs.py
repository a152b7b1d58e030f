"""Specs by hand, so that these tests depend on no reader. Numbers: facts/models.md, sections 1.1 and 1.2."""

from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.sliding import SlidingAttention
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.mlp import ExpertsMlp, GatedMlp, Mlp
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.rope.base import Rope
from windowtax.spec.rope.none import NoScaling


def attention(queries: int, keys: int, head_dim: int = 128, window: int | None = None) -> SoftmaxAttention:
    heads = {"num_query_heads": queries, "num_kv_heads": keys, "head_dim": head_dim, "v_head_dim": head_dim}
    rope = Rope(theta=5e5, rotary_dim=head_dim, scaling=NoScaling())
    if window is None:
        return FullAttention(**heads, rope=rope)
    return SlidingAttention(**heads, rope=rope, window_tokens=window)


def model(
    name: str,
    *,
    layers: int | list[SoftmaxAttention],
    hidden: int,
    mlp: int | Mlp,
    vocab: int = 128_256,
    heads: tuple[int, int] = (32, 8),
    tied: bool = False,
    context: int = 131_072,
) -> ModelSpec:
    kinds = [attention(*heads)] * layers if isinstance(layers, int) else layers
    part = GatedMlp(intermediate_size=mlp, activation="silu") if isinstance(mlp, int) else mlp
    return ModelSpec(
        name=name,
        family="llama",
        vocab_size=vocab,
        hidden_size=hidden,
        layers=tuple(LayerSpec(attention=kind, mlp=part) for kind in kinds),
        max_context_tokens=context,
        norm_eps=1e-5,
        tie_embeddings=tied,
    )


LLAMA_8B = model("llama-3.1-8b", layers=32, hidden=4096, mlp=14_336)
LLAMA_70B = model("llama-3.1-70b", layers=80, hidden=8192, mlp=28_672, heads=(64, 8))
LLAMA_405B = model("llama-3.1-405b", layers=126, hidden=16_384, mlp=53_248, heads=(128, 8))
MISTRAL_7B = model(
    "mistral-7b-v0.1", layers=[attention(32, 8, window=4096)] * 32, hidden=4096, mlp=14_336, vocab=32_000
)
GEMMA_LIKE = model(
    "five-local-one-global",
    layers=[attention(16, 8, window=1024)] * 5 + [attention(16, 8)],
    hidden=2048,
    mlp=8192,
    tied=True,
)
SMOLLM_135M = model(
    "smollm2-135m", layers=[attention(9, 3, 64)] * 30, hidden=576, mlp=1536, vocab=49_152, tied=True, context=8192
)
MIXTRAL = model(
    "mixtral-8x7b",
    layers=32,
    hidden=4096,
    mlp=ExpertsMlp(num_experts=8, top_k=2, intermediate_size=14_336, activation="silu"),
    vocab=32_000,
    context=32_768,
)
