"""Keys inside the rope dict of Mistral's configs from 2025 on that no cache depends on."""

MISTRAL_ROPE: dict[str, str] = {
    "llama_4_scaling_beta": "scales queries by position: logits only, and such families are planned, not run",
    "max_position_embeddings": "repeats the longest context, which stands beside the dict",
}
