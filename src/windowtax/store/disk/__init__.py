"""Blocks of kept prefixes on a disk: append-only segment files with checksums, and an index over them."""
