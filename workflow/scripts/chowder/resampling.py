"""Intervals of a FROC and paired tests of two, by resampling slides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chowder.files import UserError
from chowder.froc import RATES, SlideHits, as_single, froc, lesion_scores, taking_part
from chowder.metrics import expanded_tail
from chowder.seeds import generator


@dataclass
class FrocBootstrap:
    """Resamples of a FROC over slides.

    ``scores`` (n,); ``sens`` (n, 6) at :data:`RATES`; ``grid`` (n, len(at)) at the rates asked for. A resample that
    drew no lesion is NaN. ``interval``, ``sens_interval``, ``band``: expanded percentile limits
    (:func:`chowder.metrics.expanded_tail`) for ``units``, the slides with lesions.
    """

    scores: np.ndarray
    sens: np.ndarray
    grid: np.ndarray
    confidence: float
    units: int

    def limits(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper percentile of ``values`` (n, ...) over the resamples, NaN where there is none."""
        valid = values[np.isfinite(self.scores)]
        if not len(valid):
            nothing = np.full(values.shape[1:], np.nan)
            return nothing, nothing
        tail = expanded_tail(self.confidence, self.units)
        low, high = np.quantile(valid, [tail, 1 - tail], axis=0)
        return low, high

    @property
    def interval(self) -> tuple[float, float]:
        """Limits of the score."""
        low, high = self.limits(self.scores)
        return float(low), float(high)

    @property
    def sens_interval(self) -> dict[float, tuple[float, float]]:
        """Limits of the sensitivity at each rate."""
        low, high = self.limits(self.sens)
        return {rate: (float(low[i]), float(high[i])) for i, rate in enumerate(RATES)}

    @property
    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """Pointwise limits of the curve at the rates ``at``."""
        return self.limits(self.grid)


