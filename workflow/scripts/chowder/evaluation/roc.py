"""AUC with intervals and paired tests (DeLong 1988, in the midrank form of Sun and Xu 2014; stratified bootstrap)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chowder.evaluation import patients
from chowder.files import UserError
from chowder.seeds import generator


def _split(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the positives and of the negatives."""
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise UserError(f"labels {labels.shape} and scores {scores.shape}: give one label and one score a slide")
    if not np.isin(labels, (0, 1)).all():
        raise UserError("labels must be 0 or 1")
    if np.isnan(scores).any():
        raise UserError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN: check the predictions")
    positive = labels.astype(bool)
    if positive.all() or not positive.any():
        raise UserError("an AUC needs slides of both classes: all labels are the same")
    return scores[positive], scores[~positive]


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UserError(f"confidence {confidence}: must lie between 0 and 1")


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting one half.

    ``labels`` (n,) of 0 and 1, ``scores`` (n,).

    Raises
    ------
    UserError : one class only, NaN, lengths that differ.
    """
    positive, negative = _split(labels, scores)
    return float(_placements(positive, negative)[0].mean())


def _placements(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components: share of the other class below each positive, above each negative (ties 1/2)."""

    def below(values: np.ndarray, other: np.ndarray) -> np.ndarray:
        other = np.sort(other)
        return (np.searchsorted(other, values, "left") + np.searchsorted(other, values, "right")) / (2 * len(other))

    return below(positive, negative), 1 - below(negative, positive)


def _covariance(components: np.ndarray) -> np.ndarray:
    """Sample covariance of rows; 0 with a single column, where there is nothing to estimate it from."""
    if components.shape[1] < 2:
        return np.zeros((len(components), len(components)))
    return np.atleast_2d(np.cov(components))


def components(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components of the positives (P,) and of the negatives (N,), in the order of the slides."""
    return _placements(*_split(labels, scores))


def delong_variance(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray | None = None) -> float:
    """DeLong's variance of the AUC; with ``groups`` (n,), the patients of the slides, Obuchowski's."""
    positive, negative = _placements(*_split(labels, scores))
    if groups is not None:
        return float(patients.covariance(positive[None], negative[None], groups, np.asarray(labels))[0, 0])
    return float(_covariance(positive[None])[0, 0] / len(positive) + _covariance(negative[None])[0, 0] / len(negative))


def degenerate(value: float, smaller: int, confidence: float) -> tuple[float, float]:
    """Interval of an AUC of exactly 0 or 1, where the spread is 0: the exact binomial limit of the smaller class."""
    limit = ((1 - confidence) / 2) ** (1 / smaller)
    return (limit, 1.0) if value > 0.5 else (0.0, 1.0 - limit)


def delong_interval(
    labels: np.ndarray, scores: np.ndarray, confidence: float = 0.95, groups: np.ndarray | None = None
) -> tuple[float, float]:
    """Interval of the AUC from DeLong's variance on the logit scale, so that it stays inside (0, 1).

    An AUC of exactly 0 or 1 has the exact binomial limit for the smaller class instead. ``groups`` (n,): patients.
    """
    from scipy.stats import norm

    _check_confidence(confidence)
    value, variance = auc(labels, scores), delong_variance(labels, scores, groups)
    if value in (0.0, 1.0):
        return degenerate(value, patients.smaller_class(labels, groups), confidence)
    centre = math.log(value / (1 - value))
    half = norm.ppf(0.5 + confidence / 2) * math.sqrt(variance) / (value * (1 - value))
    return tuple(1 / (1 + math.exp(-limit)) for limit in (centre - half, centre + half))


@dataclass
class Comparison:
    """Two AUCs on the same slides: ``difference`` (a less b), its interval, ``z``, two-sided ``p``."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    z: float
    p: float


def _paired(
    labels: np.ndarray, a: np.ndarray, b: np.ndarray, groups: np.ndarray | None = None
) -> tuple[float, float, float, int]:
    """Both AUCs, the variance of their difference (DeLong), slides or patients of the smaller class."""
    sides = [_placements(*_split(labels, scores)) for scores in (a, b)]
    if groups is not None:
        positive, negative = (np.stack([side[place] for side in sides]) for place in (0, 1))
        found = patients.covariance(positive, negative, groups, np.asarray(labels))
        first, second = (float(row.mean()) for row in positive)
        variance = float(found[0, 0] + found[1, 1] - 2 * found[0, 1])
        return first, second, variance, patients.smaller_class(labels, groups)
    variance = 0.0
    for components in (np.stack([side[0] for side in sides]), np.stack([side[1] for side in sides])):
        covariance = _covariance(components)
        variance += (covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]) / components.shape[1]
    first, second = (float(positive.mean()) for positive, _ in sides)
    return first, second, variance, min(len(side) for side in sides[0])


