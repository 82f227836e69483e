"""CHOWDER with unequal numbers of top and bottom tiles, dropout by layer and a tile MLP, against plain loops."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import reference_models
import torch
from torch.nn import functional

from chowder import seeds
from chowder.files import UserError
from chowder.models import build, names
from chowder.models.estimators import Chowder, Weldon, fit_many
from chowder.models.splits import rank_auc
from chowder.models.tile_mlp import ChowderMlp
from chowder.report import paper

torch.set_num_threads(1)


# smaller than those of test_training.py, and in float32
random_bags = functools.partial(reference_models.random_bags, dim=14, low=2, high=40, dtype=np.float32)


class Plain:
    """One member: every slide on its own, sort, take, MLP, autograd through all tiles."""

    def __init__(self, module, member):
        def own(parameter):
            return parameter[member].detach().clone().requires_grad_()

        self.top, self.bottom = module.top, module.bottom
        self.embedding = own(module.weight)
        self.offset = None if module.offset is None else own(module.offset)
        self.layers = [own(w) for w in module.layers]
        self.biases = [own(b) for b in module.biases]
        self.tile_layers = [own(w) for w in getattr(module, "tile_layers", [])]
        self.tile_biases = [own(b) for b in getattr(module, "tile_biases", [])]

    def parameters(self):
        offset = [] if self.offset is None else [self.offset]
        return [self.embedding, *offset, *self.layers, *self.biases, *self.tile_layers, *self.tile_biases]

    def tile_scores(self, x):
        """(J, n) of tiles (n, P)."""
        rows = []
        for tile in x:
            for number, layer in enumerate(self.tile_layers):
                tile = tile @ layer
                tile = torch.sigmoid(tile + self.tile_biases[number][0] if self.tile_biases else tile)
            value = self.embedding @ tile
            rows.append(value if self.offset is None else value + self.offset)
        return torch.stack(rows, dim=1)

    def logit(self, x, keep=None):
        inputs = []
        for e in self.tile_scores(x):
            ascending = torch.sort(e).values
            n = len(ascending)
            inputs += [ascending[max(n - 1 - rank, 0)] for rank in range(self.top)]
            inputs += [ascending[min(rank, n - 1)] for rank in range(self.bottom)]
        h = torch.stack(inputs)
        for number, (weight, bias) in enumerate(zip(self.layers, self.biases, strict=True)):
            h = h @ weight + bias[0]
            if number < len(self.layers) - 1:
                h = torch.sigmoid(h)
                if keep is not None:
                    h = h * keep[number]
        return h[0]

    def train(self, bags, labels, orders, batch, l2, keeps):
        optimiser = torch.optim.Adam(self.parameters(), lr=0.001)
        losses = []
        for epoch, order in enumerate(orders):
            total = 0.0
            for at in range(0, len(order), batch):
                slides = order[at : at + batch]
                loss = l2 * (self.embedding**2).sum()
                for s in slides:
                    logit = self.logit(torch.from_numpy(bags[s]).double(), keeps and keeps[epoch][s])
                    target = torch.tensor(float(labels[s])).double()
                    loss = loss + functional.binary_cross_entropy_with_logits(logit, target) / len(slides)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += float(loss.detach()) * len(slides)
            losses.append(total / len(order))
        return losses


def plain_keeps(model, member, slides, epochs, rates):
    """Dropout's factors by epoch, slide and layer: unit by unit, each layer with its own rate."""
    generator = torch.Generator().manual_seed(seeds.seed_of(*model.seed_stream, member, "dropout"))
    keeps = []
    for _ in range(epochs):
        drawn = torch.rand((slides, sum(model.hidden)), generator=generator).double()
        rows = []
        for row in drawn:
            parts, at = [], 0
            for width, rate in zip(model.hidden, rates, strict=True):
                parts.append((row[at : at + width] >= rate).double() / (1 - rate))
                at += width
            rows.append(parts)
        keeps.append(rows)
    return keeps


CASES = [
    (Chowder, {"r": 4, "bottom": 1}),
    (Chowder, {"r": 2, "bottom": 7, "bias": True}),
    (Chowder, {"r": 3, "bottom": 1, "embeddings": 2}),
    (ChowderMlp, {"r": 3, "tile_hidden": (6,)}),
    (ChowderMlp, {"r": 5, "bottom": 2, "tile_hidden": (7, 5), "bias": True}),
    (ChowderMlp, {"r": 1, "bottom": 4, "tile_hidden": (6,), "embeddings": 2, "bias": True}),
]


