"""The Camelyon-16 lesion score: free-response ROC (FROC) of the official evaluation.

``official`` equals the published script, quirks included; ``corrected`` removes them (docs/evaluation.md compares the
two). The steps: ``lesions.label_lesions`` (once per slide, cached by ``lesions.save``), :func:`hits` (once per slide
and method), :func:`froc` (once per method or subset of slides). :mod:`chowder.evaluation.resampling` has intervals and
tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chowder.evaluation.lesions import Lesions, check_mode
from chowder.files import UserError

RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


# ---------------------------------------------------------------------------------------------------- hits


@dataclass
class SlideHits:
    """What one slide's detections hit.

    ``false_positives``: their scores. ``labels``: the labels that count as lesions; ``best``: for each the highest
    score of its detections, -inf when none hit it. ``itc``: number of labels that are isolated tumour cells.
    ``submitted``: whether there was a result file for the slide. ``detections``: how many it held. ``patient``:
    empty where each slide is of another one.
    """

    slide: str
    false_positives: np.ndarray
    labels: np.ndarray
    best: np.ndarray
    itc: int = 0
    submitted: bool = True
    detections: int = 0
    patient: str = ""


def hits(lesions: Lesions | None, detections: np.ndarray | None, slide: str = "", mode: str = "official") -> SlideHits:
    """Step 3 of specification, section 6: sort one slide's detections into false positives and hits.

    Parameters
    ----------
    lesions : the slide's lesions; None for a normal slide (every detection is a false positive).
    detections : (n, 3) score, x, y, level-0 pixels; (0, 3) for none; None when the slide has no result file.
    mode : ``corrected`` treats filled holes as background.

    Raises
    ------
    UserError : wrong shape, a score that is not finite, coordinates outside the slide.
    """
    check_mode(mode)
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
    without lesions. ``slides``, ``lesions``, ``itc``, ``detections``: how many took part. ``mode``: how it was made.
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
    mode: str = "official"


def taking_part(slides: Sequence[SlideHits], mode: str) -> list[SlideHits]:
    """Slides that count: without a result file only in ``corrected`` mode."""
    check_mode(mode)
    chosen = [slide for slide in slides if slide.submitted or mode == "corrected"]
    if not chosen:
        raise UserError("no slide with a result file: nothing to compute a FROC from")
    return chosen


def as_single(values: np.ndarray) -> np.ndarray:
    """Values rounded to single precision, as float64; too large ones become infinite, as in the published script."""
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float64).astype(np.float32).astype(np.float64)


def lesion_scores(slide: SlideHits, mode: str) -> np.ndarray:
    """Lesion scores as they enter the curve, float64.

    ``official``: in single precision; misses, and every label of isolated tumour cells, are a score of 0.
    ``corrected``: as they are, without misses.
    """
    if mode == "corrected":
        return slide.best[np.isfinite(slide.best)]
    return np.concatenate([as_single(np.maximum(slide.best, 0.0)), np.zeros(slide.itc)])


def froc(slides: Sequence[SlideHits], mode: str = "official") -> Froc:
    """Return the FROC curve and its score, as the challenge defined them (docs/evaluation.md).

    Parameters
    ----------
    slides : any subset of slides (all, those of a centre, ...), hits made in the same ``mode``.
    mode : ``official`` equals the script of 2016 on any input: it drops the smallest score, lets misses and ITC labels
        contribute a score of 0, leaves out slides without result file, keeps lesion scores in single and false
        positives in double precision, and rounds a threshold to single precision before it is compared with a lesion.
        ``corrected`` keeps every score in double precision, and counts these slides and their lesions.

    Raises
    ------
    UserError : no slide, an unknown mode.
    """
    chosen = taking_part(slides, mode)
    false_positives = np.sort(np.concatenate([slide.false_positives for slide in chosen]))
    lesions = np.sort(np.concatenate([lesion_scores(slide, mode) for slide in chosen]))
    thresholds = np.unique(np.concatenate([false_positives, lesions]))
    if mode == "official":
        thresholds = thresholds[1:]
    cut = as_single(thresholds) if mode == "official" else thresholds
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
        mode=mode,
    )


def corners(curve: Froc) -> np.ndarray:
    """Return indices of the points of a curve that a plot needs: both ends of every stretch of equal sensitivity."""
    change = np.flatnonzero(np.diff(np.nan_to_num(curve.sensitivity)))
    return np.unique(np.concatenate([[0], change, change + 1, [len(curve.fps) - 1]]))


def subset(slides: Sequence[SlideHits], names: Sequence[str] | set[str]) -> list[SlideHits]:
    """Return the slides with these names, in their order."""
    wanted = set(names)
    return [slide for slide in slides if slide.slide in wanted]


def found_at(curve: Froc, score: float) -> float:
    """Return the false positives per slide at the highest threshold that finds a lesion of this ``score``.

    NaN when no detection hit the lesion (``score`` not finite), or the curve ends above it (``official`` drops the
    smallest score). The comparison is that of the curve's mode.
    """
    if not math.isfinite(score):
        return math.nan
    thresholds = curve.thresholds[:-1]
    if curve.mode == "official":
        thresholds, score = as_single(thresholds), float(as_single(max(score, 0.0)))
    place = np.searchsorted(thresholds, score, side="right") - 1
    return float(curve.fps[place]) if place >= 0 else math.nan
