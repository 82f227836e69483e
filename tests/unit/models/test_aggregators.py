# ruff: noqa: NPY002 (torchmil draws from the global generator)
"""Aggregators of torchmil: against plain formulas, on planted tiles, and its pitfalls one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from chowder.files import UserError
from chowder.models import aggregator, aggregators, build, names

SMALL = {
    "abmil": {"hidden": 24, "attention": 12, "dropout": 0.2},
    "abmil_gated": {"hidden": 24, "attention": 12},
    "clam_sb": {"hidden": 24, "attention": 12},
    "dsmil": {"attention": 12},
    "transmil": {"attention": 16, "heads": 2, "landmarks": 4},
    "dtfd": {"hidden": 24, "attention": 12},
}
KINDS = list(SMALL)


def planted(slides, dim=16, seed=0, tiles=(20, 50), marked=6, strength=5.0):
    """Bags of normal noise; in every second one ``marked`` tiles are shifted along one axis. Bags, labels, marks."""
    rng = np.random.default_rng(seed)
    bags, labels, marks = [], [], []
    for slide in range(slides):
        x = rng.normal(size=(int(rng.integers(*tiles)), dim)).astype(np.float32)
        mark = np.zeros(len(x), bool)
        if slide % 2:
            mark[rng.choice(len(x), marked, replace=False)] = True
            x[mark, 3] += strength
        bags.append(x)
        labels.append(slide % 2)
        marks.append(mark)
    return bags, labels, marks


def made(kind, **more):
    """The untrained estimator of a kind, small."""
    settings = SMALL[kind] | {"members": 2, "epochs": 2, "learning_rate": 0.002} | more
    return build.build(kind, {names.KINDS[kind].settings: settings}, seed=5, stream=("d", "s"))


def numbers(model):
    """Weights of the first member as float64, without the name of torchmil's wrapper of linear layers."""
    state = model.models_[0].state_dict()
    return {key.replace(".module.", "."): value.numpy().astype(float) for key, value in state.items()}


@pytest.fixture(scope="module")
def quick():
    """Every kind after two epochs on ten bags."""
    bags, labels, _ = planted(10)
    return {kind: made(kind).fit(bags, labels) for kind in KINDS}


