"""The decoder inside a config that describes more than one: images, sound or a talker beside the text.

What surrounds a decoder leaves its cache as it is in the architectures named here: pictures and sound become tokens of
the same sequence. One that reads them by cross-attention (Llama 3.2 Vision) is not among them, and is refused by name.
"""

from collections.abc import Mapping
from typing import Any, cast

from windowtax.base.strict import StrictConfig
from windowtax.catalog.ignorable import IGNORABLE
from windowtax.catalog.ignorable_outer import IGNORABLE_OUTER, REPEATED_OUTER

_DECODER_KEYS = ("text_config", "llm_config", "language_config", "thinker_config")
_SHARED_WITH_OUTER = ("architectures", "tie_word_embeddings", "torch_dtype", "dtype", "quantization_config")
_OTHER_PARTS = ("vision_config", "audio_config")
_POSITION_KEYS = ("mrope_section", "mrope_interleaved")
_POSITION_TYPE = "mrope"

WRAPPERS = frozenset(
    {
        "AyaVisionForConditionalGeneration",
        "Cohere2VisionForConditionalGeneration",
        "Cosmos3OmniForConditionalGeneration",
        "DeepseekVLForConditionalGeneration",
        "DeepseekVLHybridForConditionalGeneration",
        "Exaone4_5_ForConditionalGeneration",
        "FastVlmForConditionalGeneration",
        "FunAsrNanoForConditionalGeneration",
        "GlmAsrForConditionalGeneration",
        "GotOcr2ForConditionalGeneration",
        "GraniteSpeechForConditionalGeneration",
        "GraniteSpeechPlusForConditionalGeneration",
        "Idefics3ForConditionalGeneration",
        "InternVLChatModel",
        "InternVLForConditionalGeneration",
        "JanusForConditionalGeneration",
        "KimiVLForConditionalGeneration",
        "Lfm2VlForConditionalGeneration",
        "LightOnOcrForConditionalGeneration",
        "LlavaForConditionalGeneration",
        "LlavaNextForConditionalGeneration",
        "LlavaNextVideoForConditionalGeneration",
        "LlavaOnevisionForConditionalGeneration",
        "Mistral3ForConditionalGeneration",
        "MossTranscribeDiarizeForConditionalGeneration",
        "NemotronH_Nano_VL_V2",
        "NemotronH_Omni_Reasoning_V3",
        "Ovis2ForConditionalGeneration",
        "PaliGemmaForConditionalGeneration",
        "PerceptionLMForConditionalGeneration",
        "QianfanOCRForConditionalGeneration",
        "Qwen2AudioForConditionalGeneration",
        "Qwen2_5OmniForConditionalGeneration",
        "Qwen2_5OmniModel",
        "Qwen2_5OmniThinkerForConditionalGeneration",
        "Qwen3ASRForConditionalGeneration",
        "Qwen3OmniMoeForConditionalGeneration",
        "Qwen3OmniMoeThinkerForConditionalGeneration",
        "SmolVLMForConditionalGeneration",
        "Step3p7ForConditionalGeneration",
        "VideoLlama3ForConditionalGeneration",
        "VideoLlavaForConditionalGeneration",
        "VipLlavaForConditionalGeneration",
        "VoxtralForConditionalGeneration",
    }
)
"""Architectures around a decoder of any family: that family is the one which the inner config names."""


def is_wrapper(data: Mapping[str, Any]) -> bool:
    """Whether `data` names an architecture that leaves the decoder inside it as it is."""
    listed = data.get("architectures")
    return isinstance(listed, list) and any(
        isinstance(word, str) and word in WRAPPERS for word in cast("list[object]", listed)
    )


def inner_config(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config of the decoder inside `data`; None where `data` is the decoder's own."""
    found = next((data[key] for key in _DECODER_KEYS if isinstance(data.get(key), dict)), None)
    return cast("dict[str, Any] | None", found)


def decoder_config(data: Mapping[str, Any], source: str) -> StrictConfig:
    """The decoder's keys: the config itself, or the one inside it with what the outer part says for both.

    Raises UnsupportedModel for outer keys that nobody reads.
    """
    inner = inner_config(data)
    if inner is None:
        config = StrictConfig(_as_text(data), source)
        if any(part in data for part in _OTHER_PARTS):
            config.ignore(IGNORABLE_OUTER)
        return config
    merged, outer = dict(inner), StrictConfig(data, source)
    where = next(key for key in _DECODER_KEYS if data.get(key) is inner)
    outer.ignore({where: "read on its own"})
    for key in _SHARED_WITH_OUTER:
        value: object = outer.take_optional(key, object)
        if value is not None:
            merged[key] = value
    outer.ignore(IGNORABLE)
    outer.ignore(IGNORABLE_OUTER)
    outer.ignore(REPEATED_OUTER)
    outer.finish()
    return decoder_config(merged, f"{source}, {where}")


def _as_text(data: Mapping[str, Any]) -> dict[str, Any]:
    """Without the positions of images (M-RoPE): a token of text has the same position on all of its axes, and is
    turned as by plain RoPE (Qwen2-VL, arXiv 2409.12191, section 2.1)."""
    changed = dict(data)
    for key in ("rope_scaling", "rope_parameters"):
        found = data.get(key)
        if not isinstance(found, dict):
            continue
        rope = {k: v for k, v in cast("dict[str, Any]", found).items() if k not in _POSITION_KEYS}
        for word in ("type", "rope_type"):
            if rope.get(word) == _POSITION_TYPE:
                rope[word] = "default"
        changed[key] = rope
    return changed
