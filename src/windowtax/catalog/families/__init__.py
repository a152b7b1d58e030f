"""One file per model family. Being here is being registered."""
