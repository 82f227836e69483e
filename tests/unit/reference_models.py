"""Plain ways to train one network, slide after slide: what the batched trainer must equal, and is timed against.

`train_plain` is readable on purpose: sort, take, MLP, autograd through the whole bag. No ensemble dimension, no
shortcuts. `train_fast_plain` is what a good engineer writes in an afternoon, and the one to compare speeds with:
float32 tensors in memory, torch.topk, one MLP per batch, all of torch's threads; nothing is converted, sorted or copied
inside the loop.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch.nn import functional


class PlainNetwork:
    """One WELDON or CHOWDER network with the weights of one member of an ensemble module."""

    def __init__(self, ensemble, member: int):
        def own(parameter):
            return parameter[member].detach().clone().requires_grad_()

        self.kind, self.r = ensemble.kind, ensemble.r
        self.embedding = own(ensemble.weight)  # (J, P)
        self.offset = None if ensemble.offset is None else own(ensemble.offset)  # (J,)
        self.layers = [own(w) for w in getattr(ensemble, "layers", [])]
        self.biases = [own(b) for b in getattr(ensemble, "biases", [])]

    def parameters(self) -> list[torch.Tensor]:
        first = [self.embedding] if self.offset is None else [self.embedding, self.offset]
        return [*first, *self.layers, *self.biases]

    def logit(self, x: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logit of one slide x (n, P); ``keep`` (hidden units of all layers,) multiplies the hidden activations."""
        inputs = []
        for j in range(len(self.embedding)):
            e = x @ self.embedding[j]
            if self.offset is not None:
                e = e + self.offset[j]
            ascending = torch.sort(e).values
            n = len(ascending)
            ranks = torch.arange(self.r).clamp(max=n - 1)
            inputs += [ascending[n - 1 - ranks], ascending[ranks]]
        h = torch.cat(inputs)
        if self.kind == "weldon":
            return h.sum()
        at = 0
        for number, (weight, bias) in enumerate(zip(self.layers, self.biases, strict=True)):
            h = h @ weight + bias[0]
            if number < len(self.layers) - 1:
                h = torch.sigmoid(h)
                if keep is not None:
                    h = h * keep[at : at + len(h)]
                    at += len(h)
        return h[0]


def train_plain(
    network: PlainNetwork,
    bags: list[np.ndarray],
    labels: np.ndarray,
    orders: list[np.ndarray],
    *,
    batch: int,
    learning_rate: float,
    l2: float,
    keeps: list[torch.Tensor] | None = None,
) -> list[float]:
    """Train one network; returns the loss of every epoch.

    ``orders`` holds the slide order of every epoch, ``keeps`` its dropout factors (slides, hidden units).
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    losses = []
    for epoch, order in enumerate(orders):
        total = 0.0
        for at in range(0, len(order), batch):
            slides = order[at : at + batch]
            loss = 0.0
            for s in slides:
                x = torch.from_numpy(bags[s]).to(network.embedding.dtype)
                logit = network.logit(x, None if keeps is None else keeps[epoch][s])
                target = torch.tensor(float(labels[s]), dtype=logit.dtype)
                loss = loss + functional.binary_cross_entropy_with_logits(logit, target) / len(slides)
            loss = loss + l2 * (network.embedding**2).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(slides)
        losses.append(total / len(order))
    return losses


def train_fast_plain(
    network: list[torch.Tensor],
    slides: list[torch.Tensor],
    labels: torch.Tensor,
    orders: list[np.ndarray],
    *,
    r: int,
    batch: int = 10,
    learning_rate: float = 0.001,
    l2: float = 0.5,
    dropout: float = 0.5,
) -> list[float]:
    """Train one CHOWDER network in place and return the loss of every epoch.

    Parameters
    ----------
    network : the embedding (P,), then weight (a, b) and bias (b,) of each layer of the MLP, all with gradients.
    slides : (tiles, P) float32 of each slide, at least R tiles.
    labels : (slides,) float32 of 0 and 1.
    orders : the slide order of every epoch.
    """
    embedding, *layers = network
    optimiser = torch.optim.Adam(network, lr=learning_rate)
    losses = []
    for order in orders:
        total = 0.0
        for at in range(0, len(order), batch):
            chosen = order[at : at + batch]
            selected = []
            for s in chosen:
                e = slides[s] @ embedding
                selected += [torch.topk(e, r).values, torch.topk(e, r, largest=False).values]
            h = torch.cat(selected).view(len(chosen), 2 * r)
            for number in range(0, len(layers), 2):
                h = torch.addmm(layers[number + 1], h, layers[number])
                if number + 2 < len(layers):
                    h = functional.dropout(torch.sigmoid(h), dropout)
            loss = functional.binary_cross_entropy_with_logits(h[:, 0], labels[chosen])
            loss = loss + l2 * embedding.square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(chosen)
        losses.append(total / len(order))
    return losses


def glorot(dim: int, r: int, hidden: tuple[int, ...] = (200, 100), seed: int = 0) -> list[torch.Tensor]:
    """Return a network with random weights for :func:`train_fast_plain`."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [2 * r, *hidden, 1]
    network = [(torch.rand(dim, generator=generator) * 2 - 1) * (6 / (dim + 1)) ** 0.5]
    for a, b in itertools.pairwise(sizes):
        network += [(torch.rand(a, b, generator=generator) * 2 - 1) * (6 / (a + b)) ** 0.5, torch.zeros(b)]
    return [parameter.requires_grad_() for parameter in network]


def random_bags(slides=9, dim=24, low=3, high=60, seed=0, dtype=np.float16):
    """Bags of unequal sizes, some smaller than 2R, with a weak signal in the label."""
    rng = np.random.default_rng(seed)
    labels = np.arange(slides) % 2
    arrays = []
    for label in labels:
        x = rng.gamma(1.0, 0.5, (int(rng.integers(low, high)), dim))
        x[:2, :3] += label
        arrays.append(x.astype(dtype))
    return arrays, labels
