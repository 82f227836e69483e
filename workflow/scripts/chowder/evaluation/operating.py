"""What a slide's probability is worth in use: average precision, sensitivity at a specificity, threshold, calibration.

Labels are 0 (normal) and 1 (tumour), scores are probabilities. A slide is called positive when its score is at least
the threshold. Intervals: a Bayesian bootstrap of the slides of each class with two imagined positives, one above all
scores and one below all, as for the ROC band (:func:`chowder.evaluation.roc.roc_curve`); Jeffreys' prior for rates at a
fixed threshold. ``groups`` (n,), the patients of the slides, makes patients of one weight out of the slides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chowder.evaluation import patients
from chowder.evaluation.roc import expanded_tail, holding
from chowder.files import UserError
from chowder.seeds import generator

SPECIFICITIES = (0.90, 0.95)
BINS = 10  # of the reliability diagram, equally wide


@dataclass(frozen=True)
class Estimate:
    """A number with the limits of its interval."""

    value: float
    low: float
    high: float


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of positives and of negatives, both descending."""
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise UserError(f"labels {labels.shape} and scores {scores.shape}: give one label and one score per slide")
    if not np.isin(labels, (0, 1)).all():
        raise UserError("labels must be 0 or 1")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise UserError("a score is no probability (below 0, above 1 or NaN): check the predictions")
    positive = labels == 1
    if positive.all() or not positive.any():
        raise UserError("slides of both classes are needed: all labels are the same")
    return np.sort(scores[positive])[::-1], np.sort(scores[~positive])[::-1]


def _descending(labels: np.ndarray, scores: np.ndarray, label: int) -> np.ndarray:
    """Return the places of the slides of a class, by falling score."""
    places = np.flatnonzero(np.asarray(labels) == label)
    return places[np.argsort(-np.asarray(scores, dtype=np.float64)[places], kind="stable")]


class _Rates:
    """True and false positive rates at every distinct score, of the slides or of resamples of them.

    ``tpr``, ``fpr`` (n, thresholds + 2): from the imagined positive above all scores to the one below all, which
    have no weight in the slides themselves. ``prevalence``: share of the positives.
    """

    def __init__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        n: int = 0,
        seed: int = 0,
        groups: np.ndarray | None = None,
    ):
        positive, negative = _checked(labels, scores)
        if n:
            own = [
                generator(seed, "operating", what, len(side)).standard_exponential((n, len(side)))
                for what, side in ((1, positive), (0, negative))
            ]
            if groups is not None:
                shared = patients.exponential(groups, len(groups), n, seed, "operating patients", int(groups.max()))
                own = [shared[:, _descending(labels, scores, label)] for label in (1, 0)]
            prior = generator(seed, "operating prior").standard_gamma(0.5, (n, 2)) * patients.mean_size(labels, groups)
        else:
            own, prior = [np.ones((1, len(positive))), np.ones((1, len(negative)))], np.zeros((1, 2))
        self.weights = own
        thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
        rates = []
        for side, weights, top, bottom in (
            (positive, own[0], prior[:, :1], prior[:, 1:]),
            (negative, own[1], np.zeros((len(prior), 1)), np.zeros((len(prior), 1))),
        ):
            count = np.searchsorted(-side, -thresholds, side="right")
            total = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights, axis=1)], axis=1)
            whole = total[:, -1:] + top + bottom
            rates.append(np.concatenate([top / whole, (total[:, count] + top) / whole, np.ones_like(whole)], axis=1))
        self.tpr, self.fpr = rates
        self.prevalence = len(positive) / (len(positive) + len(negative))

    def average_precision(self) -> np.ndarray:
        """Sum of precision times gain in recall over the distinct scores, (n,)."""
        true, false = self.prevalence * self.tpr, (1 - self.prevalence) * self.fpr
        called = true + false
        precision = np.divide(true, called, out=np.zeros_like(true), where=called > 0)
        gain = np.diff(self.tpr, axis=1, prepend=0.0)
        return (precision * gain).sum(axis=1)

    def sensitivity_at(self, specificity: float) -> np.ndarray:
        """Highest sensitivity among the thresholds of at least this specificity, (n,)."""
        allowed = self.fpr <= 1 - specificity + 1e-12
        return np.where(allowed, self.tpr, 0.0).max(axis=1)


def _limits(values: np.ndarray, estimate: float, confidence: float, units: int = 0) -> Estimate:
    """Return percentiles of draws; expanded ones for ``units`` slides or patients of the smaller class, where given."""
    tail = expanded_tail(confidence, units) if units else (1 - confidence) / 2
    low, high = holding(estimate, *np.quantile(values, [tail, 1 - tail]))
    return Estimate(float(estimate), float(low), float(high))


def average_precision(
    labels: np.ndarray,
    scores: np.ndarray,
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    groups: np.ndarray | None = None,
) -> Estimate:
    """Area under the precision-recall curve, as a step function (average precision), with its interval.

    A constant score has the share of the positives: 0.38 for 49 of 129.

    Raises
    ------
    UserError : one class only, no probabilities, lengths that differ.
    """
    drawn = _Rates(labels, scores, n, seed, groups).average_precision()
    units = patients.smaller_class(labels, groups)
    return _limits(drawn, float(_Rates(labels, scores).average_precision()[0]), confidence, units)


