"""DeepSeek-V4 (DeepSeek-AI 2026): compressed rows behind a short window, experts on every layer, hyper-connections.

`compress_ratios` names 4, 128 or 0 for each layer, and has entries for the prediction layers behind them.
"""

from dataclasses import replace

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.latent import draft_layers
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.typed import optional_dict, optional_list
from windowtax.spec.attention.compressed import CompressedAttention
from windowtax.spec.attention.indexer import Indexer
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.rope import Rope, read_rope, read_rope_by_kind
from windowtax.spec.rope.none import NoScaling
from windowtax.spec.weights import Weight

_CSA, _HCA = "compressed_sparse_attention", "heavily_compressed_attention"


def read(config: StrictConfig) -> ModelSpec:
    """Ratio 4 is CSA, with an index and overlapping windows; 128 is HCA; 0 is the window alone."""
    sizes = read_sizes(config, {"hidden_act": "silu", "intermediate_size": 0, "rms_norm_eps": 1e-6})
    if sizes.num_kv_heads != 1:
        raise UnsupportedModel(f"{config.source}: {sizes.num_kv_heads} KV heads; one row for all heads was expected.")
    config.expect("attention_bias", False)
    config.expect("mlp_bias", False)
    ratios, drafts = _ratios(config, sizes.num_layers)
    kinds = {ratio: _attention(config, sizes, ratio) for ratio in {*ratios, *drafts}}
    experts = ExpertsMlp(
        num_experts=config.take("n_routed_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=config.take("moe_intermediate_size", int),
        activation=sizes.activation,
        shared_intermediate_size=config.take("moe_intermediate_size", int) * config.take("n_shared_experts", int, 1),
        router_bias=True,
    )
    hashed = replace(experts, router_bias=False, hashed_vocab=sizes.vocab_size)
    num_hashed = _hashed(config)
    streams = config.take("hc_mult", int)
    beside = _connections(streams, sizes.hidden_size)
    layers = [
        LayerSpec(attention=kinds[ratio], mlp=hashed if index < num_hashed else experts, extra_weights=beside)
        for index, ratio in enumerate(ratios)
    ]
    draft = LayerSpec(attention=kinds[drafts[0]], mlp=experts, extra_weights=beside) if drafts else layers[-1]
    return replace(
        sizes.model("deepseek_v4", layers),
        weight_dtype=_weight_dtype(config, sizes.weight_dtype),
        extra_weights=(
            Weight("streams", (streams, streams * sizes.hidden_size)),
            Weight("streams_base", (streams,)),
            Weight("streams_scale", (1,)),
        ),
        draft_layers=draft_layers(config, "num_nextn_predict_layers", draft, sizes.hidden_size),
    )


def _hashed(config: StrictConfig) -> int:
    """How many layers, from the first on, send tokens by a table."""
    kinds = optional_list(config, "mlp_layer_types")
    if kinds is None:
        return config.take("num_hash_layers", int, 3)
    count = kinds.count("hash_moe")
    config.expect("mlp_layer_types", ["hash_moe"] * count + ["moe"] * (len(kinds) - count))
    config.expect("num_hash_layers", count)
    return count


def _weight_dtype(config: StrictConfig, others: str) -> str:
    """Experts may be in a narrower type than the rest: fp4 with one exponent per 32 numbers (MXFP4)."""
    named = config.take("expert_dtype", str, "")
    if named in ("", others) or (named, others) == ("fp4", "nvfp4_fp8"):
        return others
    if (named, others) != ("fp4", "fp8"):
        raise UnsupportedModel(
            f"{config.source}: 'expert_dtype' is {named!r} beside {others}; fp4 beside fp8 is known."
        )
    return "mxfp4_fp8"


def _ratios(config: StrictConfig, num_layers: int) -> tuple[list[int], list[int]]:
    """Tokens per row of each layer, and of each prediction layer. Raises BadInput or UnsupportedModel."""
    ratios = optional_list(config, "compress_ratios")
    drafts = config.take("num_nextn_predict_layers", int, 0)
    if ratios is None:
        named = {_CSA: 4, _HCA: 128, "sliding_attention": 0, **(optional_dict(config, "compress_rates") or {})}
        kinds = optional_list(config, "layer_types")
        if kinds is None or len(kinds) != num_layers:
            raise BadInput(f"{config.source}: 'compress_ratios' must name tokens per row for {num_layers} layers.")
        if unknown := sorted(set(kinds) - set(named)):
            raise UnsupportedModel(f"{config.source}: {', '.join(unknown)} among the layer types is not known here.")
        ratios = [named[kind] for kind in kinds]
    if len(ratios) not in (num_layers, num_layers + drafts):
        raise BadInput(
            f"{config.source}: 'compress_ratios' has {len(ratios)} entries for {num_layers} layers and {drafts} "
            "prediction layers."
        )
    if unknown := sorted(set(ratios) - {0, 4, 128}):
        raise UnsupportedModel(f"{config.source}: compress ratios {unknown} are not known; 4, 128 and 0 are.")
    return ratios[:num_layers], ratios[num_layers:] or [0] * drafts


def _attention(config: StrictConfig, sizes: Sizes, ratio: int) -> CompressedAttention:
    q_rank, turned = config.take("q_lora_rank", int), config.take("qk_rope_head_dim", int, 64)
    near, wide = _ropes(config, sizes, turned)
    indexer = Indexer(
        num_heads=config.take("index_n_heads", int), head_dim=config.take("index_head_dim", int), query_rank=q_rank
    )
    sparse = ratio == 4
    top_k = config.take("index_topk", int)
    return CompressedAttention(
        num_query_heads=sizes.num_query_heads,
        head_dim=sizes.head_dim,
        rope_dim=turned,
        rope=wide if ratio else near,
        q_lora_rank=q_rank,
        output_groups=config.take("o_groups", int),
        o_lora_rank=config.take("o_lora_rank", int),
        window_tokens=config.take("sliding_window", int),
        stride=ratio,
        overlap=sparse,
        indexer=indexer if sparse else None,
        top_k=top_k if sparse else None,
    )


def _ropes(config: StrictConfig, sizes: Sizes, turned: int) -> tuple[Rope, Rope]:
    """Of layers without compressed rows, which is never scaled, and of the others: as keys of their own, or as `main`
    and `compress` of one dict (transformers 5)."""
    given = optional_dict(config, "rope_parameters") or {}
    if set(given) == {"main", "compress"}:
        found = read_rope_by_kind(
            config, head_dims=dict.fromkeys(given, sizes.head_dim), max_context_tokens=sizes.max_context_tokens
        )
        config.expect("compress_rope_theta", found["compress"].theta)
        return found["main"], found["compress"]
    theta = config.take("rope_theta", float, 1e4)
    scaled = read_rope(config, head_dim=turned, max_context_tokens=sizes.max_context_tokens)
    wide = Rope(config.take("compress_rope_theta", float, 1.6e5), turned, scaled.scaling)
    return Rope(theta, turned, NoScaling()), wide


def _connections(streams: int, hidden_size: int) -> tuple[Weight, ...]:
    """Manifold-constrained hyper-connections (report, section 2.2): `streams` residual streams, mixed at both parts."""
    mixes = streams * (streams + 2)
    return tuple(
        Weight(f"{part}_streams{name}", shape)
        for part in ("attention", "mlp")
        for name, shape in (("", (mixes, streams * hidden_size)), ("_base", (mixes,)), ("_scale", (3,)))
    )


_STREAMS = "how residual streams are mixed: logits only, and this family is planned, not run"

FAMILIES.register("deepseek_v4")(
    Family(
        name="deepseek_v4",
        architectures=("DeepseekV4ForCausalLM", "deepseek_v4"),
        reader=read,
        parts=("compress_ratios", "index_topk"),
        ignorable={
            **ROUTING,
            "hc_eps": _STREAMS,
            "hc_sinkhorn_iters": _STREAMS,
            "swiglu_limit": "a clamp inside the experts: logits only, and this family is planned, not run",
        },
    )
)
