"""Element types as torch knows them."""

import torch

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Element types that the engine computes with and stores as they are."""
