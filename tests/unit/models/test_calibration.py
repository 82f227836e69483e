"""A tile's evidence is what adding it does, whichever end a member decides by; those that learnt nothing are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from chowder.features.bags import Bags
from chowder.files import UserError
from chowder.models import calibration
from chowder.models.estimators import Chowder, Weldon
from chowder.models.networks import extremes
from chowder.models.splits import rank_auc

torch.set_num_threads(1)


def bags(slides=8, dim=6, low=3, high=40, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(slides) % 2
    arrays = [rng.normal(label, 1, (int(rng.integers(low, high)), dim)).astype(np.float32) for label in labels]
    return arrays, labels


def of_slide(values: np.ndarray, r: int) -> np.ndarray:
    """The extremes of one slide by sorting, the last repeated where there are fewer than R."""
    ascending = np.sort(values)
    rank = np.minimum(np.arange(r), len(values) - 1)
    return np.concatenate([ascending[::-1][rank], ascending[rank]])


@pytest.mark.parametrize("shortest", [1, 7])
@pytest.mark.parametrize("r", [1, 3, 7, 30])
def test_extremes_after_a_tile_is_added_are_those_of_the_longer_slide(r, shortest):
    rng = np.random.default_rng(r)
    slides = [rng.normal(size=n) for n in (1, 2, 3, 6, 7, 8, 20, 50, 60) if n >= shortest]
    before = torch.tensor(np.stack([of_slide(values, r) for values in slides]))
    counts = torch.tensor([len(values) for values in slides])
    for e in (-9.0, -0.4, 0.0, 0.7, 9.0, float(slides[-1][2])):
        after = calibration.added(before, torch.tensor(e, dtype=torch.float64), counts, r)
        expected = np.stack([of_slide(np.append(values, e), r) for values in slides])
        np.testing.assert_array_equal(after.numpy(), expected)


CASES = [
    (Chowder, {"r": 1}),
    (Chowder, {"r": 5, "bias": True}),
    (Chowder, {"r": 20}),  # more than some slides have tiles
    (Weldon, {"r": 4}),
]


@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_evidence_is_the_mean_change_of_the_logit_when_the_tile_is_added(kind, arguments):
    arrays, labels = bags()
    model = kind(members=3, epochs=40, learning_rate=0.02, l2=0.01, precision="fp64", **arguments).fit(arrays, labels)
    tiles = np.concatenate([bags(seed=1)[0][0], 3 * bags(seed=2)[0][1]])
    expected = np.zeros(len(tiles))
    with torch.no_grad():
        before = [model.model_(torch.from_numpy(x).double()) for x in arrays]
        for i, tile in enumerate(tiles):
            longer = [torch.from_numpy(np.vstack([x, tile])).double() for x in arrays]
            expected[i] = np.mean([(model.model_(x) - b).mean() for x, b in zip(longer, before, strict=True)])
    scores = model.instance_scores(tiles, "evidence")
    # the table is interpolated: near everywhere, and in the same order
    assert np.abs(scores - expected).max() < 0.02 * np.ptp(expected)
    assert np.corrcoef(scores, expected)[0, 1] > 0.999


def test_tables_are_exact_at_their_nodes():
    arrays, labels = bags()
    model = Chowder(r=4, members=2, epochs=20, learning_rate=0.02, embeddings=3, precision="fp64").fit(arrays, labels)
    e = [model.embedding_scores(x) for x in arrays]
    for m, j, k in ((0, 0, 3), (1, 2, 250), (0, 1, 130), (1, 0, 100)):
        node = model.evidence_.nodes[m, j, k]
        change = []
        for values in e:
            selected = np.stack([of_slide(values[m, i], 4) for i in range(3)])
            longer = selected.copy()
            longer[j] = of_slide(np.append(values[m, j], node), 4)
            both = torch.tensor(np.stack([selected, longer]))[None].expand(2, -1, -1, -1)  # (E, B, J, 2R)
            logits = model.model_.head(both.contiguous())[m].detach().numpy()
            change.append(logits[1] - logits[0])
        assert model.evidence_.values[m, j, k] == pytest.approx(np.mean(change), abs=1e-12)


@pytest.mark.parametrize(("slides", "hidden"), [(8, (200, 100)), (6, (20, 10)), (37, (20, 10)), (270, (30,))])
def test_tiles_that_are_never_selected_score_exactly_0(slides, hidden):
    arrays, labels = bags(slides, low=200, high=201)
    model = Chowder(r=2, members=2, epochs=20, learning_rate=0.02, hidden=hidden, batch=slides).fit(arrays, labels)
    ends = [np.sort(model.embedding_scores(x)[:, 0], axis=1) for x in arrays]
    lowest_top, highest_bottom = (f([e[:, k] for e in ends], axis=0) for f, k in ((np.min, -2), (np.max, 1)))
    assert (highest_bottom < lowest_top).all()
    between = np.linspace(highest_bottom, lowest_top, 7)[1:-1].T[:, None]  # (E, J, n)
    np.testing.assert_array_equal(model.evidence_(between), 0)
    outside = np.stack([highest_bottom - 0.1, lowest_top + 0.1], axis=1)[:, None]
    assert (model.evidence_(outside) != 0).all()


def test_the_embedding_itself_is_the_members_mean_value():
    arrays, labels = bags()
    model = Weldon(r=2, members=3, epochs=5).fit(arrays, labels)
    expected = model.embedding_scores(arrays[0]).mean(axis=(0, 1))
    np.testing.assert_allclose(model.instance_scores(arrays[0], "embedding"), expected, rtol=1e-5)
    np.testing.assert_array_equal(model.instance_scores(arrays[0]), model.instance_scores(arrays[0], "embedding"))
    chowder = Chowder(r=2, members=3, epochs=5).fit(arrays, labels)
    np.testing.assert_array_equal(chowder.instance_scores(arrays[0]), chowder.instance_scores(arrays[0], "evidence"))
    with pytest.raises(UserError, match=r"localisation\.score is 'sum'"):
        model.instance_scores(arrays[0], "sum")


# ------------------------------------------------------------------------------------------------- undertrained members


def test_a_member_is_undertrained_above_nine_tenths_of_a_constant_predictions_loss():
    balanced = [0, 1, 0, 1]
    losses = np.array([0.1, 0.91 * math.log(2), 0.89 * math.log(2), 2.0])
    assert calibration.undertrained(losses, balanced).tolist() == [1, 3]
    constant = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))  # one positive in four: 0.562
    assert calibration.undertrained(np.array([0.91, 0.89]) * constant, [0, 0, 0, 1]).tolist() == [0]


def test_losses_are_those_of_the_predictions_on_the_training_slides():
    arrays, labels = bags()
    model = Chowder(r=2, members=3, epochs=30, learning_rate=0.02, l2=0.01).fit(arrays, labels)
    p = model.predict_proba(arrays)
    expected = -np.where(labels[:, None] == 1, np.log(p), np.log(1 - p)).mean(axis=0)
    np.testing.assert_allclose(model.losses_, expected, rtol=1e-4)


def test_undertrained_members_are_left_out_only_when_asked():
    arrays, labels = bags(slides=12)
    settings = {"r": 2, "members": 4, "epochs": 60, "learning_rate": 0.02, "l2": 0.01}
    plain = Chowder(**settings).fit(arrays, labels)
    chosen = Chowder(**settings, leave_out_undertrained=True).fit(arrays, labels)
    for model in (plain, chosen):
        model.undertrained_ = np.array([1, 3])
    members = plain.predict_proba(arrays)
    np.testing.assert_allclose(plain.predict(arrays), members.mean(axis=1))
    np.testing.assert_allclose(chosen.predict(arrays), members[:, [0, 2]].mean(axis=1))
    alone = np.mean([plain.evidence_(plain.embedding_scores(arrays[0]).astype(float), [m]) for m in (0, 2)], axis=0)
    np.testing.assert_allclose(chosen.instance_scores(arrays[0]), alone, rtol=1e-4, atol=1e-6)
    chosen.undertrained_ = np.arange(4)  # none learnt anything: all are averaged
    np.testing.assert_allclose(chosen.predict(arrays), members.mean(axis=1))


def test_no_step_leaves_every_member_on_the_plateau_and_a_signal_none():
    arrays, labels = bags(slides=20)
    stuck = Chowder(r=2, members=3, epochs=1, learning_rate=1e-12).fit(arrays, labels)
    assert stuck.undertrained_.tolist() == [0, 1, 2]
    learnt = Weldon(r=2, members=3, epochs=200, learning_rate=0.01, l2=0.0).fit(arrays, labels)
    assert learnt.undertrained_.tolist() == []


# ------------------------------------------------------------------------------------------------- planted signals


def planted(kind: str, seed: int, slides: int = 60, dim: int = 12):
    """Simulated bags and marks: 1 must score high, -1 low (``negative``: the marked tiles are in negative slides)."""
    rng = np.random.default_rng([seed, len(kind)])
    labels = np.arange(slides) % 2
    arrays, marks = [], []
    for label in labels:
        x = rng.normal(0, 1, (int(rng.integers(250, 500)), dim)) + rng.normal(0, 0.1, dim)
        mark = np.zeros(len(x), int)
        has = label if kind in ("few", "distract") else 1 - label
        x[:8, 0] += 7 * has
        mark[:8] = has * (1 if label else -1)
        if kind == "distract":
            x[8:16, 1] += 12
        arrays.append(x.astype(np.float32))
        marks.append(mark)
    return Bags.from_arrays(arrays), labels, marks


@pytest.mark.parametrize("kind", ["few", "distract", "negative"])
@pytest.mark.parametrize("r", [5, 100])
def test_scores_point_the_right_way_whichever_end_the_members_use(kind, r):
    train, labels, _ = planted(kind, 1)
    test, truth, marks = planted(kind, 2)
    model = Chowder(r=r, members=6, epochs=40, learning_rate=0.005, l2=0.05).fit(train, labels)
    assert rank_auc(truth, model.predict(test))[0] > 0.95
    found = []
    for i, mark in enumerate(marks):
        scores = model.instance_scores(test[i])
        found += [rank_auc(mark == sign, sign * scores)[0] for sign in (1, -1) if (mark == sign).any()]
    assert np.mean(found) > 0.9


def test_selected_values_are_the_slides_extremes():
    arrays, labels = bags()
    model = Chowder(r=3, members=2, epochs=3).fit(arrays, labels)
    e = model.embedding_scores(arrays[0])[:, 0]
    whole = torch.tensor([e.shape[1]])
    chosen = extremes(torch.from_numpy(e), whole - e.shape[1], whole, 3)[:, 0]
    expected = np.stack([of_slide(row, 3) for row in e])
    np.testing.assert_array_equal(np.take_along_axis(e, chosen.numpy(), axis=1), expected)
