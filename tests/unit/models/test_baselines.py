"""MeanPool and MaxPool against scikit-learn called by hand, and their files."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from chowder.files import UserError
from chowder.models import build
from chowder.models.pooled import MaxPool, MeanPool


def bags(n=24, dim=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return [rng.normal(0.5 * y, 1, (int(rng.integers(1, 30)), dim)).astype(np.float32) for y in labels], labels


@pytest.mark.parametrize(("kind", "pool"), [(MeanPool, np.mean), (MaxPool, np.max)])
@pytest.mark.parametrize("standardise", [True, False])
def test_probabilities_are_those_of_scikit_learn(kind, pool, standardise):
    train, labels = bags()
    test, _ = bags(seed=1)
    model = kind(c=0.3, standardise=standardise).fit(train, labels)
    steps = [StandardScaler()] if standardise else []
    truth = make_pipeline(*steps, LogisticRegression(C=0.3, max_iter=5000, tol=1e-6))
    truth.fit(np.stack([pool(b.astype(float), axis=0) for b in train]), labels)
    expected = truth.predict_proba(np.stack([pool(b.astype(float), axis=0) for b in test]))[:, 1]
    assert model.predict_proba(test).shape == (24, 1)
    np.testing.assert_allclose(model.predict(test), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [MeanPool, MaxPool])
def test_a_tiles_score_is_the_logit_of_a_slide_made_of_that_tile(kind):
    train, labels = bags()
    model = kind().fit(train, labels)
    bag = bags(seed=2)[0][0]
    alone = model.predict([tile[None] for tile in bag])
    np.testing.assert_allclose(model.instance_scores(bag), np.log(alone / (1 - alone)), rtol=1e-4, atol=1e-5)


def test_a_constant_feature_does_no_harm():
    train, labels = bags()
    for bag in train:
        bag[:, 0] = 3.0
    assert np.isfinite(MaxPool().fit(train, labels).predict(train)).all()


def test_inner_cv_chooses_within_the_training_slides():
    train, labels = bags(n=40)
    model = MeanPool(inner_cv=True).fit(train, labels)
    assert model.c in [10.0**k for k in range(-4, 3)]
    assert MeanPool(inner_cv=True).fit(train, labels).c == model.c
    with pytest.raises(UserError, match="inner_cv"):
        MeanPool(inner_cv=True).fit(train[:3], [0, 1, 1])


def test_the_inner_folds_depend_on_seed_stream_and_name(monkeypatch):
    """Each part of the key draws other folds, and the same key the same ones."""
    from sklearn import model_selection

    seen = []
    plain = model_selection.StratifiedKFold

    def recorded(*arguments, random_state, **more):
        seen.append(random_state)
        return plain(*arguments, random_state=random_state, **more)

    monkeypatch.setattr(model_selection, "StratifiedKFold", recorded)
    train, labels = bags(n=10)
    keys = [
        {"seed": 1, "stream": ("demo", "cv1")},
        {"seed": 2, "stream": ("demo", "cv1")},
        {"seed": 1, "stream": ("demo", "cv2")},
        {"seed": 1, "stream": ("other", "cv1")},
        {"seed": 1, "stream": ("demo", "cv1"), "name": "another"},
    ]
    for key in [*keys, keys[0]]:
        MeanPool(inner_cv=True, **key).fit(train, labels)
    MaxPool(inner_cv=True, **keys[0]).fit(train, labels)
    assert seen[5] == seen[0]
    del seen[5]
    assert len(set(seen)) == 6


@pytest.mark.parametrize("kind", [MeanPool, MaxPool])
def test_saving_and_loading_keeps_every_bit(kind, tmp_path):
    train, labels = bags()
    model = kind(c=0.5, stream=("demo", "cv1")).fit(train, labels)
    model.save(tmp_path / "a.pt")
    model.save(tmp_path / "other name.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other name.pt").read_bytes()
    for loaded in (kind.load(tmp_path / "a.pt"), build.load(tmp_path / "a.pt")):
        np.testing.assert_array_equal(loaded.predict_proba(train), model.predict_proba(train))
        np.testing.assert_array_equal(loaded.instance_scores(train[0]), model.instance_scores(train[0]))
    other = MaxPool if kind is MeanPool else MeanPool
    with pytest.raises(UserError, match=r"a\.pt: holds a"):
        other.load(tmp_path / "a.pt")


def test_mistakes_are_named():
    train, labels = bags()
    with pytest.raises(UserError, match="not trained"):
        MeanPool().predict(train)
    with pytest.raises(UserError, match="both classes"):
        MeanPool().fit(train, np.zeros(len(train)))
    with pytest.raises(UserError, match="c is 0"):
        MeanPool(c=0)
    with pytest.raises(UserError, match="trained on 6 features"):
        MeanPool().fit(train, labels).predict([np.zeros((2, 5))])
