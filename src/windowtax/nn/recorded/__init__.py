"""The decoder as a recorded program of native calls: the same maths as nn/decoder.py, one call per step."""