def sensitivity_at(
    labels: np.ndarray,
    scores: np.ndarray,
    specificity: float,
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    groups: np.ndarray | None = None,
) -> Estimate:
    """Highest sensitivity of a threshold whose specificity is at least ``specificity``, with its interval.

    The threshold is chosen on these slides (and anew in each resample), so that it is a point of their ROC curve, not a
    promise for other slides. No interpolation.
    """
    own = float(_Rates(labels, scores).sensitivity_at(specificity)[0])
    return _limits(_Rates(labels, scores, n, seed, groups).sensitivity_at(specificity), own, confidence)


def brier(
    labels: np.ndarray,
    scores: np.ndarray,
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    groups: np.ndarray | None = None,
) -> Estimate:
    """Mean squared difference of probability and label (Brier 1950), with its interval. 0 is best.

    A constant prediction of the share p of the positives has p (1 - p): 0.236 for 49 of 129.
    """
    positive, negative = _checked(labels, scores)
    errors = [(1 - positive) ** 2, negative**2]
    share = [len(side) / len(labels) for side in errors]
    drawn = _Rates(labels, scores, n, seed, groups).weights
    values = sum(
        part * (weights @ error) / weights.sum(axis=1)
        for part, weights, error in zip(share, drawn, errors, strict=True)
    )
    return _limits(values, float(np.concatenate(errors).mean()), confidence, patients.smaller_class(labels, groups))


# ---------------------------------------------------------------------------------------------------- a threshold


def choose_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the threshold of the highest balanced accuracy, midway between two neighbouring scores.

    Of several equally good ones the middle one. Give it slides that are not scored with it afterwards.
    """
    positive, negative = _checked(labels, scores)
    distinct = np.unique(np.concatenate([positive, negative]))
    candidates = (distinct[1:] + distinct[:-1]) / 2 if len(distinct) > 1 else distinct
    sensitivity = np.searchsorted(-positive, -candidates, side="right") / len(positive)
    specificity = 1 - np.searchsorted(-negative, -candidates, side="right") / len(negative)
    sums = sensitivity + specificity
    best = np.flatnonzero(sums >= sums.max() - 1e-12)
    return float(candidates[best[(len(best) - 1) // 2]])


def at_threshold(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    groups: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """Sensitivity, specificity, balanced accuracy and F1 at a threshold that was fixed beforehand, with intervals.

    The limits come from ``n`` draws of sensitivity and specificity, independent, each with Jeffreys' prior; with
    ``groups`` each by a Bayesian bootstrap of patients (:func:`chowder.evaluation.patients.shares`).
    """
    positive, negative = _checked(labels, scores)
    hit, wrong = int((positive >= threshold).sum()), int((negative >= threshold).sum())
    p, q = len(positive), len(negative)
    drawn = generator(seed, "operating threshold", hit, p, wrong, q)
    draws = drawn.beta(hit + 0.5, p - hit + 0.5, n), drawn.beta(q - wrong + 0.5, wrong + 0.5, n)
    if groups is not None:
        labels, right = np.asarray(labels), (np.asarray(scores) >= threshold) == (np.asarray(labels) == 1)
        draws = tuple(_shares_of(right[labels == one], groups[labels == one], n, seed, one) for one in (1, 0))

    def numbers(sensitivity, specificity):
        true, false = p * sensitivity, q * (1 - specificity)
        return {
            "sensitivity": sensitivity,
            "specificity": specificity,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "f1": 2 * true / (true + false + p),
        }

    own, resampled = numbers(hit / p, 1 - wrong / q), numbers(*draws)
    return {name: _limits(resampled[name], own[name], confidence) for name in own}


def _shares_of(right: np.ndarray, groups: np.ndarray, n: int, seed: int, label: int) -> np.ndarray:
    """Return draws of the share of the slides of a class that are called right."""
    _, place = np.unique(groups, return_inverse=True)
    return patients.shares(np.bincount(place, right), np.bincount(place), n, seed, f"operating threshold {label}")


# ---------------------------------------------------------------------------------------------------- calibration


def reliability(labels: np.ndarray, scores: np.ndarray, confidence: float = 0.95) -> list[dict[str, float]]:
    """Return the rows of a reliability diagram: ten equally wide bins, those without slides left out.

    Each row: from, to (the bin, its upper end included), slides, predicted (mean probability), observed (share of
    tumour slides), low, high (Jeffreys' interval of that share).
    """
    from scipy.stats import beta

    _checked(labels, scores)
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    edges = np.linspace(0, 1, BINS + 1)
    place = np.searchsorted(edges[1:-1], scores)
    tail, rows = (1 - confidence) / 2, []
    for number in range(BINS):
        inside = place == number
        if inside.any():
            k, m = int(labels[inside].sum()), int(inside.sum())
            low = 0.0 if k == 0 else float(beta.ppf(tail, k + 0.5, m - k + 0.5))
            high = 1.0 if k == m else float(beta.ppf(1 - tail, k + 0.5, m - k + 0.5))
            rows.append(
                {
                    "from": float(edges[number]),
                    "to": float(edges[number + 1]),
                    "slides": m,
                    "predicted": float(scores[inside].mean()),
                    "observed": k / m,
                    "low": low,
                    "high": high,
                }
            )
    return rows


def mean_over(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return mean and standard deviation over folds, None where there are too few."""
    if not len(values):
        return None, None
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
