"""Which tokens of which requests run next. Reads no clock and holds no tensors."""