class Resampler:
    """The curve of any resample of slides from two small matrix products.

    Between two neighbouring lesion scores the sensitivity stays the same however slides are weighted, so a curve is
    given by its points just above and at every distinct lesion score, and by its end. False positives are counted once
    per slide and point; a resample is its multiplicities (n, slides) times these counts.

    In ``official`` mode a false positive just above a lesion's score, but equal to it in single precision, finds the
    lesion too. Each such score is a point of its own (``own``), valid only in resamples that drew it.
    """

    def __init__(self, slides: Sequence[SlideHits], mode: str):
        self.mode = mode
        lesions = [np.sort(lesion_scores(slide, mode)) for slide in slides]
        false = [np.sort(slide.false_positives) for slide in slides]
        levels = np.unique(np.concatenate(lesions))
        early = np.zeros(0)
        if mode == "official":
            every = np.unique(np.concatenate(false))
            rounded = as_single(every)
            early = every[(every > rounded) & np.isin(rounded, levels)]
        # descending points; level: the lesion score that a point finds; above: just above it, so that it finds less
        points = [(level, level, kind) for level in levels for kind in ("above", "at")]
        points += [(level, score, "own") for level, score in zip(as_single(early), early, strict=True)]
        order = {"above": 0, "own": 1, "at": 2}
        points.sort(key=lambda point: (-point[0], order[point[2]], -point[1]))
        self.kinds = np.array([kind for _, _, kind in points], dtype=object)
        level = np.array([point[0] for point in points])
        # just above a level means above every score that finds it
        tops = {float(one): float(one) for one in levels} | dict(zip(as_single(early).tolist(), early, strict=True))
        score = np.array([tops[float(one)] if kind == "above" else at for one, at, kind in points])
        above = self.kinds == "above"
        self.fp = np.zeros((len(slides), len(points) + 1))
        self.tp = np.zeros((len(slides), len(points) + 1))
        self.drawn = np.zeros((len(slides), len(points)))
        self.lesions = np.array([len(slide.best) for slide in slides], dtype=np.float64)
        self.smallest = np.full(len(slides), np.inf)
        for index, (wrong, found) in enumerate(zip(false, lesions, strict=True)):
            for table, values, where in ((self.fp, wrong, score), (self.tp, found, level)):
                left, right = (np.searchsorted(values, where, side=side) for side in ("left", "right"))
                table[index, :-1] = len(values) - np.where(above, right, left)
                table[index, -1] = len(values)
                if len(values):
                    self.smallest[index] = min(self.smallest[index], values[0])
            own = self.kinds == "own"
            self.drawn[index, own] = np.isin(score[own], wrong)
        # where the curve ends when the smallest score is dropped: before the point "at" it
        self.levels = levels
        self.ends = np.flatnonzero(self.kinds == "at")[::-1]

    def curves(self, weights: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Return the sensitivity (n, len(rates)) of the resamples ``weights`` (n, slides); NaN without a lesion."""
        weights = weights.astype(np.float64)  # counts stay exact, and the product is a fast one
        number = weights.sum(axis=1)
        fps = (weights @ self.fp) / number[:, None]
        found = weights @ self.tp
        for place in np.flatnonzero(self.kinds == "own"):
            absent = weights @ self.drawn[:, place] == 0
            for table in (fps, found):
                table[absent, place] = table[absent, place - 1]
        lesions = weights @ self.lesions
        smallest = np.where(weights > 0, self.smallest, np.inf).min(axis=1)
        out = np.full((len(weights), len(rates)), np.nan)
        for row in np.flatnonzero(lesions > 0):
            x, y = fps[row], found[row] / lesions[row]
            if self.mode == "official":
                place = np.searchsorted(self.levels, smallest[row])
                if place < len(self.levels) and self.levels[place] == smallest[row]:
                    x, y = x[: self.ends[place]], y[: self.ends[place]]
            out[row] = np.interp(rates, np.concatenate([[0.0], x]), np.concatenate([[0.0], y]))
        return out


def multiplicities(slides: int, n: int, seed: int) -> np.ndarray:
    """How often each slide is drawn in each of ``n`` resamples with replacement: (n, slides)."""
    return generator(seed, "froc bootstrap", slides).multinomial(slides, np.full(slides, 1 / slides), size=n)


def bootstrap_froc(
    slides: Sequence[SlideHits],
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    mode: str = "official",
    at: Sequence[float] | np.ndarray = (),
) -> FrocBootstrap:
    """Bootstrap over slides: a slide is drawn with its lesions and its false positives.

    Parameters
    ----------
    n, seed : number of resamples, and the seed they depend on (with the number of slides; nothing else).
    at : false positive rates at which a band of the curve is wanted, beside :data:`RATES`.

    Notes
    -----
    Each resample's curve equals :func:`froc` of the slides drawn, repeated as often as drawn; two matrix products give
    all of them.
    """
    chosen = taking_part(slides, mode)
    if not (n >= 1 and 0 < confidence < 1):
        raise UserError(f"bootstrap: n={n}, confidence={confidence}: n must be at least 1, confidence between 0 and 1")
    rates = np.concatenate([np.asarray(RATES), np.asarray(at, dtype=np.float64)])
    values = Resampler(chosen, mode).curves(multiplicities(len(chosen), n, seed), rates)
    sens = values[:, : len(RATES)]
    return FrocBootstrap(sens.mean(axis=1), sens, values[:, len(RATES) :], confidence, _units(chosen))


def _units(slides: Sequence[SlideHits]) -> int:
    """Slides with lesions: the sensitivity rests on them."""
    return sum(len(slide.best) > 0 for slide in slides)


@dataclass
class Paired:
    """Difference of two methods on the same slides: ``difference`` (first less second), its interval, two-sided p."""

    difference: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    first: Sequence[SlideHits],
    second: Sequence[SlideHits],
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    mode: str = "official",
) -> Paired:
    """Compare two methods' FROC scores on resamples that draw the same slides for both.

    ``p``: twice the smaller share of resamples on either side of 0 (ties on both), never below ``2 / (n + 1)``.

    Raises
    ------
    UserError : the two are not about the same slides in the same order.
    """
    first, second = taking_part(first, mode), taking_part(second, mode)
    if [slide.slide for slide in first] != [slide.slide for slide in second]:
        raise UserError("a paired comparison needs the same slides in the same order for both methods")
    weights = multiplicities(len(first), n, seed)
    rates = np.asarray(RATES)
    a, b = (Resampler(side, mode).curves(weights, rates).mean(axis=1) for side in (first, second))
    difference = froc(first, mode).score - froc(second, mode).score
    resampled = (a - b)[np.isfinite(a - b)]
    if not len(resampled):
        return Paired(difference, math.nan, math.nan, math.nan)
    tail = expanded_tail(confidence, _units(first))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    side = min((resampled <= 0).sum(), (resampled >= 0).sum())
    return Paired(difference, float(low), float(high), float(min(1.0, 2 * (side + 1) / (len(resampled) + 1))))
