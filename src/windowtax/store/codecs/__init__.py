"""In what bits vectors are kept: one codec per file."""
