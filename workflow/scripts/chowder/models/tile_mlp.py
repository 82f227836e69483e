"""CHOWDER with an MLP as the score of a tile, as Owkin's later code has it (tiles_mlp_hidden).

A tile's features pass hidden layers with sigmoid activations; the last of them takes the place of the features in
CHOWDER. So the score of a tile is no linear function of its features, and tiles cannot be scored for all members by one
product, as the trainer of CHOWDER does. Here each step scores all tiles without a graph, and differentiates through the
selected ones alone: they are all that the loss depends on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from chowder import seeds
from chowder.features.bags import Bags, as_bags, check_labels
from chowder.files import UserError
from chowder.models.calibration import calibrate, undertrained
from chowder.models.estimators import EnsembleEstimator
from chowder.models.networks import Ensemble, extremes
from chowder.models.scorer import PRECISIONS, pick_device
from chowder.models.trainer import Adam, one_torch_thread, shares
from chowder.models.variants import UnequalEnsemble
from chowder.progress import Progress


class TileMlpEnsemble(UnequalEnsemble):
    """E networks: hidden layers shared by all tiles, then CHOWDER on what they give.

    ``tile_hidden``: sizes of the hidden layers. ``bias``: whether they, and the embedding, have one. ``dim`` is the
    length of the features; ``weight`` is (E, J, H) with H the size of the last hidden layer.
    """

    kind = "chowder_mlp"

    def __init__(
        self,
        dim: int,
        members: int,
        top: int,
        bottom: int,
        tile_hidden: Sequence[int],
        embeddings: int = 1,
        bias: bool = False,
        hidden: Sequence[int] = (200, 100),
    ):
        super().__init__(tile_hidden[-1], members, top, bottom, embeddings, bias, hidden)
        self.dim = dim
        self.tile_layers, self.tile_biases = nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in zip([dim, *tile_hidden[:-1]], tile_hidden, strict=True):
            self.tile_layers.append(nn.Parameter(torch.zeros(members, inputs, outputs)))
            if bias:
                self.tile_biases.append(nn.Parameter(torch.zeros(members, 1, outputs)))

    def matrices(self) -> list[nn.Parameter]:
        """Return the parameters that start at random: those of CHOWDER, then the layers before it."""
        return [*super().matrices(), *self.tile_layers]

    def scores_of(self, x: torch.Tensor) -> torch.Tensor:
        """(E, J, n) scores, without the embedding's bias, of tiles x (n, P), or of each member's own (E, n, P)."""
        h = x
        for number, layer in enumerate(self.tile_layers):
            h = torch.matmul(h, layer)
            h = torch.sigmoid(h + self.tile_biases[number] if len(self.tile_biases) else h)
        return torch.matmul(self.weight, h.transpose(1, 2))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """(E, J, n) scores of one slide's tiles x (n, P)."""
        values = self.scores_of(x)
        return values if self.offset is None else values + self.offset[:, :, None]