@pytest.mark.parametrize("dropout", [0.0, 0.4, (0.5, 0.2)], ids=["none", "one", "each"])
@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_training_equals_a_plain_loop(kind, arguments, dropout):
    arrays, labels = random_bags()
    settings = {"members": 2, "epochs": 4, "batch": 4, "hidden": (8, 5), "l2": 0.1, "precision": "fp64"}
    model = kind(dropout=dropout, stream=("d", "s"), **settings, **arguments)
    start = model.make(14).double()
    start.initialise(model.seed_stream)
    model.fit(arrays, labels)
    order = seeds.generator(model.seed, *model.stream, "order")
    orders = [order.permutation(len(arrays)) for _ in range(4)]
    rates = dropout if isinstance(dropout, tuple) else (dropout, dropout)
    for member in range(2):
        plain = Plain(start, member)
        keeps = plain_keeps(model, member, len(arrays), 4, rates) if any(rates) else None
        losses = plain.train(arrays, labels, orders, 4, 0.1, keeps)
        np.testing.assert_allclose(model.history_[:, member], losses, rtol=1e-9)
        trained = Plain(model.model_, member)
        for ours, theirs in zip(trained.parameters(), plain.parameters(), strict=True):
            assert float((ours - theirs).detach().abs().max()) < 1e-9
        logits = [float(plain.logit(torch.from_numpy(x).double()).detach()) for x in arrays]
        np.testing.assert_allclose(
            model.predict_proba(arrays)[:, member], 1 / (1 + np.exp(-np.array(logits))), rtol=1e-8
        )
        scores = plain.tile_scores(torch.from_numpy(arrays[3]).double()).detach().numpy()
        np.testing.assert_allclose(model.embedding_scores(arrays[3])[member], scores, atol=1e-9)


@pytest.mark.parametrize(("kind", "arguments"), [CASES[1], CASES[4]])
def test_evidence_is_the_mean_change_of_the_logit(kind, arguments):
    """Against the plain network: a tile that is put into every training slide, at a node of the table."""
    arrays, labels = random_bags(low=9)
    model = kind(members=1, epochs=2, hidden=(6,), precision="fp64", dropout=0.0, **arguments).fit(arrays, labels)
    plain = Plain(model.model_, 0)
    tile = arrays[0][0].astype(np.float64) * 1.3
    value = model.embedding_scores(tile[None])[0, 0, 0]
    changes = []
    for x in arrays:
        own = torch.from_numpy(x).double()
        with torch.no_grad():
            more = plain.logit(torch.cat([own, torch.from_numpy(tile)[None]])) - plain.logit(own)
        changes.append(float(more))
    found = model.evidence_(np.array([[[value]]]))[0]
    assert found == pytest.approx(np.mean(changes), abs=0.02 * np.ptp(model.evidence_.values) + 1e-9)


def test_equal_numbers_are_the_plain_method_bit_for_bit():
    arrays, labels = random_bags()
    one, two = (Chowder(r=3, bottom=bottom, members=2, epochs=2, name="x").fit(arrays, labels) for bottom in (None, 3))
    for key, value in one.model_.state_dict().items():
        assert torch.equal(value, two.model_.state_dict()[key])


def test_one_rate_is_that_rate_for_each_layer_bit_for_bit():
    arrays, labels = random_bags()
    one, two = (
        Chowder(r=3, members=2, epochs=3, hidden=(8, 6), dropout=rate).fit(arrays, labels) for rate in (0.5, (0.5, 0.5))
    )
    np.testing.assert_array_equal(one.history_, two.history_)


def test_variants_are_trained_together_with_others():
    arrays, labels = random_bags()
    settings = {"members": 2, "epochs": 3, "batch": 4, "precision": "fp64"}
    group = [Chowder(r=2, bottom=5, **settings), Chowder(r=3, **settings), Weldon(r=2, **settings)]
    fit_many(group, arrays, labels)
    alone = Chowder(r=2, bottom=5, **settings).fit(arrays, labels)
    np.testing.assert_allclose(group[0].history_, alone.history_, rtol=1e-12)
    mixed = [
        build.build(name, {"training": settings | {"tile_hidden": [4]}}) for name in ("chowder_mlp_r2", "chowder_r3")
    ]
    build.fit_together(mixed, arrays, list(labels))
    for one, shared in zip(mixed, build.predict_together(mixed, arrays), strict=True):
        np.testing.assert_allclose(shared, one.predict_proba(arrays), rtol=1e-12)
    np.testing.assert_array_equal(
        mixed[0].history_,
        build.build("chowder_mlp_r2", {"training": settings | {"tile_hidden": [4]}}).fit(arrays, labels).history_,
    )


