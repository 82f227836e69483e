"""The batched trainer equals the plain loop, learns what it should, and can't see test labels."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from reference_models import PlainNetwork, random_bags, train_fast_plain, train_plain

from chowder import seeds
from chowder.features.bags import Bags
from chowder.files import UserError
from chowder.models import build, estimators, scorer, trainer
from chowder.models.estimators import Chowder, Weldon, fit_many, predict_many
from chowder.models.pooled import MeanPool
from chowder.models.splits import rank_auc

torch.set_num_threads(1)


def orders_of(model, slides, epochs):
    rng = seeds.generator(model.seed, *model.stream, "order")
    return [rng.permutation(slides) for _ in range(epochs)]


def initial(model, dim):
    module = model.make(dim).to(scorer.PRECISIONS[model.precision])
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
            scale = max(float(theirs.detach().abs().max()), 0.001)  # one step of Adam
            assert float((ours - theirs).detach().abs().max()) <= tolerance * scale


def test_the_fast_plain_loop_for_timing_trains_the_network_of_the_reference():
    arrays, labels = random_bags(low=20)
    model = Chowder(r=5, members=1, dropout=0.0)
    plain = PlainNetwork(initial(model, 24), 0)
    layers = [part for pair in zip(plain.layers, plain.biases, strict=True) for part in (pair[0], pair[1][0])]
    fast = [part.detach().clone().requires_grad_() for part in (plain.embedding[0], *layers)]
    orders = orders_of(model, len(arrays), 4)
    expected = train_plain(plain, arrays, labels, orders, batch=4, learning_rate=0.001, l2=0.5)
    slides = [torch.from_numpy(x).float() for x in arrays]
    losses = train_fast_plain(fast, slides, torch.tensor(labels).float(), orders, r=5, batch=4, dropout=0.0)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(fast[0].detach(), plain.embedding[0].detach(), atol=1e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_adam_takes_torchs_steps_bit_for_bit(precision):
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator, dtype=precision) for shape in ((3, 40), (3, 7, 5), (3,))]
    ours, theirs = ([torch.nn.Parameter(p.clone()) for p in start] for _ in range(2))
    own, reference = trainer.Adam(ours, 0.01), torch.optim.Adam(theirs, lr=0.01, fused=True)
    for number in range(60):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator, dtype=precision) * 10.0 ** (number % 7 - 5)
            b.grad = a.grad.clone()
        own.step()
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(ours[0], start[0])


def test_training_never_imports_torchs_compiler():
    program = f"""
