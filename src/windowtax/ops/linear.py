"""x @ w.T + b, by the call that is fastest for the number of rows.

On CPUs torch's linear packs the weight anew at every call, which costs more than the product itself while x has few
rows. A matrix-vector product, or the product with the weight in front, reads the weight once and is done
(benchmarks/decode_prefill/README.md has the numbers).
"""

import torch
import torch.nn.functional as functional
from torch import Tensor

_FEW_ROWS = 128


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [T, in], weight [out, in], bias [out] -> [T, out]."""
    num_rows = x.shape[0]
    if x.device.type != "cpu" or num_rows > _FEW_ROWS or num_rows == 0:
        return functional.linear(x, weight, bias)
    out = torch.mv(weight, x[0])[None] if num_rows == 1 else torch.mm(weight, x.t()).t().contiguous()
    return out if bias is None else out + bias
