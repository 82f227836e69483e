"""Products with packed float16 rows are those with the rows themselves, to float32 rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chowder.models import packed

torch.set_num_threads(1)
pytestmark = pytest.mark.skipif(not packed.available(), reason="torch has no such product on this processor")


def test_every_float16_value_survives():
    values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    values = values[torch.isfinite(values)][:, None]
    found = packed.product(torch.ones(1, 1), packed.pack(values))
    np.testing.assert_array_equal(found[0], values[:, 0].float())


@pytest.mark.parametrize(("members", "rows", "dim"), [(1, 1, 1), (10, 512, 2048), (50, 333, 1280), (7, 17, 515)])
def test_the_product_is_that_of_the_rows_in_double_precision(members, rows, dim):
    generator = torch.Generator().manual_seed(members)
    x = torch.randn((rows, dim), generator=generator).half()
    w = torch.randn((members, dim), generator=generator)
    exact = w.double() @ x.double().T
    bound = dim * 2.0**-24 * (w.double().abs() @ x.double().abs().T)  # of a sum in float32, in any order
    assert ((packed.product(w, packed.pack(x)) - exact).abs() <= bound).all()


def test_a_torch_without_the_product_is_noticed(monkeypatch):
    def missing(rows):
        raise RuntimeError("not built with FBGEMM")

    for broken in (missing, lambda rows: torch.ops.quantized.linear_prepack_fp16(rows.float() * 1.1, None)):
        monkeypatch.setattr(packed, "pack", broken)
        packed.available.cache_clear()
        assert not packed.available()
    packed.available.cache_clear()
