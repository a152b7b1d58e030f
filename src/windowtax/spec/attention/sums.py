"""Exact sums over the queries of a step: how many rows they read together, without a loop over queries."""


def floor_sum(limit: int, stride: int, cap: int | None = None) -> int:
    """The sum of min(n // stride, cap) for n = 0 ... limit; 0 for a negative limit."""
    if limit < 0:
        return 0
    if cap is not None and limit >= stride * cap:
        beyond = limit - stride * cap + 1
        return floor_sum(stride * cap - 1, stride) + beyond * cap
    whole, rest = divmod(limit, stride)
    return stride * whole * (whole - 1) // 2 + whole * (rest + 1)


def read_pairs(start: int, num_tokens: int, *, stride: int = 1, cap: int | None = None, skip: int = 0) -> int:
    """The sum of min(max(0, n - skip) // stride, cap) over the context lengths n of these queries: start + 1 and up."""
    return floor_sum(start + num_tokens - skip, stride, cap) - floor_sum(start - skip, stride, cap)
