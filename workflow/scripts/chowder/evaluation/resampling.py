"""Intervals of a FROC and paired tests of two, by the Bayesian bootstrap over slides.

Each draw gives every slide, with its lesions and its false positives, a random weight (Rubin 1981, Annals of Statistics
9: 130-134, doi:10.1214/aos/1176345338). Two imagined slides are drawn too, one with all its lesions found and one with
none, each of weight 1/2 and with the mean number of lesions. So there is some spread where every lesion was found, or
none. For slides of one lesion each, all of them equal, this is Jeffreys' interval of a proportion.
docs/decisions/intervals.md has the other methods that were tried, and the coverage of all. Where patients have several
slides, patients take the place of slides throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chowder.evaluation.froc import RATES, SlideHits, as_single, froc, lesion_scores, taking_part
from chowder.evaluation.patients import groups_of
from chowder.evaluation.roc import holding
from chowder.files import UserError
from chowder.seeds import generator


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

    def curves(self, weights: np.ndarray, rates: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
        """Return the sensitivity (n, len(rates)) of the resamples ``weights`` (n, slides); NaN without a lesion.

        ``prior`` (n, 2): lesions added to each resample that are found at every threshold, and that are missed.
        """
        weights = weights.astype(np.float64)  # counts stay exact, and the product is a fast one
        number = weights.sum(axis=1)
        fps = (weights @ self.fp) / number[:, None]
        found = weights @ self.tp
        for place in np.flatnonzero(self.kinds == "own"):
            absent = weights @ self.drawn[:, place] == 0
            for table in (fps, found):
                table[absent, place] = table[absent, place - 1]
        prior = np.zeros((len(weights), 2)) if prior is None else prior
        lesions = weights @ self.lesions + prior.sum(axis=1)
        smallest = np.where(weights > 0, self.smallest, np.inf).min(axis=1)
        out = np.full((len(weights), len(rates)), np.nan)
        for row in np.flatnonzero(lesions > 0):
            sure = prior[row, 0]
            x, y = fps[row], (found[row] + sure) / lesions[row]
            if self.mode == "official":
                place = np.searchsorted(self.levels, smallest[row])
                if place < len(self.levels) and self.levels[place] == smallest[row]:
                    x, y = x[: self.ends[place]], y[: self.ends[place]]
            out[row] = np.interp(rates, np.concatenate([[0.0], x]), np.concatenate([[sure / lesions[row]], y]))
        return out


def multiplicities(slides: int, n: int, seed: int) -> np.ndarray:
    """Return how often each slide is drawn in each of ``n`` draws with replacement: (n, slides)."""
    return generator(seed, "froc bootstrap", slides).multinomial(slides, np.full(slides, 1 / slides), size=n)


def weights(slides: int, n: int, seed: int) -> np.ndarray:
    """Return the weight of each slide in each of ``n`` draws of the Bayesian bootstrap: (n, slides), mean 1."""
    return generator(seed, "froc bayes", slides).standard_exponential((n, slides))


def imagined(slides: Sequence[SlideHits], n: int, seed: int, kinds: int) -> np.ndarray:
    """Return the lesions (n, kinds) of the imagined slides: mean lesions per unit with lesions, weights 1 in sum."""
    mean = sum(len(slide.best) for slide in slides) / max(units(slides), 1)
    return mean * generator(seed, "froc prior", kinds).standard_gamma(1 / kinds, (n, kinds))


def units(slides: Sequence[SlideHits]) -> int:
    """Return the number of slides with lesions, or of their patients: the sensitivity rests on them."""
    groups = _groups(slides)
    with_lesions = [place for place, slide in enumerate(slides) if len(slide.best)]
    return len(with_lesions) if groups is None else len(set(groups[with_lesions].tolist()))


def _groups(slides: Sequence[SlideHits]) -> np.ndarray | None:
    return groups_of([slide.slide for slide in slides], {slide.slide: slide.patient for slide in slides})


def weights_of(slides: Sequence[SlideHits], n: int, seed: int) -> np.ndarray:
    """Return :func:`weights` of the slides; those of one patient have one weight."""
    groups = _groups(slides)
    return weights(len(slides), n, seed) if groups is None else weights(int(groups.max()) + 1, n, seed)[:, groups]


@dataclass
class FrocBootstrap:
    """Draws of a FROC over slides, and intervals from them.

    ``scores`` (n,); ``sens`` (n, 6) at :data:`chowder.evaluation.froc.RATES`; ``grid`` (n, len(at)) at the rates asked
    for; NaN when there is no lesion. ``estimate``: the same three of the slides themselves. ``interval``,
    ``sens_interval`` and ``band`` are percentiles of the draws.
    """

    scores: np.ndarray
    sens: np.ndarray
    grid: np.ndarray
    estimate: tuple[float, np.ndarray, np.ndarray]
    confidence: float

    def _limits(self, values: np.ndarray, estimate: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        if not np.isfinite(self.scores).all():
            nothing = np.full(values.shape[1:], np.nan)
            return nothing, nothing
        tail = (1 - self.confidence) / 2
        return holding(estimate, *np.quantile(values, [tail, 1 - tail], axis=0))

    @property
    def interval(self) -> tuple[float, float]:
        """Limits of the score."""
        low, high = self._limits(self.scores, self.estimate[0])
        return float(low), float(high)

    @property
    def sens_interval(self) -> dict[float, tuple[float, float]]:
        """Limits of the sensitivity at each rate."""
        low, high = self._limits(self.sens, self.estimate[1])
        return {rate: (float(low[i]), float(high[i])) for i, rate in enumerate(RATES)}

    @property
    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """Pointwise limits of the curve at the rates ``at``."""
        return self._limits(self.grid, self.estimate[2])


def bootstrap_froc(
    slides: Sequence[SlideHits],
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    mode: str = "official",
    at: Sequence[float] | np.ndarray = (),
) -> FrocBootstrap:
    """Return draws of the FROC with their intervals.

    Parameters
    ----------
    n, seed : number of draws, and the seed they depend on (with the number of slides; nothing else).
    at : false positive rates at which a band of the curve is wanted, beside :data:`chowder.evaluation.froc.RATES`.

    Notes
    -----
    Two matrix products give the curves of all draws. With whole numbers as weights and no imagined slides, each equals
    :func:`chowder.evaluation.froc.froc` of the slides repeated as often as drawn.
    """
    chosen = taking_part(slides, mode)
    if not (n >= 1 and 0 < confidence < 1):
        raise UserError(f"bootstrap: n={n}, confidence={confidence}: n must be at least 1, confidence between 0 and 1")
    at = np.asarray(at, dtype=np.float64)
    rates = np.concatenate([np.asarray(RATES), at])
    prior = imagined(chosen, n, seed, 2)
    values = Resampler(chosen, mode).curves(weights_of(chosen, n, seed), rates, prior)
    curve = froc(chosen, mode)
    own = np.interp(rates, curve.fps[::-1], curve.sensitivity[::-1])
    sens, grid = values[:, : len(RATES)], values[:, len(RATES) :]
    estimate = (curve.score, own[: len(RATES)], own[len(RATES) :])
    return FrocBootstrap(sens.mean(axis=1), sens, grid, estimate, confidence)


@dataclass
class Paired:
    """Difference of two methods on the same slides: ``difference`` (first less second), its interval, two-sided p.

    The interval excludes 0 exactly when ``p < 1 - confidence``.
    """

    difference: float
    low: float
    high: float
    p: float


@dataclass
class Draws:
    """One side of a paired comparison: its ``score`` and the draws of it, ``scores`` (n,).

    ``key``: what the draws depend on. Two sides can be compared when it is the same.
    """

    key: tuple
    score: float
    scores: np.ndarray


def paired_draws(
    slides: Sequence[SlideHits], n: int = 2000, seed: int = 0, mode: str = "official"
) -> tuple[Draws, Draws]:
    """Return the draws of one method as first and as second side of :func:`paired`.

    Made once per method, they serve for all of its comparisons. There are four imagined slides here (found by both, by
    the first, by the second, by neither) of weight 1/4 each, so that each side sees those of :func:`bootstrap_froc`.
    """
    chosen = taking_part(slides, mode)
    key = (tuple(slide.slide for slide in chosen), n, seed, mode)
    score, resampler = froc(chosen, mode).score, Resampler(chosen, mode)
    drawn, four = weights_of(chosen, n, seed), imagined(chosen, n, seed, 4)
    sides = []
    for side in (0, 1):
        found = four[:, 0] + four[:, 1 + side]
        prior = np.column_stack([found, four.sum(axis=1) - found])
        sides.append(Draws(key, score, resampler.curves(drawn, np.asarray(RATES), prior).mean(axis=1)))
    return sides[0], sides[1]


def paired(first: Draws, second: Draws, confidence: float = 0.95) -> Paired:
    """Compare two methods on draws that weigh the slides alike (the two sides of :func:`paired_draws`).

    The limits are order statistics, and p is the level at which the nearer limit reaches 0, so that interval and p say
    the same. A limit is -1 or 1, the end of the range, where the draws are too few for the level asked for. p of a
    difference of exactly 0 is 1.

    Raises
    ------
    UserError : the two are not about the same slides in the same order.
    """
    if first.key != second.key:
        raise UserError("a paired comparison needs the same slides in the same order for both methods")
    difference = first.score - second.score
    drawn = np.sort(first.scores - second.scores)
    if not np.isfinite(drawn).all():
        return Paired(difference, math.nan, math.nan, math.nan)
    n, level = len(drawn), 1 - confidence
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (n + 1))
    # p < level means that fewer than this many draws lie at or beyond 0
    place = math.ceil(level * (n + 1) / 2) - 1
    low, high = (float(drawn[place - 1]), float(drawn[n - place])) if place >= 1 else (-1.0, 1.0)
    if difference == 0 and low <= 0 <= high:
        p = 1.0
    return Paired(difference, low, high, p)


def paired_bootstrap(
    first: Sequence[SlideHits],
    second: Sequence[SlideHits],
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    mode: str = "official",
) -> Paired:
    """Compare two methods' FROC scores on the same slides: :func:`paired_draws` of both, then :func:`paired`."""
    sides = [paired_draws(slides, n, seed, mode) for slides in (first, second)]
    return paired(sides[0][0], sides[1][1], confidence)
