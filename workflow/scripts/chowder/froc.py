"""The Camelyon-16 lesion score: free-response ROC (FROC), as SPEC section 6 describes the official evaluation.

``official`` keeps the published algorithm with its quirks, ``corrected`` mends them; docs/evaluation.md compares the
two. The steps: :func:`label_lesions` (once a slide, cached by :func:`save`), :func:`hits` (once a slide and method),
:func:`froc` (once a method or subset of slides), :func:`bootstrap_froc` and :func:`paired_bootstrap`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from chowder.files import UserError, atomic
from chowder.metrics import expanded_tail
from chowder.seeds import generator

MPP = 0.243
DOWNSAMPLE = 32
RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
MODES = ("official", "corrected")
_ITC_UM = 275.0


# ---------------------------------------------------------------------------------------------------- lesions


@dataclass
class Lesions:
    """The lesions of one slide on the evaluation grid (one pixel = ``downsample`` level-0 pixels).

    ``shape``: (rows, columns) of the whole grid. ``crop``: int32 labels 1..n of the part that holds lesions, its first
    pixel at ``offset`` (row, column). ``holes``: bool like ``crop``, pixels that only hole filling gave a label.
    ``itc``: labels too small to count (isolated tumour cells). ``table``: a dict a label with label, area_mm2,
    major_axis_um, itc. ``warnings``: what was noted while the annotation was read.
    """

    shape: tuple[int, int]
    crop: np.ndarray
    offset: tuple[int, int]
    holes: np.ndarray
    itc: list[int]
    table: list[dict]
    mpp: float = MPP
    downsample: int = DOWNSAMPLE
    warnings: list[str] = field(default_factory=list)

    @property
    def labels(self) -> np.ndarray:
        """int32 label image of the whole grid, holes filled as in ``official`` mode."""
        image = np.zeros(self.shape, dtype=np.int32)
        (row, column), (height, width) = self.offset, self.crop.shape
        image[row : row + height, column : column + width] = self.crop
        return image

    @property
    def counted(self) -> np.ndarray:
        """Labels that count as lesions, ascending."""
        return np.setdiff1d(np.arange(1, len(self.table) + 1), self.itc)


def label_lesions(mask: np.ndarray, mpp: float = MPP, downsample: int = DOWNSAMPLE, mode: str = "official") -> Lesions:
    """Steps 1 and 2 of SPEC section 6: expand by 37.5 um, fill holes, label, find isolated tumour cells.

    Parameters
    ----------
    mask : (rows, columns), true where a pixel is tumour (any number but 0: 1 and 255 mean the same).
    mpp : um per level-0 pixel; the official evaluation takes 0.243 for both scanners.
    mode : ``corrected`` gives no label to filled holes (more than 37.5 um from any annotated tumour). Lesions and
        isolated tumour cells are the same in both modes, and :func:`hits` can do either from an ``official`` result.
    """
    from skimage import measure

    _check_mode(mode)
    if not (np.isfinite(mpp) and mpp > 0 and downsample > 0):
        raise UserError(f"mpp {mpp} with downsample {downsample}: both must be above 0")
    mask = np.asarray(mask) != 0
    if mask.ndim != 2:
        raise UserError(f"a tumour mask has 2 dimensions, this one has {mask.ndim}")
    pixel = mpp * downsample
    if not mask.any():
        empty = np.zeros((0, 0), dtype=np.int32)
        return Lesions(mask.shape, empty, (0, 0), empty.astype(bool), [], [], mpp, downsample)
    region, offset = _expanded(mask, 75 / (pixel * 2))
    filled = _fill_holes(region)
    labels = measure.label(filled, connectivity=2).astype(np.int32)
    table, itc = [], []
    for properties in measure.regionprops(labels):
        axis = float(properties.axis_major_length)
        small = axis < _ITC_UM / pixel
        if small:
            itc.append(int(properties.label))
        area = float(properties.num_pixels) * (pixel / 1000) ** 2
        row = {"label": int(properties.label), "area_mm2": area, "major_axis_um": axis * pixel, "itc": int(small)}
        table.append(row)
    holes = filled & ~region
    if mode == "corrected":
        labels[holes] = 0
    return Lesions(mask.shape, labels, offset, holes, itc, table, mpp, downsample)


def _expanded(mask: np.ndarray, radius: float) -> tuple[np.ndarray, tuple[int, int]]:
    """Pixels nearer than ``radius`` (Euclid, strictly) to a pixel of ``mask``, cropped to them with a rim of one.

    The nearest mask pixel of a pixel outside always touches the outside, so only the rim of the mask is expanded:
    the distance of all pixels of a slide (20 million) is never needed. Equal to the distance transform, exactly.
    """
    reach = max(math.ceil(radius), 0) + 1
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = max(rows[0] - reach, 0), min(rows[-1] + reach + 1, mask.shape[0])
    left, right = max(columns[0] - reach, 0), min(columns[-1] + reach + 1, mask.shape[1])
    padded = np.pad(mask[top:bottom, left:right], reach)
    inner = padded.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            inner &= np.roll(padded, step, axis=axis)
    rim = np.flatnonzero(padded & ~inner)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    near = np.sqrt((dx * dx + dy * dy).astype(np.float64)) < radius
    region = padded.copy()
    flat = region.reshape(-1)
    for step in (dy[near] * padded.shape[1] + dx[near]).tolist():
        flat[rim + step] = True
    # back to the slide: what fell outside it is cut off, a rim of one is kept where the slide has it
    return region[reach : reach + bottom - top, reach : reach + right - left], (int(top), int(left))


def _fill_holes(region: np.ndarray) -> np.ndarray:
    """Equal to scipy.ndimage.binary_fill_holes, by labels instead of its repeated dilation."""
    from scipy import ndimage

    outside, _ = ndimage.label(~region)
    edge = np.concatenate([outside[0], outside[-1], outside[:, 0], outside[:, -1]])
    return ~np.isin(outside, edge[edge > 0])


def save(path: str | os.PathLike, lesions: Lesions) -> None:
    """Write a :class:`Lesions` as compressed npz (no pickle)."""
    table = np.array(
        [(row["label"], row["area_mm2"], row["major_axis_um"], row["itc"]) for row in lesions.table], dtype=np.float64
    ).reshape(-1, 4)
    with atomic(path) as scratch, open(scratch, "wb") as handle:
        np.savez_compressed(
            handle,
            shape=np.array(lesions.shape),
            crop=lesions.crop,
            offset=np.array(lesions.offset),
            holes=np.packbits(lesions.holes),
            itc=np.array(lesions.itc, dtype=np.int32),
            table=table,
            scale=np.array([lesions.mpp, lesions.downsample]),
            warnings=np.array(lesions.warnings, dtype=np.str_),
        )


def load(path: str | os.PathLike) -> Lesions:
    """Read what :func:`save` wrote."""
    try:
        with np.load(path, allow_pickle=False) as data:
            crop = data["crop"]
            holes = np.unpackbits(data["holes"], count=crop.size).astype(bool).reshape(crop.shape)
            keys = ("label", "area_mm2", "major_axis_um", "itc")
            rows = [dict(zip(keys, row, strict=True)) for row in data["table"].tolist()]
            table = [row | {"label": int(row["label"]), "itc": int(row["itc"])} for row in rows]
            shape, offset = (tuple(int(value) for value in data[key]) for key in ("shape", "offset"))
            mpp, downsample = data["scale"].tolist()
            warnings = data["warnings"].tolist()
            return Lesions(shape, crop, offset, holes, data["itc"].tolist(), table, mpp, int(downsample), warnings)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: make it with lesions.py") from None
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise UserError(f"{path}: not a lesion file ({error}): make it again with lesions.py") from None


# ---------------------------------------------------------------------------------------------------- hits


@dataclass
class SlideHits:
    """What one slide's detections hit.

    ``false_positives``: their scores. ``labels``: the labels that count as lesions; ``best``: for each the highest
    score of its detections, -inf when none hit it. ``itc``: number of labels that are isolated tumour cells.
    ``submitted``: whether there was a result file for the slide. ``detections``: how many it held.
    """

    slide: str
    false_positives: np.ndarray
    labels: np.ndarray
    best: np.ndarray
    itc: int = 0
    submitted: bool = True
    detections: int = 0


def hits(lesions: Lesions | None, detections: np.ndarray | None, slide: str = "", mode: str = "official") -> SlideHits:
    """Step 3 of SPEC section 6: sort one slide's detections into false positives and hits.

    Parameters
    ----------
    lesions : the slide's lesions; None for a normal slide (every detection is a false positive).
    detections : (n, 3) score, x, y, level-0 pixels; (0, 3) for none; None when the slide has no result file.
    mode : ``corrected`` treats filled holes as background.

    Raises
    ------
    UserError : wrong shape, a score that is not finite, coordinates outside the slide.
    """
    _check_mode(mode)
    table = np.zeros((0, 3)) if detections is None else np.asarray(detections, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != 3:
        raise UserError(f"slide {slide}: detections have the shape {table.shape}, not (n, 3): score, x, y")
    if not np.isfinite(table).all() or (table[:, 1:] < 0).any():
        raise UserError(f"slide {slide}: a detection has a score or coordinate that is NaN, infinite or negative")
    score = table[:, 0]
    submitted = detections is not None
    if lesions is None:
        none = np.zeros(0)
        return SlideHits(slide, score.copy(), none.astype(np.int64), none, 0, submitted, len(table))
    found = _labels_at(lesions, table, slide, mode)
    best = np.full(len(lesions.table) + 1, -np.inf)
    np.maximum.at(best, found, score)
    counted = lesions.counted
    return SlideHits(slide, score[found == 0], counted, best[counted], len(lesions.itc), submitted, len(table))


def _labels_at(lesions: Lesions, table: np.ndarray, slide: str, mode: str) -> np.ndarray:
    """Label under each detection; 0 where there is none."""
    # the script's own order: divide as floats, then cut the fraction off
    column, row = (table[:, axis] / lesions.downsample for axis in (1, 2))
    outside = (row >= lesions.shape[0]) | (column >= lesions.shape[1])
    if outside.any():
        x, y = table[np.flatnonzero(outside)[0], 1:]
        height, width = (size * lesions.downsample for size in lesions.shape)
        raise UserError(
            f"slide {slide}: a detection at x={x:g}, y={y:g} lies outside the slide ({width} x {height}): "
            "coordinates must be level-0 pixels, x before y"
        )
    row = row.astype(np.int64) - lesions.offset[0]
    column = column.astype(np.int64) - lesions.offset[1]
    height, width = lesions.crop.shape
    inside = np.flatnonzero((row >= 0) & (column >= 0) & (row < height) & (column < width))
    labels = np.zeros(len(table), dtype=np.int64)
    row, column = row[inside], column[inside]
    labels[inside] = lesions.crop[row, column]
    if mode == "corrected":
        labels[inside[lesions.holes[row, column]]] = 0
    return labels


# ---------------------------------------------------------------------------------------------------- the curve


@dataclass
class Froc:
    """A FROC curve and its score.

    ``thresholds`` ascend and end with inf; ``fps`` (false positives a slide) and ``sensitivity`` belong to them, so
    that both end with 0. ``sens_at``: sensitivity by false positive rate (:data:`RATES`). ``score``: their mean; NaN
    without lesions. ``slides``, ``lesions``, ``itc``, ``detections``: how many took part.
    """

    fps: np.ndarray
    sensitivity: np.ndarray
    thresholds: np.ndarray
    score: float
    sens_at: dict[float, float]
    slides: int
    lesions: int
    itc: int
    detections: int


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise UserError(f"FROC mode '{mode}': choose {' or '.join(MODES)}")


def _taking_part(slides: Sequence[SlideHits], mode: str) -> list[SlideHits]:
    """Slides that count: without a result file only in ``corrected`` mode."""
    _check_mode(mode)
    chosen = [slide for slide in slides if slide.submitted or mode == "corrected"]
    if not chosen:
        raise UserError("no slide with a result file: nothing to compute a FROC from")
    return chosen


def _lesion_scores(slide: SlideHits, mode: str) -> np.ndarray:
    """Lesion scores as they enter step 4: ``official`` counts misses, and every ITC label, as a score of 0."""
    if mode == "corrected":
        return slide.best[np.isfinite(slide.best)]
    return np.concatenate([np.maximum(slide.best, 0.0), np.zeros(slide.itc)])


def froc(slides: Sequence[SlideHits], mode: str = "official", single_precision: bool = False) -> Froc:
    """Steps 4 and 5 of SPEC section 6.

    Parameters
    ----------
    slides : any subset of slides (all, those of a centre, ...), hits made in the same ``mode``.
    mode : ``official`` drops the smallest score, lets misses and ITC labels contribute a score of 0, and leaves out
        slides without result file. ``corrected`` keeps every score, and counts these slides and their lesions.
    single_precision : only with ``official``: keep lesion scores in single precision, as the published script does.
        It matters only where a lesion and a false positive have the same score and that is no binary fraction.

    Raises
    ------
    UserError : no slide, an unknown mode.
    """
    chosen = _taking_part(slides, mode)
    false_positives = np.sort(np.concatenate([slide.false_positives for slide in chosen]))
    lesions = np.sort(np.concatenate([_lesion_scores(slide, mode) for slide in chosen]))
    single = single_precision and mode == "official"
    if single:
        lesions = lesions.astype(np.float32)
    thresholds = np.unique(np.concatenate([false_positives, lesions.astype(np.float64)]))
    if mode == "official":
        thresholds = thresholds[1:]
    # float32 lesions are compared with thresholds rounded likewise (numpy's casting rule when the script was written)
    with np.errstate(over="ignore"):
        cut = thresholds.astype(np.float32) if single else thresholds
    fp = np.append(len(false_positives) - np.searchsorted(false_positives, thresholds, side="left"), 0)
    tp = np.append(len(lesions) - np.searchsorted(lesions, cut, side="left"), 0)
    total = sum(len(slide.best) for slide in chosen)
    fps = fp / float(len(chosen))
    sensitivity = tp / float(total) if total else np.full(len(tp), np.nan)
    values = np.interp(RATES, fps[::-1], sensitivity[::-1])
    return Froc(
        fps=fps,
        sensitivity=sensitivity,
        thresholds=np.append(thresholds, np.inf),
        score=float(np.mean(values)),
        sens_at=dict(zip(RATES, values.tolist(), strict=True)),
        slides=len(chosen),
        lesions=total,
        itc=sum(slide.itc for slide in chosen),
        detections=sum(slide.detections for slide in chosen),
    )


def corners(curve: Froc) -> np.ndarray:
    """Indices of the points of a curve that a plot needs: both ends of every stretch of equal sensitivity."""
    change = np.flatnonzero(np.diff(np.nan_to_num(curve.sensitivity)))
    return np.unique(np.concatenate([[0], change, change + 1, [len(curve.fps) - 1]]))


# ---------------------------------------------------------------------------------------------------- intervals


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


class _Resampler:
    """The curve of any resample of slides from two small matrix products.

    Between two neighbouring lesion scores the sensitivity stays the same however slides are weighted, so that a curve
    is given by its points just above and at every distinct lesion score, and its end. False positives are counted once
    per slide and stretch; a resample is then its multiplicities (n, slides) times these counts.
    """

    def __init__(self, slides: Sequence[SlideHits], mode: str):
        self.mode = mode
        scores = [_lesion_scores(slide, mode) for slide in slides]
        self.levels = np.unique(np.concatenate(scores))[::-1]  # descending
        steps = 2 * len(self.levels) + 1
        self.fp = np.zeros((len(slides), steps))
        self.tp = np.zeros((len(slides), steps))
        self.lesions = np.array([len(slide.best) for slide in slides], dtype=np.float64)
        self.smallest = np.full(len(slides), np.inf)
        for index, (slide, lesion) in enumerate(zip(slides, scores, strict=True)):
            for table, values in ((self.fp, np.sort(slide.false_positives)), (self.tp, np.sort(lesion))):
                table[index, 0:-1:2] = len(values) - np.searchsorted(values, self.levels, side="right")
                table[index, 1::2] = len(values) - np.searchsorted(values, self.levels, side="left")
                table[index, -1] = len(values)
                if len(values):
                    self.smallest[index] = min(self.smallest[index], values[0])

    def curves(self, weights: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Sensitivity (n, len(rates)) of the resamples with ``weights`` (n, slides); NaN without a lesion."""
        weights = weights.astype(np.float64)  # counts stay exact, and the product is a fast one
        number = weights.sum(axis=1)
        fps = (weights @ self.fp) / number[:, None]
        found = weights @ self.tp
        lesions = weights @ self.lesions
        smallest = np.where(weights > 0, self.smallest, np.inf).min(axis=1)
        out = np.full((len(weights), len(rates)), np.nan)
        ascending = self.levels[::-1]
        for row in np.flatnonzero(lesions > 0):
            x, y = fps[row], found[row] / lesions[row]
            if self.mode == "official":
                # the smallest score of the resample is dropped: when it is a lesion's, the curve ends just above it
                place = np.searchsorted(ascending, smallest[row])
                if place < len(ascending) and ascending[place] == smallest[row]:
                    end = 2 * (len(ascending) - 1 - place) + 1
                    x, y = x[:end], y[:end]
            out[row] = np.interp(rates, np.concatenate([[0.0], x]), np.concatenate([[0.0], y]))
        return out


