"""Products of float16 rows with float32 weights that convert inside the processor's registers.

torch has such a product (FBGEMM, made for the layers of recurrent networks): the rows are rearranged once, and then
each product reads 2 bytes per value and adds in float32. float16 to float32 is exact, so the result differs from a
float32 product in rounding only. Rearranging costs what 8 to 12 products save, and the copy is as large as the rows
(docs/decisions/packed_features.md).
"""

from __future__ import annotations

import functools
from typing import Any

import torch

# Rows rearranged together. More make the rearranging slower (cache misses), fewer the products.
ROWS = 512


@functools.cache
def available() -> bool:
    """Whether this build of torch has the product on this processor, and it is right."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn((37, 65), generator=generator).half()
    weights = torch.randn((7, 65), generator=generator)
    try:
        found = product(weights, pack(rows))
    except (RuntimeError, AttributeError):
        return False
    return found.dtype == torch.float32 and torch.allclose(found, weights @ rows.float().T, rtol=1e-5, atol=1e-4)


def pack(rows: torch.Tensor) -> Any:
    """Return a copy of the rows (n, P) float16 in the layout of :func:`product`."""
    return torch.ops.quantized.linear_prepack_fp16(rows.float(), None)


def product(weights: torch.Tensor, packed: Any) -> torch.Tensor:
    """Return weights (K, P) float32, contiguous, times the packed rows: (K, n) float32."""
    return torch.ops.quantized.linear_dynamic_fp16(weights, packed)
