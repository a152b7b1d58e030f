"""The configs whose RoPE tables are kept as goldens: the rope-relevant part of each, as it stands in config.json.

Each case names the transformers config class that reads it, the head_dim (or one per layer kind) and the contexts in
tokens. real: copied from a published config.json; synthetic: made up here to reach a branch that no config we hold has.
"""

from typing import Any

# First release (April 2024); numbers as in torchtune's copy of them, torchtune/models/phi3/_model_builders.py.
PHI3_SHORT = [1.05] * 3 + [1.1, 1.1, 1.1500000000000001, 1.2000000000000002, 1.2500000000000002, 1.3000000000000003]
PHI3_SHORT += [1.3500000000000003, 1.5000000000000004] + [2.000000000000001] * 21 + [2.0500000000000007] * 3
PHI3_SHORT += [2.1000000000000005] * 3 + [2.1500000000000004] * 2 + [2.3499999999999996, 2.549999999999999]
PHI3_SHORT += [2.5999999999999988] * 2 + [2.7499999999999982] + [2.849999999999998] * 2 + [2.9499999999999975]
PHI3_LONG = [1.0299999713897705, 1.0499999523162842, 1.0499999523162842, 1.0799999237060547, 1.2299998998641968]
PHI3_LONG += [1.2299998998641968, 1.2999999523162842, 1.4499999284744263, 1.5999999046325684, 1.6499998569488525]
PHI3_LONG += [1.8999998569488525, 2.859999895095825, 3.68999981880188, 5.419999599456787, 5.489999771118164]
PHI3_LONG += [5.489999771118164, 9.09000015258789, 11.579999923706055, 15.65999984741211, 15.769999504089355]
PHI3_LONG += [15.789999961853027, 18.360000610351562, 21.989999771118164, 23.079999923706055, 30.009998321533203]
PHI3_LONG += [32.35000228881836, 32.590003967285156, 35.56000518798828, 39.95000457763672, 53.840003967285156]
PHI3_LONG += [56.20000457763672, 57.95000457763672, 59.29000473022461, 59.77000427246094, 59.920005798339844]
PHI3_LONG += [61.190006256103516, 61.96000671386719, 62.50000762939453, 63.3700065612793, 63.48000717163086]
PHI3_LONG += [63.48000717163086, 63.66000747680664, 63.850006103515625, 64.08000946044922, 64.760009765625]
PHI3_LONG += [64.80001068115234, 64.81001281738281, 64.81001281738281]

