"""Price lists, bills and own cost."""
