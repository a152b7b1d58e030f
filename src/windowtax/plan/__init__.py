"""Memory, time, money of a window: fit, prefill, decode, sweep, and the explanation."""
