"""CHOWDER with different numbers of top and bottom tiles, as Owkin's later code has it (n_top, n_bottom).

The trainer, the calibration and the files know one R. Here R is the larger of the two numbers, and the head takes what
it needs of the 2R selected values: what it leaves has a slope of 0, so training is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from chowder.models.networks import ChowderEnsemble


class UnequalEnsemble(ChowderEnsemble):
    """CHOWDER whose MLP takes ``top`` highest and ``bottom`` lowest values of each embedding.

    Shapes as in :mod:`chowder.models.networks`; the first layer of the MLP is (E, (top + bottom) J, hidden).
    """

    def __init__(
        self,
        dim: int,
        members: int,
        top: int,
        bottom: int,
        embeddings: int = 1,
        bias: bool = False,
        hidden: Sequence[int] = (200, 100),
    ):
        super().__init__(dim, members, max(top, bottom), embeddings, bias, hidden)
        self.top, self.bottom = top, bottom
        outputs = self.layers[0].shape[2]
        self.layers[0] = nn.Parameter(torch.zeros(members, (top + bottom) * embeddings, outputs))

    def head(self, values: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logits (E, B) for the selected values (E, B, J, 2R), of which some are not used."""
        used = torch.cat([values[..., : self.top], values[..., self.r : self.r + self.bottom]], dim=-1)
        return super().head(used, keep)