def delong_test(labels: np.ndarray, a: np.ndarray, b: np.ndarray, confidence: float = 0.95) -> Comparison:
    """Compare two correlated AUCs (two methods on the same slides) by DeLong's test."""
    return delong_folds([(labels, a, b)], confidence)


def delong_folds(folds: Sequence[tuple], confidence: float = 0.95) -> Comparison:
    """Compare two cross-validated AUCs, each the mean of its folds' AUCs, by DeLong's test pooled over the folds.

    ``folds``: labels (n,), scores of the first and of the second method, of the slides left out, and perhaps the
    patients of the slides (n,), or None. Slides, and patients, of different folds are different, so that the variances
    of the folds add up. The models are taken as they are: what training on other slides would change is not in p
    (LeDell, Petersen and van der Laan 2015, Electronic Journal of Statistics 9: 1583-1607, doi:10.1214/15-EJS1035).
    """
    _check_confidence(confidence)
    parts = [_paired(*fold) for fold in folds]
    first, second = (float(np.mean([part[side] for part in parts])) for side in (0, 1))
    variance = sum(part[2] for part in parts) / len(parts) ** 2
    return _comparison(first, second, variance, sum(part[3] for part in parts), confidence)


def _comparison(first: float, second: float, variance: float, smaller: int, confidence: float) -> Comparison:
    """Test and interval of a difference of two AUCs. ``smaller``: slides of the smaller class.

    Without any spread, where the two order the slides alike or both separate the classes, the limits are those of an
    exact binomial limit for the smaller class, and p is their level, but not below that of a sign test.
    """
    from scipy.stats import norm

    difference = first - second
    spread = math.sqrt(max(variance, 0.0))
    if spread > 1e-12:
        z, half = difference / spread, norm.ppf(0.5 + confidence / 2) * spread
        p = float(2 * norm.sf(abs(z)))
        return Comparison(first, second, difference, difference - half, difference + half, z, p)
    z = 0.0 if abs(difference) < 1e-12 else math.copysign(math.inf, difference)
    half = 1 - ((1 - confidence) / 2) ** (1 / smaller)
    p = min(1.0, max(2 * (1 - abs(difference)) ** smaller, 2 * 0.5**smaller)) if z else 1.0
    low, high = max(difference - half, -1.0), min(difference + half, 1.0)
    if p >= 1 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    return Comparison(first, second, difference, low, high, z, p)


def _resamples(number: int, n: int, *key: object) -> np.ndarray:
    """Multiplicities (n, number) of draws with replacement."""
    return generator(*key).multinomial(number, np.full(number, 1 / number), size=n)


def expanded_tail(confidence: float, units: int) -> float:
    """Return the share of the resamples beyond each limit of a percentile interval, widened for few units.

    A bootstrap of n units has a spread too small by sqrt((n - 1) / n) and takes no account of its being estimated; the
    "expanded percentile" interval (Hesterberg 2015, The American Statistician 69: 371-386, section 5.2) corrects both.
    Fewer than two units: 0.
    """
    from scipy.stats import norm, t

    if units < 2:
        return 0.0
    return float(norm.cdf(t.ppf((1 - confidence) / 2, units - 1) * math.sqrt(units / (units - 1))))


