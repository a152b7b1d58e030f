"""The loop, the runner, the sampler, and the loading of weights and tokenizers."""