@pytest.mark.parametrize(
    ("kind", "epochs"), [("abmil", 12), ("abmil_gated", 12), ("clam_sb", 12), ("dsmil", 25), ("dtfd", 12)]
)
def test_planted_tiles_are_found_and_slides_told_apart(kind, epochs):
    bags, labels, _ = planted(40, seed=1)
    model = made(kind, members=1, epochs=epochs, learning_rate=0.005).fit(bags, labels)
    bags, labels, marks = planted(40, seed=2)
    assert roc_auc_score(labels, model.predict(bags)) > 0.95
    scores = np.concatenate([model.instance_scores(bag) for bag in bags])
    assert roc_auc_score(np.concatenate(marks), scores) > 0.9
    assert model.history_.shape == (epochs, 1) and (model.history_[-1] < model.history_[0]).all()
    assert len(model.undertrained_) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes_whatever_the_threads_and_leaves_global_generators_alone(
    kind, quick, tmp_path
):
    bags, labels, _ = planted(10)
    torch.manual_seed(3), np.random.seed(3)
    expected = torch.rand(1), np.random.random()
    torch.manual_seed(3), np.random.seed(3)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = made(kind).fit(bags, labels)
    finally:
        torch.set_num_threads(before)
    assert again.predict_proba(bags).tobytes() == quick[kind].predict_proba(bags).tobytes()
    again.save(tmp_path / "a.pt"), quick[kind].save(tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    assert (torch.rand(1), np.random.random()) == expected
    other = build.build(kind, {names.KINDS[kind].settings: SMALL[kind] | {"members": 2, "epochs": 2}}, seed=6)
    assert not np.allclose(other.fit(bags, labels).predict_proba(bags), quick[kind].predict_proba(bags))


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_predicts_the_same(kind, quick, tmp_path):
    bags, _, _ = planted(4, seed=9)
    quick[kind].save(tmp_path / "m.pt")
    loaded = build.load(tmp_path / "m.pt")
    np.testing.assert_array_equal(loaded.predict_proba(bags), quick[kind].predict_proba(bags))
    np.testing.assert_array_equal(loaded.instance_scores(bags[0]), quick[kind].instance_scores(bags[0]))
    np.testing.assert_array_equal(loaded.history_, quick[kind].history_)
    assert (loaded.name, loaded.own, loaded.members) == (kind, quick[kind].own, 2)
    wrong = aggregators.Dsmil if kind != "dsmil" else aggregators.Abmil
    with pytest.raises(UserError, match=f"holds a {kind} model"):
        wrong.load(tmp_path / "m.pt")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tiles", [1, 3])
def test_bags_of_one_and_three_tiles(kind, tiles, quick):
    bag = planted(1)[0][0][:tiles]
    assert np.isfinite(quick[kind].predict_proba([bag])).all()
    scores = quick[kind].instance_scores(bag)
    assert scores.shape == (tiles,) and scores.dtype == np.float32 and np.isfinite(scores).all()
    small = [b[:tiles] for b in planted(6)[0]]
    assert np.isfinite(made(kind).fit(small, [0, 1] * 3).history_).all()


def test_one_step_of_attention_pooling_equals_the_formula_with_numpy():
    """Ilse et al. 2018, equations 7 to 9, with one plain gradient-free evaluation of loss and score."""
    bags, labels, _ = planted(4)
    for kind in ("abmil", "abmil_gated"):
        model = made(kind, members=1, epochs=1, dropout=0.0).fit(bags, labels)
        state = numbers(model)
        x = bags[1].astype(float)
        h = np.maximum(x @ state["feat_ext.0.weight"].T + state["feat_ext.0.bias"], 0)
        hidden = np.tanh(h @ state["pool.fc1.weight"].T + state["pool.fc1.bias"])
        if kind == "abmil_gated":
            gate = h @ state["pool.fc_gated.weight"].T + state["pool.fc_gated.bias"]
            hidden = hidden / (1 + np.exp(-gate))
        f = (hidden @ state["pool.fc2.weight"].T)[:, 0]
        weight = np.exp(f - f.max()) / np.exp(f - f.max()).sum()
        logit = (weight @ h) @ state["classifier.weight"][0] + state["classifier.bias"][0]
        np.testing.assert_allclose(model.predict([x.astype(np.float32)]), 1 / (1 + np.exp(-logit)), rtol=1e-5)
        own = h @ state["classifier.weight"][0] + state["classifier.bias"][0]
        np.testing.assert_allclose(model.instance_scores(bags[1]), len(x) * weight * own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["abmil", "abmil_gated", "clam_sb"])
def test_the_mean_of_the_lesion_scores_is_the_slides_logit(kind, quick):
    bag = planted(2, seed=4)[0][1]
    probability = quick[kind].predict_proba([bag])[0]
    logit = np.log(probability / (1 - probability)).mean()
    assert quick[kind].instance_scores(bag).mean() == pytest.approx(logit, rel=1e-4, abs=1e-6)


def test_two_streams_equal_the_formula_with_numpy():
    """Li, Li and Eliceiri 2021, equations 3 to 7: the slide's logit is the mean of both streams'."""
    bags, labels, _ = planted(4)
    model = made("dsmil", members=1, epochs=1).fit(bags, labels)
    s = numbers(model)
    x = bags[1].astype(float)
    tile = (x @ s["inst_classifier.weight"].T + s["inst_classifier.bias"])[:, 0]
    q = np.tanh(np.maximum(x @ s["q_nn.0.weight"].T + s["q_nn.0.bias"], 0) @ s["q_nn.2.weight"].T + s["q_nn.2.bias"])
    a = q @ q[tile.argmax()] / np.sqrt(q.shape[1])
    a = np.exp(a - a.max()) / np.exp(a - a.max()).sum()
    bag = (a @ x) @ s["bag_classifier.weight"][0] + s["bag_classifier.bias"][0]
    np.testing.assert_allclose(model.predict([bags[1]]), 1 / (1 + np.exp(-(bag + tile.max()) / 2)), rtol=1e-5)
    np.testing.assert_allclose(model.instance_scores(bags[1]), tile, rtol=1e-4, atol=1e-6)


def test_the_first_step_takes_the_published_weights_of_the_losses():
    """One slide, learning rate nearly 0: the loss of the curve is worked out from the untrained network."""
    bags, labels, _ = planted(2)

    def first_loss(kind, work_out):
        model = (
            made(kind, members=1, epochs=1, learning_rate=1e-12, dropout=0.0)
            if kind == "clam_sb"
            else made(kind, members=1, epochs=1, learning_rate=1e-12)
        )
        model.fit(bags, labels)
        network = model.models_[0].eval()
        with torch.no_grad(), model.drawing("any"):
            expected = [
                work_out(network, torch.from_numpy(b)[None], torch.tensor([float(y)]))
                for b, y in zip(bags, labels, strict=True)
            ]
        assert model.history_[0, 0] == pytest.approx(float(np.mean(expected)), rel=1e-3)

    bce = torch.nn.functional.binary_cross_entropy_with_logits

    def dsmil(network, x, y):
        bag, tiles = network(x, return_inst_pred=True)
        return 0.5 * bce(bag, y) + 0.5 * bce(tiles.max(dim=1).values, y)

    def clam(network, x, y):
        bag, attention, h = network(x, return_att=True, return_emb=True)
        order, label = attention[0].argsort(descending=True), int(y)
        top, low = h[0][order[:8]], h[0][order[-8:]]
        mine, other = network.inst_classifiers[label], network.inst_classifiers[1 - label]
        ce = torch.nn.functional.cross_entropy
        inside = ce(mine(torch.cat([top, low])), torch.tensor([1] * 8 + [0] * 8))
        return 0.7 * bce(bag, y) + 0.3 * (inside + ce(other(top), torch.tensor([0] * 8)))

    first_loss("dsmil", dsmil)
    first_loss("clam_sb", clam)


def test_groups_of_dtfd_are_the_same_at_every_prediction(quick):
    """torchmil shuffles with numpy's global generator, also in evaluation."""
    bag = planted(1, tiles=(40, 41))[0]
    np.random.seed(1)
    first = quick["dtfd"].predict_proba(bag)
    np.random.seed(2)
    assert quick["dtfd"].predict_proba(bag).tobytes() == first.tobytes()


def test_a_large_slide_is_scored_by_transmil_in_pieces(quick, monkeypatch):
    """The attention matrix of a whole slide would not fit into memory."""
    bag = np.concatenate(planted(3)[0])[:50]
    monkeypatch.setattr(aggregators.TransMil, "PIECE", 20)
    scores = quick["transmil"].instance_scores(bag)
    for start in range(0, 50, 20):
        piece = quick["transmil"].instance_scores(bag[start : start + 20])
        np.testing.assert_allclose(scores[start : start + 20], piece, rtol=1e-5)


def test_dropout_of_a_member_is_its_own():
    one = aggregator.Dropout(0.4, torch.Generator().manual_seed(1)).train()
    x = torch.ones(200, 50)
    kept = one(x)
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert float((kept == 0).float().mean()) == pytest.approx(0.4, abs=0.02)
    assert torch.equal(one.eval()(x), x)
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Dropout(0.3)))
    aggregator.own_dropout(network, torch.Generator())
    assert isinstance(network[1][0], aggregator.Dropout) and network[1][0].p == 0.3


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("abmil", {"hiden": 3}, "section abmil: abmil has no setting 'hiden'"),
        ("abmil", {"members": 0}, "abmil members is 0"),
        ("dtfd", {"groups": 0}, "dtfd groups is 0"),
        ("dsmil", {"learning_rate": 0}, "learning_rate must be above 0"),
        ("transmil", {"heads": 3}, "no multiple of heads 3"),
    ],
)
def test_settings_that_can_not_be_are_one_line(kind, settings, message):
    bags, labels, _ = planted(2)
    with pytest.raises(UserError, match=message):
        made(kind, **settings).fit(bags, labels)


def test_bags_of_other_features_and_a_diverging_loss_are_named(quick):
    with pytest.raises(UserError, match="was trained on 16 features, these bags have 4"):
        quick["dsmil"].predict([np.zeros((3, 4), np.float32)])
    with pytest.raises(UserError, match="is not trained yet"):
        made("dsmil").predict([np.zeros((3, 4), np.float32)])
    bags, labels, _ = planted(4)
    bags[0][0, 0] = np.float32("inf")
    with pytest.raises(UserError, match="the training loss of member 1 is nan in epoch 1"):
        made("abmil").fit(bags, labels)
