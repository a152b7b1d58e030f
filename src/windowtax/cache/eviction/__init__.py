"""Eviction policies, one file each: which unused block of a prefix cache goes first."""
