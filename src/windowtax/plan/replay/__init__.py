"""Traces of real traffic, read and replayed: what a cache would have found, and what a deployment would have done."""