DEEPSEEK_YARN = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32}
DEEPSEEK_YARN |= {"beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}
LLAMA31 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA31 |= {"original_max_position_embeddings": 8192}
MROPE = "text positions are the same on all three axes, so the sections do not matter"


def case(
    name: str,
    source: str,
    head_dim: int | dict[str, int],
    contexts: list[int],
    config: dict[str, Any],
    config_class: str = "LlamaConfig",
    ignore: dict[str, str] | None = None,
) -> dict[str, Any]:
    """One case, in the order in which its golden file lists it."""
    return {
        "case": name,
        "source": source,
        "config_class": config_class,
        "head_dim": head_dim,
        "ignore": ignore or {},
        "config": config,
        "contexts": contexts,
    }


def heads(head_dim: int, max_tokens: int, theta: float, **rest: Any) -> dict[str, Any]:
    """A config of 32 heads in the old spelling."""
    sizes = {"hidden_size": 32 * head_dim, "num_attention_heads": 32, "head_dim": head_dim}
    return {**sizes, "max_position_embeddings": max_tokens, "rope_theta": theta, **rest}


REAL = [
    case("none-qwen3-8b", "real: Qwen/Qwen3-8B", 128, [1, 40960], heads(128, 40960, 1000000, rope_scaling=None)),
    case(
        "none-quarter-qwen3.5-27b",
        "real: Qwen/Qwen3.5-27B text_config",
        256,
        [1, 262144],
        {
            "hidden_size": 5120,
            "num_attention_heads": 24,
            "head_dim": 256,
            "max_position_embeddings": 262144,
            "rope_parameters": {
                "mrope_interleaved": True,
                "mrope_section": [11, 11, 10],
                "rope_type": "default",
                "rope_theta": 10000000,
                "partial_rotary_factor": 0.25,
            },
        },
        config_class="Qwen3_5TextConfig",
        ignore={"mrope_interleaved": MROPE, "mrope_section": MROPE},
    ),
    case(
        "llama3-llama-3.1-8b",
        "real: meta-llama/Meta-Llama-3.1-8B",
        128,
        [1, 8192, 131072],
        heads(128, 131072, 500000.0, rope_scaling=LLAMA31),
    ),
    case(
        "llama3-llama-4-scout",
        "real: meta-llama/Llama-4-Scout-17B-16E-Instruct text_config (low and high factor equal: no blend)",
        128,
        [1, 10485760],
        heads(128, 10485760, 500000.0, rope_scaling=LLAMA31 | {"factor": 16.0, "high_freq_factor": 1.0}),
    ),
    case(
        "yarn-deepseek-v3",
        "real: deepseek-ai/DeepSeek-V3",
        64,
        [1, 4096, 163840],
        {"qk_rope_head_dim": 64, "max_position_embeddings": 163840, "rope_theta": 10000, "rope_scaling": DEEPSEEK_YARN},
        config_class="DeepseekV3Config",
    ),
    case(
        "yarn-kimi-k2",
        "real: moonshotai/Kimi-K2-Instruct (beta_fast = beta_slow: a ramp of one pair)",
        64,
        [1, 131072],
        {
            "qk_rope_head_dim": 64,
            "max_position_embeddings": 131072,
            "rope_theta": 50000.0,
            "rope_scaling": DEEPSEEK_YARN | {"factor": 32.0, "beta_fast": 1.0, "beta_slow": 1.0},
        },
        config_class="DeepseekV3Config",
    ),
    case(
        "yarn-qwen2.5-7b",
        "real: Qwen/Qwen2.5-7B-Instruct with the rope_scaling that its model card gives for long texts",
        128,
        [1, 32768, 131072],
        heads(
            128,
            32768,
            1000000.0,
            rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        ),
    ),
    case(
        "yarn-gpt-oss-120b",
        "real: openai/gpt-oss-120b (truncate false)",
        64,
        [1, 131072],
        heads(
            64,
            131072,
            150000,
            rope_scaling={
                "rope_type": "yarn",
                "factor": 32.0,
                "original_max_position_embeddings": 4096,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
            },
        ),
        config_class="GptOssConfig",
    ),
    case(
        "longrope-phi-3-mini-128k",
        "real: microsoft/Phi-3-mini-128k-instruct, first release, but its type su put as longrope (see README)",
        96,
        [1, 4096, 4097, 131072],
        {
            "hidden_size": 3072,
            "num_attention_heads": 32,
            "max_position_embeddings": 131072,
            "original_max_position_embeddings": 4096,
            "rope_theta": 10000.0,
            "rope_scaling": {"type": "longrope", "short_factor": PHI3_SHORT, "long_factor": PHI3_LONG},
        },
        config_class="Phi3Config",
    ),
    case(
        "proportional-gemma-4-26b",
        "real: google/gemma-4-26B-A4B text_config (one rope dict per layer kind; full attention has wider heads)",
        {"full_attention": 512, "sliding_attention": 256},
        [1, 262144],
        {
            "hidden_size": 2816,
            "num_attention_heads": 16,
            "num_hidden_layers": 6,
            "head_dim": 256,
            "global_head_dim": 512,
            "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
            "max_position_embeddings": 262144,
            "rope_parameters": {
                "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1000000.0, "rope_type": "proportional"},
                "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
            },
        },
        config_class="Gemma4TextConfig",
    ),
]

YARN_ODD = {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 4096}
SHORT_24, LONG_24 = [1.0 + 0.05 * i for i in range(24)], [1.0 + 0.1 * i * i for i in range(24)]
SYNTHETIC = [
    case(
        "none-half", "synthetic", 128, [1, 8192], heads(128, 8192, 10000.0, partial_rotary_factor=0.5), "StableLmConfig"
    ),
    case(
        "linear-8",
        "synthetic: the numbers of google/gemma-3-4b-it's full-attention layers",
        256,
        [1, 131072],
        heads(256, 131072, 1000000.0, rope_scaling={"rope_type": "linear", "factor": 8.0}),
    ),
    case(
        "linear-three-quarters",
        "synthetic",
        64,
        [1, 16384],
        heads(64, 4096, 10000.0, partial_rotary_factor=0.75, rope_scaling={"type": "linear", "factor": 2.5}),
    ),
    case(
        "dynamic-2",
        "synthetic: Llama 2 with dynamic NTK",
        128,
        [1, 2048, 4096, 4097, 6000, 8192, 32768, 131072],
        heads(128, 4096, 10000.0, rope_scaling={"type": "dynamic", "factor": 2.0}),
    ),
    case(
        "dynamic-half",
        "synthetic",
        64,
        [2048, 2049, 65536],
        heads(64, 2048, 500000.0, partial_rotary_factor=0.5, rope_scaling={"rope_type": "dynamic", "factor": 4.0}),
    ),
    case(
        "yarn-quarter", "synthetic", 128, [1], heads(128, 65536, 1e6, partial_rotary_factor=0.25, rope_scaling=YARN_ODD)
    ),
    case(
        "yarn-mscales",
        "synthetic: unequal mscale and mscale_all_dim",
        64,
        [1],
        {
            "qk_rope_head_dim": 64,
            "max_position_embeddings": 163840,
            "rope_theta": 10000,
            "rope_scaling": DEEPSEEK_YARN | {"mscale": 1.0, "mscale_all_dim": 0.707},
        },
        config_class="DeepseekV3Config",
    ),
    case(
        "yarn-attention-factor",
        "synthetic: attention factor and betas given, ramp not truncated",
        128,
        [1],
        heads(
            128,
            65536,
            1e6,
            rope_scaling=YARN_ODD | {"attention_factor": 1.25, "beta_fast": 24, "beta_slow": 2, "truncate": False},
        ),
    ),
    case(
        "yarn-ramp-cut-below",
        "synthetic: so short an original that no pair turns beta_fast times",
        64,
        [1],
        heads(64, 2048, 10000.0, rope_scaling=YARN_ODD | {"original_max_position_embeddings": 128}),
    ),
    case(
        "yarn-ramp-cut-above",
        "synthetic: so small a theta that the slowest pair turns far more than beta_slow times",
        64,
        [1],
        heads(64, 44800, 20.0, rope_scaling=YARN_ODD | {"original_max_position_embeddings": 2800}),
    ),
    case(
        "yarn-factor-from-lengths",
        "synthetic: factor null, so longest context / original",
        128,
        [1],
        heads(128, 65536, 1e6, rope_scaling=YARN_ODD | {"factor": None}),
    ),
    case(
        "llama3-half",
        "synthetic",
        64,
        [1],
        {
            "hidden_size": 2048,
            "num_attention_heads": 32,
            "max_position_embeddings": 131072,
            "rope_parameters": LLAMA31 | {"factor": 32.0, "rope_theta": 500000.0, "partial_rotary_factor": 0.5},
        },
    ),
    case(
        "longrope-three-quarters",
        "synthetic: factor and attention factor given, original length inside the dict, made-up divisors",
        64,
        [4096, 4097],
        heads(
            64,
            131072,
            10000.0,
            partial_rotary_factor=0.75,
            rope_scaling={
                "rope_type": "longrope",
                "short_factor": SHORT_24,
                "long_factor": LONG_24,
                "factor": 8.0,
                "attention_factor": 1.5,
                "original_max_position_embeddings": 4096,
            },
        ),
    ),
    case(
        "longrope-factor",
        "synthetic: factor given and other than the ratio of the lengths, made-up divisors",
        48,
        [4096, 131072],
        heads(
            48,
            131072,
            10000.0,
            rope_scaling={
                "rope_type": "longrope",
                "short_factor": SHORT_24,
                "long_factor": LONG_24,
                "factor": 8.0,
                "original_max_position_embeddings": 4096,
            },
        ),
    ),
    case(
        "proportional-slowed",
        "synthetic: a factor on top, and a share that does not divide evenly",
        64,
        [1],
        {
            "hidden_size": 2048,
            "num_attention_heads": 32,
            "max_position_embeddings": 8192,
            "rope_parameters": {
                "rope_type": "proportional",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.3,
                "factor": 4.0,
            },
        },
    ),
]

CASES = REAL + SYNTHETIC
