"""The Camelyon-16 lesion score: free-response ROC (FROC) of the official evaluation.

``official`` equals the published script, quirks included; ``corrected`` removes them (docs/evaluation.md compares the
two). The steps: :func:`label_lesions` (once per slide, cached by :func:`save`), :func:`hits` (once per slide and
method), :func:`froc` (once per method or subset of slides). :mod:`chowder.resampling` has intervals and tests.
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
    """Steps 1 and 2 of specification, section 6: expand by 37.5 um, fill holes, label, find isolated tumour cells.

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


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise UserError(f"FROC mode '{mode}': choose {' or '.join(MODES)}")


def taking_part(slides: Sequence[SlideHits], mode: str) -> list[SlideHits]:
    """Slides that count: without a result file only in ``corrected`` mode."""
    _check_mode(mode)
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
    """Indices of the points of a curve that a plot needs: both ends of every stretch of equal sensitivity."""
    change = np.flatnonzero(np.diff(np.nan_to_num(curve.sensitivity)))
    return np.unique(np.concatenate([[0], change, change + 1, [len(curve.fps) - 1]]))


def subset(slides: Sequence[SlideHits], names: Sequence[str] | set[str]) -> list[SlideHits]:
    """The slides with these names, in their order."""
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


def with_slide(hit: SlideHits, slide: str) -> SlideHits:
    """The same hits under another slide name (resampling by hand, tests)."""
    return dataclasses.replace(hit, slide=slide)
