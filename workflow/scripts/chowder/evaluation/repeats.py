"""The mean of a method over repeats of its training, and two spreads: over repeats, and over slides.

A repeat has other tile samples and other initial weights; slides and folds are the same. The spread over slides is that
of the mean: each draw of slides is made once and serves for all repeats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chowder.evaluation import patients, resampling, roc
from chowder.evaluation.froc import SlideHits, froc
from chowder.evaluation.reports import Settings
from chowder.files import UserError

Predictions = Mapping[str, tuple[int, float]]  # (label, probability) by slide


@dataclass(frozen=True)
class Repeated:
    """A number over repeats: ``mean``, ``sd`` over repeats (NaN for one), limits ``low`` and ``high`` over slides."""

    mean: float
    sd: float
    low: float
    high: float


def _repeated(values: Sequence[float], low: float, high: float) -> Repeated:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Repeated(float(np.mean(values)), sd, float(low), float(high))


def _arrays(repeats: Sequence[Predictions]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return slides, labels (n,) and scores (repeats, n). Errors: repeats about other slides or labels."""
    slides = sorted(repeats[0])
    labels = [repeats[0][slide][0] for slide in slides]
    for rows in repeats:
        if sorted(rows) != slides or [rows[slide][0] for slide in slides] != labels:
            raise UserError("predictions of repeats: not the same slides with the same labels: rerun `train` for all")
    return slides, np.array(labels), np.array([[rows[slide][1] for slide in slides] for rows in repeats])


def _components(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Structural components of DeLong of each repeat: (repeats, P) of the positives and (repeats, N)."""
    found = [roc.components(labels, row) for row in scores]
    return np.stack([one for one, _ in found]), np.stack([other for _, other in found])


def _logit_limits(value: float, variance: float, smaller: int, confidence: float) -> tuple[float, float]:
    """Return the limits of an AUC on the logit scale; at exactly 0 or 1 the exact binomial limit."""
    from scipy.stats import norm

    if value in (0.0, 1.0):
        return roc.degenerate(value, smaller, confidence)
    centre = math.log(value / (1 - value))
    half = norm.ppf(0.5 + confidence / 2) * math.sqrt(variance) / (value * (1 - value))
    return tuple(1 / (1 + math.exp(-limit)) for limit in (centre - half, centre + half))


def mean_auc(repeats: Sequence[Predictions], settings: Settings, patient: Mapping[str, str]) -> Repeated | None:
    """Return the AUC of a split over repeats; None where its slides are of one class.

    ``repeats``: the predictions of each. ``patient``: patient by slide, where known. Limits: a bootstrap of slides
    (patients), with expanded percentiles; above 0.95 and below 0.05 DeLong's for the mean of the AUCs.
    """
    slides, labels, scores = _arrays(repeats)
    if len(set(labels.tolist())) < 2:
        return None
    values = [roc.auc(labels, row) for row in scores]
    groups = patients.groups_of(slides, patient)
    units = np.arange(len(slides)) if groups is None else groups
    smaller = patients.smaller_class(labels, groups)
    value = float(np.mean(values))
    if max(value, 1 - value) > roc.ONE_SIDED:
        found = patients.covariance(*_components(labels, scores), units, labels)
        return _repeated(values, *_logit_limits(value, found.mean(), smaller, settings.confidence))
    drawn = [patients.resampled_auc(labels, row, units, settings.bootstrap, settings.seed) for row in scores]
    tail = roc.expanded_tail(settings.confidence, smaller)
    return _repeated(values, *np.quantile(np.mean(drawn, axis=0), [tail, 1 - tail]))


def mean_cv(folds: Sequence[Sequence[Predictions]], settings: Settings, patient: Mapping[str, str]) -> Repeated | None:
    """Return the AUC of the cross-validation, the mean of its folds', over repeats; None without a usable fold.

    ``folds``: of each fold the predictions of each repeat; folds of one class are left out. Limits: DeLong's for the
    mean of all AUCs; slides of different folds are different, so variances add.
    """
    values, variances, smaller = [], [], 0
    for repeats in folds:
        slides, labels, scores = _arrays(repeats)
        if len(set(labels.tolist())) < 2:
            continue
        groups = patients.groups_of(slides, patient)
        units = np.arange(len(slides)) if groups is None else groups
        values.append([roc.auc(labels, row) for row in scores])
        variances.append(patients.covariance(*_components(labels, scores), units, labels).mean())
        smaller += patients.smaller_class(labels, groups)
    if not values:
        return None
    means = np.mean(values, axis=0)
    variance = sum(variances) / len(variances) ** 2
    return _repeated(means, *_logit_limits(float(means.mean()), variance, smaller, settings.confidence))


def mean_froc(repeats: Sequence[Sequence[SlideHits]], settings: Settings) -> Repeated:
    """Return the FROC score over repeats; ``repeats``: the hits of each, of the same slides in the same order.

    Limits: the Bayesian bootstrap of :mod:`chowder.evaluation.resampling`.
    """
    mode, draws = settings.froc_mode, []
    for hits in repeats:
        if [one.slide for one in hits] != [one.slide for one in repeats[0]]:
            raise UserError("detections of repeats: not the same slides: rerun `localise` for all")
        draws.append(
            resampling.bootstrap_froc(hits, settings.bootstrap, settings.seed, settings.confidence, mode).scores
        )
    values = [froc(hits, mode).score for hits in repeats]
    tail = (1 - settings.confidence) / 2
    limits = np.quantile(np.mean(draws, axis=0), [tail, 1 - tail])
    return _repeated(values, *roc.holding(float(np.mean(values)), *limits))
