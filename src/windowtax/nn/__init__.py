"""The decoder, built from a ModelSpec; no model class per family."""
