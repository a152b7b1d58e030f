"""Keys that no reader needs, each with the reason. Law 3: a key is read, or stands here, or is an error.

A key belongs here only if no value of it changes bytes, FLOPs or logits at inference. A key that is harmless at one
value only is not ignorable: its reader expects that value. Keys of one family stand in the family's file.
"""

_TRAINING = "acts in training only"
_TOKENS = "names a token; the engine reads it from the tokenizer's files"
_GENERATION = "a default of generate(), no property of the model"
_PROVENANCE = "says where the file comes from"

IGNORABLE: dict[str, str] = {
    "_attn_implementation": "which kernel transformers takes; all compute the same",
    "_attn_implementation_autoset": "which kernel transformers takes; all compute the same",
    "_name_or_path": _PROVENANCE,
    "architectures": "chose the family before it was read",
    "attention_dropout": _TRAINING,
    "aux_loss_alpha": _TRAINING,
    "auto_map": "names Python files of the repository; none of them is run",
    "bos_token_id": _TOKENS,
    "embd_pdrop": _TRAINING,
    "eos_token_id": _TOKENS,
    "ep_size": "how the authors spread the experts over machines",
    "hidden_dropout": _TRAINING,
    "initializer_range": _TRAINING,
    "model_type": "chose the family before it was read",
    "output_attentions": "what transformers returns beside the logits",
    "output_hidden_states": "what transformers returns beside the logits",
    "output_router_logits": "what transformers returns beside the logits",
    "pad_token_id": _TOKENS,
    "pretraining_tp": "splits the sums of the projections as the training did; the sums stay the same",
    "resid_pdrop": _TRAINING,
    "return_dict": "the form of transformers' answer",
    "router_aux_loss_coef": _TRAINING,
    "router_jitter_noise": _TRAINING,
    "seq_aux": _TRAINING,
    "temperature": _GENERATION,
    "top_k": _GENERATION,
    "top_p": _GENERATION,
    "transformers_version": _PROVENANCE,
    "unk_token_id": _TOKENS,
    "unsloth_fixed": _PROVENANCE,
    "use_cache": "whether transformers keeps a cache by default; here there always is one",
}

_DUMPED = "a default that older transformers wrote into every config; no decoder reads it"

IGNORABLE.update(
    dict.fromkeys(
        (
            "add_cross_attention",
            "bad_words_ids",
            "begin_suppress_tokens",
            "chunk_size_feed_forward",
            "cross_attention_hidden_size",
            "decoder_start_token_id",
            "diversity_penalty",
            "do_sample",
            "early_stopping",
            "encoder_no_repeat_ngram_size",
            "exponential_decay_length_penalty",
            "finetuning_task",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "id2label",
            "is_decoder",
            "is_encoder_decoder",
            "label2id",
            "length_penalty",
            "max_length",
            "min_length",
            "no_repeat_ngram_size",
            "num_beam_groups",
            "num_beams",
            "num_return_sequences",
            "output_scores",
            "prefix",
            "problem_type",
            "pruned_heads",
            "remove_invalid_values",
            "repetition_penalty",
            "return_dict_in_generate",
            "sep_token_id",
            "suppress_tokens",
            "task_specific_params",
            "tf_legacy_loss",
            "tie_encoder_decoder",
            "tokenizer_class",
            "torchscript",
            "typical_p",
            "use_bfloat16",
        ),
        _DUMPED,
    )
)

_ROUTING = "weighs the chosen experts; not their number, bytes or FLOPs. Families with experts are planned, not run"
_GROUPS = "limits from which experts a token may choose, not how many"
_DRAFTS = "layers that draft tokens (multi-token prediction); they are no part of the decoder and are not loaded"

ROUTING: dict[str, str] = {
    "n_group": _GROUPS,
    "norm_topk_prob": _ROUTING,
    "routed_scaling_factor": _ROUTING,
    "scoring_func": _ROUTING,
    "topk_group": _GROUPS,
    "topk_method": _ROUTING,
}
"""Keys of families with experts. A family that runs must read them instead."""

PREDICTION_LAYERS: dict[str, str] = {
    "mtp_transformer_layers": _DRAFTS,
    "num_mtp_layers": _DRAFTS,
    "num_mtp_modules": _DRAFTS,
    "num_nextn_predict_layers": _DRAFTS,
    "use_mtp": _DRAFTS,
}
"""Keys of families whose checkpoints carry such layers."""

IGNORABLE_GGUF: dict[str, str] = {
    "vocab_size": "the rows of token_embd.weight say it",
    "tensor_data_layout": "llama.cpp wrote one value only and reads none",
}
"""Keys of GGUF metadata behind the architecture's prefix."""

IGNORABLE_GGUF_NAMESPACES: dict[str, str] = {
    "general": _PROVENANCE,
    "tokenizer": "the engine's tokenizer reads it",
    "quantize": "how the file was quantised; each tensor names its type",
    "split": "how the file was cut in parts",
}
"""Namespaces of GGUF metadata beside the architecture's own."""