def holding(estimate: np.ndarray | float, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits of a share, widened to hold the ``estimate`` and to reach 0 or 1 where the estimate does."""
    low = np.where(np.asarray(estimate) <= 0, 0.0, np.minimum(low, estimate))
    high = np.where(np.asarray(estimate) >= 1, 1.0, np.maximum(high, estimate))
    return low, high


@dataclass
class Interval:
    """Limits of a bootstrap and the resampled values."""

    low: float
    high: float
    values: np.ndarray


#: Above this AUC, and below 1 less it, the bootstrap is one-sided: DeLong's limits are used (docs/evaluation.md).
ONE_SIDED = 0.95


def bootstrap_auc(
    labels: np.ndarray,
    scores: np.ndarray,
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    groups: np.ndarray | None = None,
) -> Interval:
    """Stratified bootstrap of the AUC: positives and negatives are drawn apart, so that every draw has both.

    Limits are expanded percentiles (:func:`expanded_tail`) for the smaller class. All ``n`` resamples come from one
    cumulative sum over the sorted negatives. An AUC above :data:`ONE_SIDED`, or below 1 less it, has the limits of
    :func:`delong_interval`: there the bootstrap is one-sided, and an AUC of exactly 0 or 1 has no spread to resample.
    With ``groups`` (n,), the patients of the slides, patients are drawn (:func:`patients.resampled_auc`).
    """
    _check_confidence(confidence)
    positive, negative = (np.sort(side) for side in _split(labels, scores))
    if groups is not None:
        values = patients.resampled_auc(labels, scores, groups, n, seed)
        return _auc_limits(labels, scores, values, confidence, groups)
    values = np.empty(n)
    left, right = (np.searchsorted(negative, positive, side) for side in ("left", "right"))
    positives, negatives = len(positive), len(negative)
    drawn = [_resamples(size, n, seed, "auc bootstrap", what, size) for what, size in ((1, positives), (0, negatives))]
    block = max(1, 4_000_000 // (positives + negatives))
    for start in range(0, n, block):
        rows = slice(start, start + block)
        below = np.zeros((len(drawn[1][rows]), negatives + 1), dtype=np.int64)
        np.cumsum(drawn[1][rows], axis=1, out=below[:, 1:])
        wins = (drawn[0][rows] * (below[:, left] + below[:, right])).sum(axis=1)
        values[rows] = wins / (2 * positives * negatives)
    return _auc_limits(labels, scores, values, confidence)


def _auc_limits(
    labels: np.ndarray, scores: np.ndarray, values: np.ndarray, confidence: float, groups: np.ndarray | None = None
) -> Interval:
    """Return the limits of an AUC from its resamples, or DeLong's next to the ends."""
    value = auc(labels, scores)
    if max(value, 1 - value) > ONE_SIDED or not len(values):
        return Interval(*delong_interval(labels, scores, confidence, groups), values)
    tail = expanded_tail(confidence, patients.smaller_class(labels, groups))
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high), values)


@dataclass
class Roc:
    """A ROC curve, from (0, 0) to (1, 1).

    ``fpr``, ``tpr``, ``thresholds`` (descending, inf first), and the limits ``low`` and ``high`` of ``tpr`` at each
    ``fpr``.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray
    low: np.ndarray
    high: np.ndarray


def roc_curve(
    labels: np.ndarray,
    scores: np.ndarray,
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    groups: np.ndarray | None = None,
) -> Roc:
    """Return the ROC curve with a pointwise band (vertical averaging) from a Bayesian bootstrap of both classes.

    An imagined positive above all scores and one below all, of weight 1/2 each, give the band a width where the
    sensitivity is 0 or 1 (:mod:`chowder.evaluation.resampling` does the same for the FROC). ``groups`` (n,): the
    patients of the slides, which then get one weight for all of theirs.
    """
    _check_confidence(confidence)
    by_patient = None
    if groups is not None:
        shared = patients.exponential(groups, len(groups), n, seed, "roc bayes of patients", int(groups.max()))
        labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
        by_patient = {
            label: shared[:, labels == label][:, np.argsort(scores[labels == label], kind="stable")] for label in (0, 1)
        }
    positive, negative = (np.sort(side) for side in _split(labels, scores))
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
    above = [len(side) - np.searchsorted(side, thresholds, "left") for side in (positive, negative)]
    tpr, fpr = (
        np.concatenate([[0.0], count / len(side)]) for count, side in zip(above, (positive, negative), strict=True)
    )
    prior = generator(seed, "roc prior").standard_gamma(0.5, (n, 2)) * patients.mean_size(labels, groups)
    curves = []
    for what, side, count, extra in ((1, positive, above[0], prior), (0, negative, above[1], np.zeros((n, 2)))):
        drawn = generator(seed, "roc bayes", what, len(side)).standard_exponential((n, len(side)))[:, ::-1]
        drawn = drawn if by_patient is None else by_patient[what][:, ::-1]
        total = np.concatenate([np.zeros((n, 1)), np.cumsum(drawn, axis=1)], axis=1)
        share = total[:, np.concatenate([[0], count])] + extra[:, :1]
        curves.append(share / (total[:, -1:] + extra.sum(axis=1, keepdims=True)))
    resampled = np.stack([np.interp(fpr, x, y) for y, x in zip(*curves, strict=True)])
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    low, high = holding(np.interp(fpr, fpr, tpr), low, high)
    return Roc(fpr, tpr, np.concatenate([[np.inf], thresholds]), low, high)
