"""Models whose caches engines have printed, by hand, so that these tests depend on no reader.

Numbers: facts/models.md, sections 1.1 to 1.4 (configs of the models' publishers). MLP and vocabulary play no part in
cache bytes and are stand-ins.
"""

from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.compressed import CompressedAttention
from windowtax.spec.attention.dsa import SparseLatentAttention
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.gated_delta import GatedDelta
from windowtax.spec.attention.indexer import Indexer
from windowtax.spec.attention.kda import KimiDelta
from windowtax.spec.attention.mla import LatentAttention
from windowtax.spec.attention.shared import SharedAttention
from windowtax.spec.attention.sliding import SlidingAttention
from windowtax.spec.mlp import GatedMlp
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.rope.base import Rope
from windowtax.spec.rope.none import NoScaling


def rope(dim: int) -> Rope:
    return Rope(theta=1e6, rotary_dim=dim, scaling=NoScaling())


def full(queries: int, keys: int, dim: int) -> FullAttention:
    return FullAttention(num_query_heads=queries, num_kv_heads=keys, head_dim=dim, v_head_dim=dim, rope=rope(dim))


def sliding(queries: int, keys: int, dim: int, window: int) -> SlidingAttention:
    return SlidingAttention(
        num_query_heads=queries, num_kv_heads=keys, head_dim=dim, v_head_dim=dim, rope=rope(dim), window_tokens=window
    )


def delta(value_heads: int) -> GatedDelta:
    return GatedDelta(num_key_heads=16, num_value_heads=value_heads, key_head_dim=128, value_head_dim=128)


def of(name: str, kinds: list[AttentionKind], hidden: int, context: int = 262_144) -> ModelSpec:
    mlp = GatedMlp(intermediate_size=hidden, activation="silu")
    return ModelSpec(
        name=name,
        family="llama",
        vocab_size=1024,
        hidden_size=hidden,
        layers=tuple(LayerSpec(attention=kind, mlp=mlp) for kind in kinds),
        max_context_tokens=context,
        norm_eps=1e-6,
    )


LLAMA_8B = of("llama-3.1-8b", [full(32, 8, 128)] * 32, 4096, 131_072)
LLAMA_70B = of("llama-3.1-70b", [full(64, 8, 128)] * 80, 8192, 131_072)
LLAMA_405B = of("llama-3.1-405b", [full(128, 8, 128)] * 126, 16_384, 131_072)
QWEN3_235B = of("qwen3-235b-a22b", [full(64, 4, 128)] * 94, 4096, 40_960)
QWEN3_VL_8B = of("qwen3-8b", [full(32, 8, 128)] * 36, 4096)
GPT_OSS_20B = of("gpt-oss-20b", [sliding(64, 8, 64, 128), full(64, 8, 64)] * 12, 2880, 131_072)
GPT_OSS_120B = of("gpt-oss-120b", [sliding(64, 8, 64, 128), full(64, 8, 64)] * 18, 2880, 131_072)

# Three layers of Gated DeltaNet to one of full attention.
QWEN36_35B = of("qwen3.6-35b-a3b", ([delta(32)] * 3 + [full(16, 2, 256)]) * 10, 2048)
QWEN36_27B = of("qwen3.6-27b", ([delta(48)] * 3 + [full(24, 4, 256)]) * 16, 5120)
QWEN35_397B = of("qwen3.5-397b-a17b", ([delta(64)] * 3 + [full(32, 2, 256)]) * 15, 4096)

# The last 20 of 35 layers read the caches of earlier ones; 12 local and 3 global layers own theirs.
_LOCAL, _GLOBAL = sliding(8, 1, 256, 512), full(8, 1, 512)
GEMMA4_E2B = of(
    "gemma-4-e2b",
    [*([_LOCAL] * 4 + [_GLOBAL]) * 3, *([SharedAttention(source=_LOCAL)] * 4 + [SharedAttention(source=_GLOBAL)]) * 4],
    1536,
    131_072,
)

_LATENT = {
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "rope": rope(64),
}
V3 = of("deepseek-v3", [LatentAttention(num_query_heads=128, q_lora_rank=1536, **_LATENT)] * 61, 7168, 163_840)
V2_LITE = of("deepseek-v2-lite", [LatentAttention(num_query_heads=16, q_lora_rank=None, **_LATENT)] * 27, 2048, 163_840)
_INDEXER = Indexer(num_heads=64, head_dim=128, query_rank=1536)
V32 = of(
    "deepseek-v3.2",
    [SparseLatentAttention(num_query_heads=128, q_lora_rank=1536, top_k=2048, indexer=_INDEXER, **_LATENT)] * 61,
    7168,
    163_840,
)

# Kimi Linear: 7 latent layers without positions and 20 of KDA (facts/models.md 1.4).
_KDA = KimiDelta(num_heads=32, head_dim=128, gate_rank=128)
KIMI_LINEAR = of(
    "kimi-linear-48b-a3b",
    ([_KDA] * 3 + [LatentAttention(num_query_heads=32, q_lora_rank=None, **_LATENT)]) * 6
    + [_KDA] * 2
    + [LatentAttention(num_query_heads=32, q_lora_rank=None, **_LATENT)],
    2304,
    1_048_576,
)
GEMMA4_26B = of("gemma-4-26b-a4b", ([sliding(16, 8, 256, 1024)] * 5 + [full(16, 2, 512)]) * 5, 2816)


def _compressed(stride: int) -> CompressedAttention:
    chosen = stride == 4
    return CompressedAttention(
        num_query_heads=128,
        head_dim=512,
        rope_dim=64,
        rope=rope(64),
        q_lora_rank=1536,
        output_groups=16,
        o_lora_rank=1024,
        window_tokens=128,
        stride=stride,
        overlap=chosen,
        indexer=_INDEXER if chosen else None,
        top_k=1024 if chosen else None,
    )


V4_PRO = of("deepseek-v4-pro", [_compressed(128)] * 31 + [_compressed(4)] * 30, 7168, 1_048_576)
