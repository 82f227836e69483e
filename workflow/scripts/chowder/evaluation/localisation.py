"""From tile scores to detections: tile centres, smoothing, non-maximum suppression."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from chowder.files import UserError


def detections(
    scores: np.ndarray,
    xy: np.ndarray,
    grid: Mapping,
    smoothing_um: float = 0.0,
    nms_um: float = 0.0,
    confidence: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a slide's detections: scores (n,) float64, and the tiles' centres (n, 2) int64 in level-0 pixels.

    Parameters
    ----------
    scores : (n,) any real numbers, higher means tumour.
    xy : (n, 2) upper left corners of the tiles in level-0 pixels.
    grid : the record of the tiles (metadata of tiles/<slide>.parquet): ``extent``, the edge of a tile in level-0
        pixels, and ``mpp0``, um per level-0 pixel (needed only for smoothing or suppression).
    smoothing_um, nms_um : sigma of the smoothing and radius of the suppression; 0 is off (the paper's row;
        specification, section 3).
    confidence : pass the scores through :func:`confidence_of`, as the challenge's format and the official FROC
        expect scores in (0, 1); the order does not change.
    """
    xy, scores = _checked(xy, scores)
    extent = float(grid.get("extent", 0))
    mpp = float(grid.get("mpp0") or 0)
    if not (math.isfinite(extent) and extent > 0):
        raise UserError(f"tile record: extent is {grid.get('extent')}: lay the tiles again")
    for name, value in (("smoothing_um", smoothing_um), ("nms_um", nms_um)):
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"localisation.{name} is {value}: give um, 0 for off")
        if value > 0 and not (math.isfinite(mpp) and mpp > 0):
            raise UserError(
                f"tile record: mpp0 is {grid.get('mpp0')}, but localisation.{name} needs it: lay tiles again"
            )
    if smoothing_um > 0 and len(xy):
        scores = smooth(scores, *grid_of(xy, extent), smoothing_um / (mpp * extent))
    if confidence:
        scores = confidence_of(scores)
    centres = np.floor(xy + extent / 2).astype(np.int64)
    if nms_um > 0:
        kept = non_maximum_suppression(centres, scores, nms_um / mpp)
        return scores[kept], centres[kept]
    return scores, centres


def confidence_of(scores: np.ndarray) -> np.ndarray:
    """Map any scores into (0, 1), 0 to 1/2, strictly rising: (1 + s / (1 + |s|)) / 2.

    A logistic function would make all scores above 37 equal; this one keeps neighbours apart far beyond.
    """
    scores = np.asarray(scores, dtype=np.float64)
    return (1 + scores / (1 + np.abs(scores))) / 2


def _checked(xy: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    xy, scores = np.asarray(xy, dtype=np.float64).reshape(-1, 2), np.asarray(scores, dtype=np.float64)
    if scores.shape != (len(xy),):
        raise UserError(f"{len(xy)} tiles with scores of shape {scores.shape}: give one score a tile")
    if not np.isfinite(scores).all():
        raise UserError(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} tile scores are NaN or infinite")
    if not np.isfinite(xy).all():
        raise UserError("a tile position is NaN or infinite")
    return xy, scores


def grid_of(xy: np.ndarray, extent: float) -> tuple[np.ndarray, np.ndarray]:
    """Column and row (int64) of tiles on the fixed grid, from their upper left corners."""
    xy = np.asarray(xy, dtype=np.float64)
    columns, rows = (
        np.rint((xy - xy.min(axis=0)) / extent).astype(np.int64).T if len(xy) else np.zeros((2, 0), np.int64)
    )
    return columns, rows


def smooth(scores: np.ndarray, columns: np.ndarray, rows: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of the scores of the tissue tiles around each tile (n,).

    ``sigma`` in tiles, cut off at 4 sigma. Positions without a tile have no part in the mean, so that scores at the
    edge of the tissue are not drawn towards 0.
    """
    from scipy.ndimage import gaussian_filter

    scores = np.asarray(scores, dtype=np.float64)
    if not sigma > 0 or not len(scores):
        return scores.copy()
    columns, rows = np.asarray(columns) - np.min(columns), np.asarray(rows) - np.min(rows)
    values = np.zeros((rows.max() + 1, columns.max() + 1))
    weight = np.zeros_like(values)
    np.add.at(values, (rows, columns), scores)
    np.add.at(weight, (rows, columns), 1.0)
    values, weight = (gaussian_filter(grid, sigma, mode="constant", truncate=4.0) for grid in (values, weight))
    return values[rows, columns] / weight[rows, columns]


def non_maximum_suppression(xy: np.ndarray, scores: np.ndarray, radius_px: float) -> np.ndarray:
    """Return indices of the detections kept, best first.

    The best remaining detection is kept and all others at most ``radius_px`` from it are dropped, until none remains.
    Equal scores are taken in the order given.
    """
    from scipy.spatial import KDTree

    xy, scores = _checked(xy, scores)
    order = np.argsort(-scores, kind="stable")
    if not radius_px > 0 or not len(order):
        return order
    tree = KDTree(xy)
    alive = np.ones(len(order), dtype=bool)
    kept = []
    for index in order.tolist():
        if alive[index]:
            kept.append(index)
            alive[tree.query_ball_point(xy[index], radius_px)] = False
    return np.array(kept, dtype=np.int64)