@pytest.mark.parametrize(("kind", "arguments"), [CASES[1], CASES[5]])
def test_a_saved_model_is_the_same_when_loaded(kind, arguments, tmp_path):
    arrays, labels = random_bags()
    model = kind(members=2, epochs=2, hidden=(6, 4), dropout=(0.3, 0.1), **arguments).fit(arrays, labels)
    model.save(tmp_path / "m.pt")
    again = build.load(tmp_path / "m.pt")
    assert type(again) is kind
    assert again.arguments() == model.arguments()
    np.testing.assert_array_equal(again.predict_proba(arrays), model.predict_proba(arrays))
    np.testing.assert_array_equal(again.instance_scores(arrays[0]), model.instance_scores(arrays[0]))
    model.save(tmp_path / "n.pt")
    assert (tmp_path / "m.pt").read_bytes() == (tmp_path / "n.pt").read_bytes()


def test_threads_change_no_bit():
    arrays, labels = random_bags()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(ChowderMlp(r=2, members=12, epochs=2, tile_hidden=(5,)).fit(arrays, labels).history_)
    torch.set_num_threads(1)
    np.testing.assert_array_equal(*found)


def test_the_tile_mlp_learns_what_no_linear_score_can():
    """Tumour tiles have a value between those of the others: by a linear score they are never the highest or lowest."""
    rng = np.random.default_rng(0)

    def bags(number):
        arrays = []
        for i in range(number):
            x = rng.choice([-2.0, 2.0], (12, 1))
            x[:4] *= 1 - i % 2
            arrays.append((np.hstack([x, np.ones((12, 1))]) + rng.normal(0, 0.1, (12, 2))).astype(np.float32))
        return arrays, np.arange(number) % 2

    (arrays, labels), (others, truth) = bags(20), bags(20)
    settings = {
        "members": 1,
        "epochs": 80,
        "batch": 5,
        "l2": 0.0,
        "dropout": 0.0,
        "learning_rate": 0.03,
        "hidden": (6,),
    }
    model = ChowderMlp(r=2, tile_hidden=(8,), bias=True, **settings).fit(arrays, labels)
    linear = Chowder(r=2, bias=True, **settings).fit(arrays, labels)
    assert rank_auc(truth, model.predict(others))[0] > 0.95
    assert rank_auc(truth, linear.predict(others))[0] < 0.92
    scores = model.instance_scores(others[1])
    assert scores[:4].min() > scores[4:].max()


def test_names_and_settings_reach_the_estimators():
    settings = {"training": {"members": 2, "hidden": [8, 4], "dropout": [0.5, 0.1], "tile_hidden": [16]}}
    plain = {"training": {key: value for key, value in settings["training"].items() if key != "tile_hidden"}}
    model = build.build("chowder_r5_b20", plain)
    assert (model.r, model.bottom, model.dropout, model.name) == (5, 20, (0.5, 0.1), "chowder_r5_b20")
    model = build.build("chowder_mlp_r10_b2", settings)
    assert (model.kind, model.r, model.bottom, model.tile_hidden) == ("chowder_mlp", 10, 2, (16,))
    assert names.parse("chowder_r5_b20_s2").base == "chowder_r5_b20"
    for name in ("chowder_r5_b20_j4", "chowder_mlp_r10", "chowder_r5_j4_s2"):
        assert paper.parse(name).label == names.label(name)
    ordered = ["chowder_r1", "chowder_r5", "chowder_r5_b2", "chowder_r5_b20", "chowder_r10"]
    for a, b in itertools.pairwise(ordered):
        assert paper.parse(a).order < paper.parse(b).order


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (Chowder, {"bottom": 0}, "bottom is 0"),
        (Chowder, {"dropout": [0.5]}, "dropout has 1 values for 2 hidden layers"),
        (Chowder, {"dropout": [0.5, 1.0]}, "at least 0 and below 1"),
        (ChowderMlp, {"tile_hidden": []}, r"tile_hidden is \[\]"),
        (ChowderMlp, {"tile_hidden": [0]}, r"tile_hidden is \[0\]"),
    ],
)
def test_a_wrong_setting_is_named(kind, arguments, words):
    with pytest.raises(UserError, match=words):
        kind(**arguments)