class TileStore:
    """What :class:`chowder.models.scorer.FeatureStore` is to other ensembles, for the one whose tiles it scores."""

    def __init__(self, bags: Bags, model: TileMlpEnsemble):
        self.bags, self.model = bags, model
        self.device, self.exact, self.dtype = model.weight.device, model.weight.dtype, model.weight.dtype

    def rows(self, slide: int) -> torch.Tensor:
        """(n, P) features of a slide."""
        return torch.from_numpy(np.ascontiguousarray(self.bags[int(slide)])).to(self.device, self.exact)

    @torch.no_grad()
    def scores(self, slides: Sequence[int], weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """(EJ, rows) scores of the slides' tiles, one after another; ``weights`` are those of the model."""
        return [torch.cat([self.model.scores_of(self.rows(slide)).flatten(0, 1) for slide in slides], dim=1)]

    def bounds(self, slides: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return starts and counts (B,) of each slide's columns in what :meth:`scores` returns."""
        counts = self.bags.counts[list(slides)]
        return tuple(torch.from_numpy(part).to(self.device) for part in (np.cumsum(counts) - counts, counts))

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Return ``function`` of every item."""
        return [function(item) for item in items]


class ChowderMlp(EnsembleEstimator):
    """CHOWDER with a tile MLP. Parameters as :class:`Chowder`, and ``tile_hidden``, the sizes of its hidden layers.

    ``l2`` counts the weights of the last layer of the tile MLP alone, which is CHOWDER's embedding.
    """

    kind = "chowder_mlp"
    #: it is not trained together with ensembles whose tiles are scored by one product
    alone = True

    def __init__(self, *arguments: Any, tile_hidden: Sequence[int] = (128,), **named: Any):
        super().__init__(*arguments, **named)
        self.tile_hidden = tuple(tile_hidden)
        if not self.tile_hidden or not all(isinstance(size, int) and size > 0 for size in self.tile_hidden):
            raise UserError(f"training.tile_hidden is {list(tile_hidden)!r}: give sizes of at least one hidden layer")

    def make(self, dim: int) -> TileMlpEnsemble:
        """Return the networks for features of length ``dim``, all zeros."""
        sizes = (self.r, self.bottom or self.r, self.tile_hidden, self.embeddings)
        return TileMlpEnsemble(dim, self.members, *sizes, self.bias, self.hidden)

    def arguments(self) -> dict[str, Any]:
        """Plain constructor arguments, as saved in a model file."""
        return super().arguments() | {"tile_hidden": list(self.tile_hidden)}

    def _store(self, bags: Bags | Sequence[np.ndarray], threads: int) -> TileStore:
        return TileStore(super()._store(bags, threads).bags, self.model_)

    def fit(self, bags: Bags | Sequence[np.ndarray], labels: Sequence[int], progress: str | None = None) -> ChowderMlp:
        """Train all members; see :meth:`EnsembleEstimator.fit`. Members are shared out to threads."""
        started = time.perf_counter()
        bags = as_bags(bags)
        y = check_labels(labels, bags)
        exact = torch.float64 if PRECISIONS[self.precision] == torch.float64 else torch.float32
        model = self.make(bags.dim).to(exact)
        model.initialise(self.seed_stream)
        self.model_ = model.to(pick_device(self.device))
        order = seeds.generator(self.seed, *self.stream, "order")
        orders = [order.permutation(len(bags)) for _ in range(self.epochs_of(len(bags)))]
        name = progress or f"training {self.name}"
        with one_torch_thread() as threads, Progress(len(orders) * len(shares(self.members)), "epochs", name) as bar:
            workers = threads if self.model_.weight.device.type == "cpu" else 1
            with ThreadPoolExecutor(max(1, workers)) as pool:
                jobs = [pool.submit(self._train, part, bags, y, orders, bar) for part in shares(self.members)]
                self.history_ = np.concatenate([job.result() for job in jobs], axis=1)
            ((self.evidence_, self.losses_),) = calibrate([self.model_], TileStore(bags, self.model_), y)
        self.undertrained_ = undertrained(self.losses_, y)
        self.seconds_ = time.perf_counter() - started
        return self

    def _train(self, part: slice, bags: Bags, y: np.ndarray, orders: Sequence[np.ndarray], bar: Progress) -> np.ndarray:
        """Train some members in place; returns their losses (epochs, members)."""
        model = self.model_.of_members(part)
        store, optimiser = TileStore(bags, model), Adam(model.parameters(), self.learning_rate)
        members = range(self.members)[part]
        generators = [torch.Generator().manual_seed(seeds.seed_of(*self.seed_stream, m, "dropout")) for m in members]
        targets = torch.tensor(y, dtype=store.exact, device=store.device)
        weights = self._weights(members, len(bags), store)
        history = []
        for epoch, order in enumerate(orders):
            keep = self.masks(generators, len(bags), store)
            total = torch.zeros(len(members), dtype=store.exact, device=store.device)
            for at in range(0, len(order), self.batch):
                slides = order[at : at + self.batch]
                values = torch.cat([selected_values(model, store.rows(slide)) for slide in slides], dim=1)
                logits = model.head(values, None if keep is None else keep[:, slides])
                target = targets[slides].expand_as(logits)
                each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
                losses = (each * weights[:, slides]).mean(dim=1) + self.l2 * model.penalty()
                model.zero_grad()
                losses.sum().backward()
                optimiser.step()
                total += losses.detach() * (len(slides) / len(order))
            history.append(total.double().cpu().numpy())
            bad = np.flatnonzero(~np.isfinite(history[-1]))
            if bad.size:
                raise UserError(
                    f"{self.name}: the training loss of member {members[bad[0]] + 1} is {history[-1][bad[0]]} in epoch "
                    f"{epoch + 1}: lower learning_rate, or look for extreme feature values"
                )
            bar.update(1)
        return np.stack(history)

    def _weights(self, members: range, slides: int, store: TileStore) -> torch.Tensor:
        """(members, slides) weight of each slide: 1, or a bootstrap draw."""
        if not self.bootstrap:
            return torch.ones((len(members), slides), dtype=store.exact, device=store.device)
        draws = [
            seeds.generator(*self.seed_stream, m, "bootstrap").multinomial(slides, [1 / slides] * slides)
            for m in members
        ]
        return torch.tensor(np.stack(draws), dtype=store.exact, device=store.device)


def selected_values(model: Ensemble, x: torch.Tensor) -> torch.Tensor:
    """(E, 1, J, 2R) selected scores of one slide's tiles x (n, P), differentiable through the selected tiles.

    With J > 1 each embedding has selected tiles of its own.
    """
    with torch.no_grad():
        scores = model.scores_of(x).flatten(0, 1)
        count = torch.tensor([len(x)], device=x.device)
        chosen = extremes(scores, count - len(x), count, model.r)[:, 0].view(model.members, model.embeddings, -1)
    found = [model.scores_of(x[chosen[:, j]])[:, j] for j in range(model.embeddings)]
    values = torch.stack(found, dim=1)
    return (values if model.offset is None else values + model.offset[:, :, None])[:, None]
