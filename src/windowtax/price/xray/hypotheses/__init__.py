"""Rival explanations of a length tier, one file each. A new one is a new file that registers itself."""