def _multiplicities(slides: int, n: int, seed: int) -> np.ndarray:
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
    chosen = _taking_part(slides, mode)
    if not (n >= 1 and 0 < confidence < 1):
        raise UserError(f"bootstrap: n={n}, confidence={confidence}: n must be at least 1, confidence between 0 and 1")
    rates = np.concatenate([np.asarray(RATES), np.asarray(at, dtype=np.float64)])
    values = _Resampler(chosen, mode).curves(_multiplicities(len(chosen), n, seed), rates)
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
    first, second = _taking_part(first, mode), _taking_part(second, mode)
    if [slide.slide for slide in first] != [slide.slide for slide in second]:
        raise UserError("a paired comparison needs the same slides in the same order for both methods")
    weights = _multiplicities(len(first), n, seed)
    rates = np.asarray(RATES)
    a, b = (_Resampler(side, mode).curves(weights, rates).mean(axis=1) for side in (first, second))
    difference = froc(first, mode).score - froc(second, mode).score
    resampled = (a - b)[np.isfinite(a - b)]
    if not len(resampled):
        return Paired(difference, math.nan, math.nan, math.nan)
    tail = expanded_tail(confidence, _units(first))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    side = min((resampled <= 0).sum(), (resampled >= 0).sum())
    return Paired(difference, float(low), float(high), float(min(1.0, 2 * (side + 1) / (len(resampled) + 1))))


def subset(slides: Sequence[SlideHits], names: Sequence[str] | set[str]) -> list[SlideHits]:
    """The slides with these names, in their order."""
    wanted = set(names)
    return [slide for slide in slides if slide.slide in wanted]


def found_at(curve: Froc, score: float) -> float:
    """False positives a slide at the highest threshold that still finds a lesion of this ``score``; NaN if missed."""
    if not math.isfinite(score):
        return math.nan
    place = np.searchsorted(curve.thresholds, score, side="right") - 1
    return float(curve.fps[place]) if place >= 0 else math.nan


def with_slide(hit: SlideHits, slide: str) -> SlideHits:
    """The same hits under another slide name (resampling by hand, tests)."""
    return dataclasses.replace(hit, slide=slide)
