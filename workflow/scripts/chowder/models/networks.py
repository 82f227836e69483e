"""WELDON and CHOWDER as torch modules over a leading ensemble dimension (specification, section 2).

Shapes: E members, P features, J embeddings, n tiles of a slide, B slides of a batch, R top and R bottom instances.
A module holds all members at once: ``weight`` is (E, J, P), so the embedding values of a slide for every member are
one product, ``weight.flatten(0, 1) @ x.T``.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import torch
from torch import nn

from chowder import seeds


def extremes(scores: torch.Tensor, starts: torch.Tensor, counts: torch.Tensor, r: int) -> torch.Tensor:
    """Where the R highest (highest first) and the R lowest (lowest first) values of every slide are.

    Parameters
    ----------
    scores : (K, N) embedding values of the slides' tiles, side by side.
    starts, counts : (B,) int64; slide b has the columns ``starts[b] : starts[b] + counts[b]``, at least one.

    Returns (K, B, 2R) int64, columns of ``scores``. With fewer than 2R tiles top and bottom overlap; with fewer than R
    the last of the top (the lowest value) and the last of the bottom (the highest) are repeated.
    """
    k, n, longest = len(scores), scores.shape[1], int(counts.max())
    equal = len(counts) * longest == n and bool((counts == longest).all())
    if equal:
        table = scores.view(k, len(counts), longest)
    else:  # slides side by side; the fill below is infinite, so it comes after every tile in either order
        inside = torch.arange(longest, device=scores.device) < counts[:, None]
        columns = torch.where(inside, starts[:, None] + torch.arange(longest, device=scores.device), n - 1).flatten()
        table = scores.index_select(1, columns).view(k, len(counts), longest)
    rank = torch.minimum(torch.arange(r, device=scores.device), counts[:, None] - 1).expand(k, -1, -1)
    found = []
    for largest, fill in ((True, -torch.inf), (False, torch.inf)):
        if not equal:
            table = table.masked_fill(~inside, fill)
        found.append(_first(table, min(r, longest), largest).gather(2, rank))
    return torch.cat(found, dim=2) + starts[:, None]


def _first(table: torch.Tensor, r: int, largest: bool) -> torch.Tensor:
    """Where the r largest, or smallest, values of each last dimension are, in order.

    With few of many, groups of values are compared first: the r largest values are in the r groups with the largest
    maxima. That halves the time of torch.topk alone.
    """
    length = table.shape[2]
    size = round((length / r) ** 0.5)
    if size < 2:
        return torch.topk(table, r, dim=2, largest=largest).indices
    groups = length // size  # at least r
    rows = table[:, :, : groups * size].unflatten(2, (size, groups))
    best = torch.topk(rows.amax(2) if largest else rows.amin(2), r, dim=2, largest=largest, sorted=False).indices
    candidates = (best[:, :, None] + torch.arange(0, groups * size, groups, device=table.device)[:, None]).flatten(2)
    rest = torch.arange(groups * size, length, device=table.device).expand(*table.shape[:2], -1)
    candidates = torch.cat([candidates, rest], dim=2)
    return candidates.gather(2, torch.topk(table.gather(2, candidates), r, dim=2, largest=largest).indices)


class Ensemble(nn.Module):
    """E networks: a linear embedding shared by all tiles, top and bottom instances, and a head.

    A subclass defines ``head``. Every parameter has the members first. Parameters of member m are drawn from its own
    generator (``seed_of_member(m)``), so the first ten members of fifty are the members of ten.
    """

    kind = ""

    def __init__(self, dim: int, members: int, r: int, embeddings: int = 1, bias: bool = False):
        super().__init__()
        self.dim, self.members, self.r, self.embeddings = dim, members, r, embeddings
        self.weight = nn.Parameter(torch.zeros(members, embeddings, dim))
        self.offset = nn.Parameter(torch.zeros(members, embeddings)) if bias else None

    @property
    def dropped_units(self) -> int:
        """Number of hidden units, over all hidden layers, that dropout may silence."""
        return 0

    def initialise(self, stream: Sequence[object]) -> None:
        """Glorot-uniform weights and zero biases (Keras' default, which the paper's authors used), member by member."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        for member in range(self.members):
            generator = torch.Generator().manual_seed(seeds.seed_of(*stream, member, "weights"))
            for matrix in self.matrices():
                limit = (6.0 / (matrix.shape[1] + matrix.shape[2])) ** 0.5
                drawn = torch.rand(matrix.shape[1:], generator=generator, dtype=torch.float64) * 2 - 1
                with torch.no_grad():
                    matrix[member] = (drawn * limit).to(matrix)

    def of_members(self, part: slice) -> Ensemble:
        """Return an ensemble of the members ``part`` alone; its parameters share memory with theirs here."""
        other = copy.deepcopy(self)
        for own, whole in zip(other.parameters(), self.parameters(), strict=True):
            own.data = whole.data[part]
        other.members = len(range(self.members)[part])
        return other

    def matrices(self) -> list[nn.Parameter]:
        """Parameters that start at random, (E, a, b) each; the others (biases) start at zero."""
        return [self.weight]

    def head(self, values: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (E, B) from the selected values (E, B, J, 2R); ``keep`` is the dropout factor (E, B, hidden units)."""
        raise NotImplementedError

    def penalty(self) -> torch.Tensor:
        """(E,) sum of the squared embedding weights, the paper's L2 term before its factor."""
        return self.weight.square().sum(dim=(1, 2))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """(E, J, n) embedding values of one slide's tiles x (n, P)."""
        values = torch.matmul(self.weight, x.T)
        return values if self.offset is None else values + self.offset[:, :, None]

    def forward(self, x: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (E,) of one slide x (n, P), differentiable through all of it. The trainer takes a shorter way."""
        values = self.embed(x)
        flat = values.flatten(0, 1)
        whole = torch.tensor([len(x)], device=x.device)
        selected = flat.gather(1, extremes(flat.detach(), whole - len(x), whole, self.r)[:, 0])
        return self.head(selected.view(self.members, 1, self.embeddings, 2 * self.r), keep)[:, 0]


class WeldonEnsemble(Ensemble):
    """WELDON(R): the logit is the sum of the R highest and the R lowest embedding values."""

    kind = "weldon"

    def head(self, values: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logits (E, B): the sum of the selected values (E, B, J, 2R)."""
        return values.sum(dim=(2, 3))


class ChowderEnsemble(Ensemble):
    """CHOWDER(R): the 2R sorted values of each embedding enter an MLP with sigmoid activations.

    Dropout acts on the hidden layers, never on the logit.
    """

    kind = "chowder"

    def __init__(
        self,
        dim: int,
        members: int,
        r: int,
        embeddings: int = 1,
        bias: bool = False,
        hidden: Sequence[int] = (200, 100),
    ):
        super().__init__(dim, members, r, embeddings, bias)
        self.hidden = tuple(hidden)
        sizes = [2 * r * embeddings, *self.hidden, 1]
        self.layers = nn.ParameterList()
        self.biases = nn.ParameterList()
        for inputs, outputs in itertools.pairwise(sizes):
            self.layers.append(nn.Parameter(torch.zeros(members, inputs, outputs)))
            self.biases.append(nn.Parameter(torch.zeros(members, 1, outputs)))

    @property
    def dropped_units(self) -> int:
        """Number of hidden units that dropout may switch off."""
        return sum(self.hidden)

    def matrices(self) -> list[nn.Parameter]:
        """Return the parameters that start at random: the embedding and the layers of the MLP."""
        return [self.weight, *self.layers]

    def head(self, values: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Return the MLP's logits (E, B) for the selected values (E, B, J, 2R); ``keep`` holds dropout's factors."""
        h = values.flatten(2)
        at = 0
        for layer, (weight, bias) in enumerate(zip(self.layers, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)
            if layer < len(self.hidden):
                h = torch.sigmoid(h)
                if keep is not None:
                    width = self.hidden[layer]
                    h = h * keep[:, :, at : at + width]
                    at += width
        return h[:, :, 0]