import sys
sys.path[:0] = {sys.path!r}
import numpy as np
from {Chowder.__module__} import Chowder
bags = [np.random.default_rng(i).normal(size=(6, 4)).astype(np.float32) for i in range(4)]
Chowder(r=1, members=2, epochs=2, batch=2).fit(bags, [0, 1, 0, 1])
print("torch" in sys.modules, "torch._dynamo" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.split() == ["True", "False"], result.stderr


@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_the_gradient_is_that_of_autograd_through_the_whole_bags(kind, arguments, monkeypatch):
    steps = []
    monkeypatch.setattr(trainer.Adam, "step", lambda optimiser: steps.append([p.grad for p in optimiser.parameters]))
    arrays, labels = random_bags(slides=4)
    model = kind(members=2, epochs=1, batch=4, dropout=0.0, precision="fp64", **arguments)
    model.fit(arrays, labels)
    whole = initial(model, 24)
    loss = 0.5 * whole.penalty().sum()
    for x, y in zip(arrays, labels, strict=True):
        target = torch.full((2,), float(y), dtype=torch.float64)
        logits = whole(torch.from_numpy(x).double())
        loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum") / 4
    loss.backward()
    (gradients,) = steps
    for (name, parameter), gradient in zip(whole.named_parameters(), gradients, strict=True):
        np.testing.assert_allclose(gradient, parameter.grad, rtol=1e-8, atol=1e-14, err_msg=name)


def test_ways_of_reading_the_features_give_the_same_network(monkeypatch):
    arrays, labels = random_bags(slides=8, low=20, high=90)
    make = lambda: Chowder(r=2, members=3, epochs=3, batch=3, seed=4)  # noqa: E731
    plain = make().fit(arrays, labels).model_.weight.detach().numpy()
    monkeypatch.setattr(scorer, "CONVERT_ONCE_BYTES", 0)  # as for a set too large to convert
    for rows in (512, 7):
        monkeypatch.setattr(scorer, "CPU_ROWS", rows)
        np.testing.assert_allclose(make().fit(arrays, labels).model_.weight.detach(), plain, rtol=1e-4, atol=1e-6)
    used = []
    monkeypatch.setattr(scorer, "PACK_BYTES", (0, 2**30))
    monkeypatch.setattr(scorer, "PACK_READINGS", 4)
    monkeypatch.setattr(scorer.packed, "ROWS", 32)
    product = scorer.packed.product
    monkeypatch.setattr(scorer.packed, "product", lambda *what: used.append(1) or product(*what))
    model = make().fit(arrays, labels)
    np.testing.assert_allclose(model.model_.weight.detach(), plain, rtol=1e-4, atol=1e-6)
    assert len(used) >= 8 * 4 or not scorer.packed.available()


def test_reduced_precision_of_the_product_stays_near():
    arrays, labels = random_bags(slides=8)
    full = Chowder(r=2, members=2, epochs=3).fit(arrays, labels).predict(arrays)
    half = Chowder(r=2, members=2, epochs=3, precision="bf16").fit(arrays, labels).predict(arrays)
    np.testing.assert_allclose(half, full, atol=0.01)


def test_ensembles_trained_together_are_those_trained_alone():
    arrays, labels = random_bags()
    make = lambda: [Chowder(r=5, members=2, epochs=3), Weldon(r=2, members=3, epochs=3)]  # noqa: E731
    together = make()
    fit_many(together, arrays, labels)
    for ours, alone in zip(together, make(), strict=True):
        alone.fit(arrays, labels)
        np.testing.assert_allclose(ours.predict_proba(arrays), alone.predict_proba(arrays), rtol=1e-4)
        np.testing.assert_allclose(ours.history_, alone.history_, rtol=1e-5)
    for ours, proba in zip(
        together, build.predict_together([*together, MeanPool().fit(arrays, labels)], arrays), strict=False
    ):
        np.testing.assert_allclose(proba, ours.predict_proba(arrays), rtol=1e-5)
    with pytest.raises(UserError, match="same device and precision"):
        predict_many([together[0], Weldon(epochs=1, precision="fp64").fit(arrays, labels)], arrays)
    with pytest.raises(UserError, match="same epochs"):
        fit_many([Chowder(epochs=3), Chowder(epochs=4)], arrays, labels)
    for wrong in ("automatic", 0, 2.5):
        with pytest.raises(UserError, match="training epochs is"):
            Chowder(epochs=wrong)


@pytest.mark.parametrize(
    ("slides", "batch", "epochs"),
    [(270, 10, 30), (266, 10, 30), (13, 10, 405), (24, 10, 270), (10, 10, 810), (11, 10, 405), (40, 10, 203),
     (1, 10, 810), (4, 1, 203), (8_100, 10, 1), (9_000, 10, 1)],
)  # fmt: skip
def test_epochs_by_the_number_of_batches_make_the_papers_steps(slides, batch, epochs):
    """The first number of epochs, counted up one by one, that makes 810 steps."""
    made = Chowder(epochs="auto", batch=batch).epochs_of(slides)
    steps = [len(range(0, slides, batch)) * count for count in range(1, 811)]
    assert made == epochs == next(count for count, number in enumerate(steps, start=1) if number >= 810)
    assert Chowder(epochs=7, batch=batch).epochs_of(slides) == 7


@pytest.mark.parametrize("name", ["chowder_r2", "weldon_r2", "chowder_mlp_r2"])
def test_automatic_epochs_train_as_that_many_given_ones_do(monkeypatch, tmp_path, name):
    monkeypatch.setattr(estimators, "PAPER_STEPS", 14)
    arrays, labels = random_bags()
    batches = len(range(0, len(arrays), 4))
    common = {"members": 2, "batch": 4, "hidden": [5], "tile_hidden": [3]}
    common = {key: value for key, value in common.items() if key != "tile_hidden" or "mlp" in name}
    automatic, given = (
        build.build(name, {"training": common | {"epochs": epochs}}).fit(arrays, labels)
        for epochs in ("auto", -(-14 // batches))
    )
    assert len(given.history_) * batches >= 14 > (len(given.history_) - 1) * batches
    np.testing.assert_array_equal(automatic.history_, given.history_)
    np.testing.assert_array_equal(automatic.predict_proba(arrays), given.predict_proba(arrays))
    automatic.save(tmp_path / "m.pt")
    again = build.load(tmp_path / "m.pt")
    assert again.epochs == "auto" and len(again.history_) == len(given.history_)


def test_the_same_inputs_give_the_same_bytes_and_another_seed_gives_others(tmp_path):
    arrays, labels = random_bags()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        Chowder(r=3, members=2, epochs=2, seed=seed).fit(arrays, labels).save(tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b and a != c


def test_members_of_a_large_ensemble_begin_with_those_of_a_small_one():
    arrays, labels = random_bags()
    small = Chowder(r=3, members=2, epochs=2).fit(arrays, labels).predict_proba(arrays)
    large = Chowder(r=3, members=5, epochs=2).fit(arrays, labels).predict_proba(arrays)
    np.testing.assert_allclose(large[:, :2], small, rtol=1e-5)
    assert not np.allclose(large[:, 2], large[:, 0])


def test_the_batch_order_is_the_same_for_every_method_of_a_split():
    models = [Chowder(r=1, stream=("d", "cv1")), Weldon(r=9, stream=("d", "cv1"))]
    first, second = (orders_of(model, 20, 2) for model in models)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_saving_and_loading_keeps_every_bit(kind, arguments, tmp_path):
    arrays, labels = random_bags()
    model = kind(members=2, epochs=2, stream=("demo", "cv1", 3), **arguments).fit(arrays, labels)
    model.save(tmp_path / "m.pt")
    torch.load(tmp_path / "m.pt", weights_only=True)
    loaded = kind.load(tmp_path / "m.pt")
    np.testing.assert_array_equal(loaded.predict_proba(arrays), model.predict_proba(arrays))
    np.testing.assert_array_equal(loaded.instance_scores(arrays[0]), model.instance_scores(arrays[0]))
    np.testing.assert_array_equal(loaded.history_, model.history_)


def test_predictions_are_those_of_the_module_without_dropout():
    arrays, labels = random_bags()
    model = Chowder(r=4, members=2, epochs=2, bias=True).fit(arrays, labels)
    expected = [torch.sigmoid(model.model_(torch.from_numpy(x).float())).detach().numpy() for x in arrays]
    np.testing.assert_allclose(model.predict_proba(arrays), expected, rtol=1e-5)
    np.testing.assert_allclose(model.predict(arrays), np.mean(expected, axis=1), rtol=1e-5)


def test_a_bootstrap_gives_members_other_slides():
    arrays, labels = random_bags()
    plain, boot = (Weldon(r=2, members=2, epochs=2, bootstrap=b).fit(arrays, labels).predict(arrays) for b in (0, 1))
    assert not np.allclose(plain, boot)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_names_epoch_and_member():
    arrays, labels = random_bags(dtype=np.float32)
    with pytest.raises(UserError, match=r"weldon_r2: the training loss of member 1 is (inf|nan) in epoch \d+"):
        Weldon(r=2, members=2, epochs=20, learning_rate=1e20).fit(arrays, labels)


def test_mistakes_are_named():
    arrays, labels = random_bags()
    with pytest.raises(UserError, match="not trained"):
        Chowder().predict(arrays)
    with pytest.raises(UserError, match="one label a bag"):
        Chowder().fit(arrays, labels[:-1])
    with pytest.raises(UserError, match="all training slides have label 1"):
        Chowder().fit(arrays, np.ones(len(arrays)))
    with pytest.raises(UserError, match=r"0 \(normal\) or 1"):
        Chowder().fit(arrays, labels * 2)
    with pytest.raises(UserError, match="trained on 24 features"):
        Chowder(members=1, epochs=1).fit(arrays, labels).predict([np.zeros((2, 5))])
    for wrong in ({"r": 0}, {"members": 2.5}, {"dropout": 1.0}, {"precision": "fp8"}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            Chowder(**wrong)
    with pytest.raises(UserError, match="device 'tpu'"):
        Chowder(device="tpu").fit(arrays, labels)


def test_the_number_of_threads_changes_no_bit_and_is_given_back(monkeypatch, tmp_path):
    monkeypatch.setattr(estimators, "ONE_THREAD_BELOW", 0)
    monkeypatch.setattr(scorer, "CPU_ROWS", 16)
    arrays, labels = random_bags(low=30, high=90)
    before = torch.get_num_threads()
    for convert in (0, 2**30):
        monkeypatch.setattr(scorer, "CONVERT_ONCE_BYTES", convert)
        for threads in (1, 3):
            torch.set_num_threads(threads)
            group = [Chowder(r=5, members=12, epochs=2), Weldon(r=20, members=7, epochs=2)]
            fit_many(group, arrays, labels)
            assert torch.get_num_threads() == threads
            for number, model in enumerate([*group, Chowder(r=2, members=2, epochs=2).fit(arrays, labels)]):
                model.save(tmp_path / f"{number}-{threads}")
        for number in range(3):
            assert (tmp_path / f"{number}-1").read_bytes() == (tmp_path / f"{number}-3").read_bytes()
    torch.set_num_threads(before)


# ------------------------------------------------------------------------------------------------- planted signals


def planted(kind, seed, slides=50, tiles=2000, dim=16, k=5):
    """Simulated bags; every slide has a shift of its own that swamps its mean.

    ``few``: k of the tiles of a tumour slide lie 6 sd away. ``low``: every slide has k tiles far away in a direction
    that means nothing, a tumour slide also k tiles on the other side. ``diffuse``: all tiles of a tumour slide move.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(slides) % 2
    direction = np.zeros(dim)
    direction[:4] = 0.5
    bags, marks = [], []
    for label in labels:
        x = rng.normal(0, 1, (tiles, dim)) + rng.normal(0, 0.3, dim)
        mark = np.zeros(tiles, bool)
        if kind != "diffuse":
            chosen = rng.choice(tiles, 2 * k, replace=False)
            mark[chosen[:k]] = label
            x[mark] += 6 * direction
            if kind == "low":
                x[chosen[k:]] -= 6 * direction
        elif label:
            x += 1.2 * direction
        bags.append(x.astype(np.float16))
        marks.append(mark)
    return Bags.from_arrays(bags), labels, marks


FAST = {"members": 4, "epochs": 60, "learning_rate": 0.005, "l2": 0.05}


def aucs(model, kind):
    train, labels, _ = planted(kind, 1)
    test, truth, marks = planted(kind, 2)
    model.fit(train, labels)
    found = [rank_auc(marks[i], model.instance_scores(test[i]))[0] for i in range(len(test)) if marks[i].any()]
    return rank_auc(truth, model.predict(test))[0], float(np.mean(found)) if found else None


@pytest.mark.parametrize("kind", ["few", "low"])
def test_chowder_finds_a_few_instances_where_the_mean_is_at_chance(kind):
    slides, instances = aucs(Chowder(r=5, **FAST), kind)
    assert slides > 0.95 and instances > 0.95
    assert abs(aucs(MeanPool(), kind)[0] - 0.5) < 0.2


def test_a_diffuse_signal_is_the_means_strength():
    mean = aucs(MeanPool(), "diffuse")[0]
    assert mean > 0.9 and mean >= aucs(Chowder(r=5, **FAST), "diffuse")[0] - 0.02
