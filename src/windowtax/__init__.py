"""windowtax: what a context window costs. Plan it, run it, see the bill."""

__version__ = "0.1.0"
