"""The batched trainer equals the plain loop, learns what it should, and can't see test labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_models import PlainNetwork, train_plain

from chowder import seeds, training
from chowder.bags import Bags
from chowder.files import UserError
from chowder.protocols import rank_auc
from chowder.training import Chowder, Weldon, fit_many

torch.set_num_threads(1)


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


def orders_of(model, slides, epochs):
    rng = seeds.generator(model.seed, *model.stream, "order")
    return [rng.permutation(slides) for _ in range(epochs)]


def initial(model, dim):
    module = model.make(dim).to(training.PRECISIONS[model.precision])
    module.initialise(model.seed_stream)
    return module


CASES = [
    (Weldon, {"r": 1}),
    (Weldon, {"r": 7, "bias": True}),
    (Chowder, {"r": 1}),
    (Chowder, {"r": 5}),
    (Chowder, {"r": 40, "bias": True}),
    (Chowder, {"r": 3, "embeddings": 3, "bias": True, "hidden": (20,)}),
]


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_batched_training_equals_the_plain_loop(kind, arguments, dropout, precision):
    arrays, labels = random_bags()
    model = kind(members=2, epochs=5, batch=4, dropout=dropout, precision=precision, stream=("d", "s"), **arguments)
    start = initial(model, 24)
    model.fit(arrays, labels)
    orders = orders_of(model, len(arrays), 5)
    for member in range(2):
        keeps = None
        if dropout and start.dropped_units:
            generator = torch.Generator().manual_seed(seeds.seed_of(*model.seed_stream, member, "dropout"))
            drawn = [torch.rand((len(arrays), start.dropped_units), generator=generator) for _ in range(5)]
            keeps = [(d >= dropout).to(start.weight.dtype) / (1 - dropout) for d in drawn]
        plain = PlainNetwork(start, member)
        losses = train_plain(plain, arrays, labels, orders, batch=4, learning_rate=0.001, l2=0.5, keeps=keeps)
        tolerance = 1e-5 if precision == "fp32" else 1e-10
        np.testing.assert_allclose(model.history_[:, member], losses, rtol=tolerance)
        trained = PlainNetwork(model.model_, member)
        for ours, theirs in zip(trained.parameters(), plain.parameters(), strict=True):
            scale = float(theirs.detach().abs().max()) or 1.0
            assert float((ours - theirs).detach().abs().max()) <= tolerance * scale
