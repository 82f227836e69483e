"""Slides of one patient are not independent: variances and resamples by patient.

``groups`` is an index of the patient of each slide (n,). Where each slide is of another patient, everything here equals
what is used without patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chowder.seeds import generator


def groups_of(slides: Sequence[str], patients: Mapping[str, str]) -> np.ndarray | None:
    """Return the index of each slide's patient, by first appearance; None where no patient has two of the slides.

    ``patients``: patient by slide; a slide without one, or with an empty one, is a patient of its own.
    """
    units: dict[tuple[str, str], int] = {}
    found = []
    for slide in slides:
        patient = patients.get(slide, "")
        unit = ("patient", patient) if patient else ("slide", slide)
        found.append(units.setdefault(unit, len(units)))
    return None if len(units) == len(found) else np.array(found)


def covariance(positive: np.ndarray, negative: np.ndarray, groups: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Covariance (k, k) of k AUCs on slides that are clustered in patients.

    Parameters
    ----------
    positive, negative : DeLong's structural components (k, P) and (k, N) of the slides with label 1 and 0, in order.
    groups, labels : (n,) patient and label of each slide.

    Obuchowski 1997, Biometrics 53: 567-578, doi:10.2307/2533958. Equal to DeLong's where each slide is of another
    patient.
    """
    sums, parts = [], []
    for components, side in ((positive, groups[labels == 1]), (negative, groups[labels == 0])):
        deviation = components - components.mean(axis=1, keepdims=True)
        total = np.zeros((len(components), int(groups.max()) + 1))
        for row, values in zip(total, deviation, strict=True):
            np.add.at(row, side, values)
        total /= components.shape[1]
        number = len(np.unique(side))
        sums.append(total)
        parts.append(total @ total.T * (number / (number - 1) if number > 1 else 0.0))
    number = len(np.unique(groups))
    cross = sums[0] @ sums[1].T * (number / (number - 1) if number > 1 else 0.0)
    return parts[0] + parts[1] + cross + cross.T


def smaller_class(labels: np.ndarray, groups: np.ndarray | None) -> int:
    """Return the number of patients (slides without ``groups``) of the class that has fewer."""
    labels = np.asarray(labels)
    if groups is None:
        return int(min((labels == 1).sum(), (labels == 0).sum()))
    return min(len(np.unique(groups[labels == label])) for label in (0, 1))


def mean_size(labels: np.ndarray, groups: np.ndarray | None) -> float:
    """Return the mean number of tumour slides of a patient who has some: the weight of an imagined patient."""
    if groups is None:
        return 1.0
    ill = groups[np.asarray(labels) == 1]
    return len(ill) / len(np.unique(ill))


def resampled_auc(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, n: int, seed: int) -> np.ndarray:
    """AUC of ``n`` bootstrap samples of patients, those with a tumour slide and those without drawn apart.

    A sample without slides of both classes (possible where patients have both) is left out, so that there may be fewer.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    number = int(groups.max()) + 1
    ill = np.zeros(number, dtype=bool)
    ill[groups[labels == 1]] = True
    drawn = np.zeros((n, number))
    for what, units in ((1, np.flatnonzero(ill)), (0, np.flatnonzero(~ill))):
        if len(units):
            source = generator(seed, "auc bootstrap of patients", what, len(units))
            drawn[:, units] = source.multinomial(len(units), np.full(len(units), 1 / len(units)), size=n)
    order = np.argsort(scores[labels == 0], kind="stable")
    negative = scores[labels == 0][order]
    below = np.zeros((n, len(negative) + 1))
    np.cumsum(drawn[:, groups[labels == 0][order]], axis=1, out=below[:, 1:])
    left, right = (np.searchsorted(negative, scores[labels == 1], side) for side in ("left", "right"))
    weight = drawn[:, groups[labels == 1]]
    wins = (weight * (below[:, left] + below[:, right])).sum(axis=1) / 2
    pairs = weight.sum(axis=1) * below[:, -1]
    return wins[pairs > 0] / pairs[pairs > 0]


def exponential(groups: np.ndarray | None, size: int, n: int, *key: object) -> np.ndarray:
    """Weights (n, size) of the Bayesian bootstrap: one per patient, the same for all of a patient's slides."""
    source = generator(*key)
    if groups is None:
        return source.standard_exponential((n, size))
    return source.standard_exponential((n, int(groups.max()) + 1))[:, groups]


def shares(hit: np.ndarray, total: np.ndarray, n: int, seed: int, what: str) -> np.ndarray:
    """Return draws (n,) of a share whose cases are clustered, by a Bayesian bootstrap with two imagined clusters.

    ``hit``, ``total`` (clusters,): cases that count and all cases, none of them 0. The imagined clusters have the mean
    number of cases, one all of them and one none, and weigh 1/2 each: for clusters of one case this is Jeffreys'.
    """
    drawn = generator(seed, what, len(total)).standard_exponential((n, len(total)))
    imagined = total.mean() * generator(seed, f"{what} prior").standard_gamma(0.5, (n, 2))
    return (drawn @ hit + imagined[:, 0]) / (drawn @ total + imagined.sum(axis=1))
