"""AUC, DeLong and bootstrap: against scikit-learn, published numbers, a slow DeLong and known truth."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc

from chowder.evaluation import roc as metrics
from chowder.files import UserError
from shared_data import REASON, SHARED


def real_scores():
    """Truth and the three score columns of the 129 Camelyon-16 test slides."""
    import pandas as pd

    return pd.read_csv(SHARED / "camelyon16" / "scores" / "test_scores.csv")


needs_shared = pytest.mark.skipif(SHARED is None, reason=REASON)


def kernel(a: float, b: float) -> float:
    return 1.0 if a > b else 0.5 if a == b else 0.0


def slow_delong(labels, *columns):
    """AUCs and their covariance, straight from DeLong, DeLong and Clarke-Pearson (1988), in loops."""
    positives = [i for i, label in enumerate(labels) if label]
    negatives = [i for i, label in enumerate(labels) if not label]
    m, n = len(positives), len(negatives)
    v10 = [[sum(kernel(s[i], s[j]) for j in negatives) / n for i in positives] for s in columns]
    v01 = [[sum(kernel(s[i], s[j]) for i in positives) / m for j in negatives] for s in columns]
    theta = [sum(values) / m for values in v10]
    covariance = [[0.0] * len(columns) for _ in columns]
    for a in range(len(columns)):
        for b in range(len(columns)):
            s10 = sum((x - theta[a]) * (y - theta[b]) for x, y in zip(v10[a], v10[b], strict=True)) / (m - 1)
            s01 = sum((x - theta[a]) * (y - theta[b]) for x, y in zip(v01[a], v01[b], strict=True)) / (n - 1)
            covariance[a][b] = s10 / m + s01 / n
    return theta, covariance


def binormal(rng: np.random.Generator, auc: float, positives: int, negatives: int):
    """Labels and normal scores with a known AUC."""
    labels = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
    return labels, rng.normal(size=len(labels)) + labels * math.sqrt(2) * stats.norm.ppf(auc)


# --------------------------------------------------------------------------------------------------------------- AUC


@needs_shared
@pytest.mark.parametrize(("column", "expected"), [("pred_I", 0.88214), ("pred_II", 0.79145), ("Method_I", 0.91556)])
def test_real_scores_give_the_known_auc(column, expected):
    data = real_scores()
    value = metrics.auc(data["truth"], data[column])
    assert value == pytest.approx(expected, abs=5e-6)
    assert value == pytest.approx(roc_auc_score(data["truth"], data[column]), abs=1e-9)


@given(st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=40))
@settings(max_examples=150, deadline=None)
def test_auc_equals_scikit_learn_with_any_ties(rows):
    labels, scores = np.array([row[0] for row in rows], int), np.array([row[1] for row in rows], float)
    if labels.min() == labels.max():
        with pytest.raises(UserError, match="both classes"):
            metrics.auc(labels, scores)
    else:
        assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([0, 1], [0.1, np.nan], "1 of 2 scores are NaN"),
        ([0, 2], [1, 2], "0 or 1"),
        ([0, 1], [1], "one label and one score"),
    ],
)
def test_bad_input_is_refused(labels, scores, words):
    with pytest.raises(UserError, match=words):
        metrics.auc(np.array(labels), np.array(scores))


# ------------------------------------------------------------------------------------------------------------ DeLong


@pytest.mark.parametrize("seed", range(8))
def test_delong_equals_a_slow_independent_version(seed):
    rng = np.random.default_rng(seed)
    labels = np.r_[1, 1, 0, 0, rng.integers(0, 2, 30)]
    a = rng.random(34) + labels * 0.4
    b = np.round(rng.random(34) + labels * 0.2, 1)  # ties
    theta, covariance = slow_delong(labels, a, b)
    assert metrics.auc(labels, a) == pytest.approx(theta[0], abs=1e-12)
    assert metrics.delong_variance(labels, a) == pytest.approx(covariance[0][0], abs=1e-12)
    assert metrics.delong_variance(labels, b) == pytest.approx(covariance[1][1], abs=1e-12)
    result = metrics.delong_test(labels, a, b)
    spread = math.sqrt(covariance[0][0] + covariance[1][1] - 2 * covariance[0][1])
    assert result.z == pytest.approx((theta[0] - theta[1]) / spread, abs=1e-9)
    assert result.p == pytest.approx(2 * stats.norm.sf(abs(theta[0] - theta[1]) / spread), abs=1e-9)
    assert result.high - result.low == pytest.approx(2 * 1.959963984540054 * spread, abs=1e-9)


@needs_shared
def test_delong_on_real_scores_equals_the_slow_version():
    data = real_scores()
    columns = [data[name].tolist() for name in ("pred_I", "pred_II")]
    theta, covariance = slow_delong(data["truth"].tolist(), *columns)
    result = metrics.delong_test(data["truth"], *columns)
    assert (result.a, result.b) == pytest.approx(tuple(theta), abs=1e-12)
    variance = covariance[0][0] + covariance[1][1] - 2 * covariance[0][1]
    assert result.z == pytest.approx((theta[0] - theta[1]) / math.sqrt(variance), abs=1e-9)
    low, high = metrics.delong_interval(data["truth"], columns[0])
    assert 0.79 < low < theta[0] < high < 0.95


def test_the_same_scores_do_not_differ():
    labels, scores = binormal(np.random.default_rng(0), 0.8, 20, 30)
    result = metrics.delong_test(labels, scores, scores * 2 + 1)
    assert (result.difference, result.z, result.p) == (0, 0, 1)


def test_p_values_are_even_when_there_is_no_difference():
    rng = np.random.default_rng(0)
    values = []
    for _ in range(400):
        labels, scores = binormal(rng, 0.8, 30, 40)
        values.append(metrics.delong_test(labels, scores + rng.normal(size=70), scores + rng.normal(size=70)).p)
    assert stats.kstest(values, "uniform").pvalue > 0.001
    assert 0.02 < np.mean(np.array(values) < 0.05) < 0.09


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_auc_has_an_interval_all_the_same(sign):
    labels, scores = np.array([0, 0, 0, 1, 1]), sign * np.array([1.0, 2, 3, 4, 5])
    for low, high in (metrics.delong_interval(labels, scores), limits(metrics.bootstrap_auc(labels, scores, 50))):
        limit = 0.025 ** (1 / 2)  # two positives, all above: exact binomial limit
        assert (low, high) == pytest.approx((limit, 1.0) if sign > 0 else (0.0, 1 - limit))


def limits(interval: metrics.Interval) -> tuple[float, float]:
    return interval.low, interval.high


# --------------------------------------------------------------------------------------------------------- bootstrap


def test_every_resample_equals_scikit_learn_on_the_slides_drawn():
    rng = np.random.default_rng(1)
    labels, scores = np.r_[np.ones(7, int), np.zeros(9, int)], np.round(rng.random(16), 1)
    values = metrics.bootstrap_auc(labels, scores, 60, seed=3).values
    positive, negative = np.sort(scores[:7]), np.sort(scores[7:])
    draws = [metrics._resamples(size, 60, 3, "auc bootstrap", what, size) for what, size in ((1, 7), (0, 9))]
    for value, p, n in zip(values, *draws, strict=True):
        drawn = np.r_[np.repeat(positive, p), np.repeat(negative, n)]
        assert value == pytest.approx(roc_auc_score([1] * 7 + [0] * 9, drawn), abs=1e-12)


def test_bootstrap_depends_on_its_seed_only():
    labels, scores = binormal(np.random.default_rng(0), 0.8, 20, 30)
    one, two, three = (metrics.bootstrap_auc(labels, scores, 100, seed).values for seed in (1, 1, 2))
    shuffled = np.random.default_rng(5).permutation(50)
    assert np.array_equal(one, two)
    assert np.array_equal(one, metrics.bootstrap_auc(labels[shuffled], scores[shuffled], 100, 1).values)
    assert not np.array_equal(one, three)


@pytest.mark.parametrize("kind", ["bootstrap", "delong"])
def test_intervals_hold_the_truth(kind):
    """Short version of bench/bench_intervals.py."""
    covered = 0
    for draw in range(250):
        labels, scores = binormal(np.random.default_rng(draw), 0.858, 49, 80)
        if kind == "delong":
            low, high = metrics.delong_interval(labels, scores)
        else:
            low, high = limits(metrics.bootstrap_auc(labels, scores, 300, draw))
        covered += low <= 0.858 <= high
    assert 0.91 <= covered / 250 <= 0.985


def test_the_expanded_tail_is_the_plain_one_for_many_units():
    assert metrics.expanded_tail(0.95, 10**6) == pytest.approx(0.025, abs=1e-5)
    # 10 units: t quantile 2.262, times sqrt(10 / 9) = 2.384
    assert metrics.expanded_tail(0.95, 10) == pytest.approx(stats.norm.cdf(-2.2621571628 * math.sqrt(10 / 9)), abs=1e-9)
    assert metrics.expanded_tail(0.95, 1) == 0


def test_two_thousand_resamples_of_129_slides_take_less_than_two_seconds():
    labels, scores = binormal(np.random.default_rng(0), 0.858, 49, 80)
    started = time.process_time()
    metrics.bootstrap_auc(labels, scores, 2000)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(("auc", "delong"), [(0.96, True), (0.94, False), (0.06, False), (0.04, True)])
def test_beyond_0_95_the_limits_are_delongs(auc, delong):
    # 10 positives: with 10 negatives an AUC is a hundredth; some positives lie below some negatives
    wrong = round((1 - auc) * 100)
    below = [min(10, max(0, wrong - 10 * i)) for i in range(10)]  # negatives above each positive
    labels = np.r_[np.ones(10, int), np.zeros(10, int)]
    scores = np.r_[[10 - b - 0.5 for b in below], np.arange(10)]
    assert metrics.auc(labels, scores) == pytest.approx(auc)
    sample = metrics.bootstrap_auc(labels, scores, 200)
    assert (limits(sample) == metrics.delong_interval(labels, scores)) == delong
    assert sample.low < auc < sample.high


def test_a_pair_without_spread_has_an_interval_that_says_what_p_says():
    labels = np.r_[np.ones(7, int), np.zeros(9, int)]
    right = labels * 1.0
    same = metrics.delong_test(labels, right, right * 2)
    limit = 1 - 0.025 ** (1 / 7)  # exact binomial, 7 of 7
    assert (same.difference, same.p) == (0, 1)
    assert (same.low, same.high) == pytest.approx((-limit, limit))
    for size, significant in ((7, True), (5, False)):
        labels = np.r_[np.ones(size, int), np.zeros(9, int)]
        result = metrics.delong_test(labels, labels * 1.0, labels * -1.0)
        assert result.p == 2 * 0.5**size
        assert (result.low > 0) == (result.p < 0.05) == significant


def test_delong_over_folds_equals_the_slow_version_fold_by_fold():
    rng = np.random.default_rng(3)
    folds, differences, variances = [], [], []
    for size in (20, 25, 31):
        labels = np.r_[1, 1, 0, 0, rng.integers(0, 2, size)]
        a, b = rng.random(size + 4) + labels * 0.5, np.round(rng.random(size + 4) + labels * 0.3, 1)
        theta, covariance = slow_delong(labels, a, b)
        folds.append((labels, a, b))
        differences.append(theta[0] - theta[1])
        variances.append(covariance[0][0] + covariance[1][1] - 2 * covariance[0][1])
    result = metrics.delong_folds(folds)
    assert result.difference == pytest.approx(np.mean(differences), abs=1e-12)
    z = np.mean(differences) / math.sqrt(sum(variances) / 9)
    assert result.z == pytest.approx(z, abs=1e-9)
    assert result.p == pytest.approx(2 * stats.norm.sf(abs(z)), abs=1e-9)


# --------------------------------------------------------------------------------------------------------------- ROC


def test_the_roc_band_has_a_width_where_the_sensitivity_is_0_or_1():
    labels = np.r_[np.ones(12, int), np.zeros(15, int)]
    for scores in (labels * 1.0, labels + np.arange(27) / 100, -labels * 1.0):
        roc = metrics.roc_curve(labels, scores, 300)
        inside = (roc.tpr == 1) | (roc.tpr == 0)
        assert inside.any()
        assert (roc.high - roc.low)[inside].min() > 0.1
        assert (roc.high[roc.tpr == 1] == 1).all()


def test_the_roc_band_of_a_single_point_is_jeffreys():
    """Negatives all below: at every false positive rate the sensitivity above a score is a share of 20 positives."""
    labels = np.r_[np.ones(20, int), np.zeros(30, int)]
    scores = np.r_[np.full(13, 3.0), np.full(7, 1.0), np.full(30, 2.0)]
    roc = metrics.roc_curve(labels, scores, 20_000)
    expected = stats.beta(13.5, 7.5).ppf([0.025, 0.975])
    assert (roc.low[1], roc.high[1]) == pytest.approx(expected, abs=0.01)


def test_roc_curve_equals_scikit_learn_and_has_a_band_around_it():
    labels, scores = binormal(np.random.default_rng(2), 0.8, 40, 50)
    scores = np.round(scores, 1)
    roc = metrics.roc_curve(labels, scores, 300)
    fpr, tpr, thresholds = sklearn_roc(labels, scores, drop_intermediate=False)
    assert np.array_equal(roc.fpr, fpr)
    assert np.array_equal(roc.tpr, tpr)
    assert np.array_equal(roc.thresholds, thresholds)
    assert np.trapezoid(roc.tpr, roc.fpr) == pytest.approx(metrics.auc(labels, scores))
    assert (roc.low <= roc.tpr + 1e-12).mean() > 0.95
    assert (roc.high >= roc.tpr - 1e-12).mean() > 0.95
    assert (np.diff(roc.low) >= 0).all()
