"""Sensitivity for lesions by their size, at fixed numbers of false positives per slide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from chowder.evaluation.froc import RATES
from chowder.evaluation.patients import shares
from chowder.evaluation.roc import holding
from chowder.files import UserError

#: Lower ends of the bins, um of the major axis. Lesions begin at 275 um (smaller ones are isolated tumour cells);
#: 2 mm is where a macrometastasis begins.
EDGES = (0.0, 500.0, 1000.0, 2000.0)
COLUMNS = ("fps", "from_um", "to_um", "lesions", "slides", "found", "sensitivity", "low", "high")


def by_size(
    rows: Sequence[Mapping[str, str]],
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    where: str = "lesions.csv",
    patients: Mapping[str, str] = MappingProxyType({}),
) -> list[dict[str, float]]:
    """Return the sensitivity in each bin of the major axis at each rate of :data:`chowder.evaluation.froc.RATES`.

    Parameters
    ----------
    rows : the lesion table of a method (cells as text): slide, major_axis_um, itc, found_at_fps (empty: not found).
    n, seed : draws of a Bayesian bootstrap over slides with two imagined slides, one with all its lesions found and one
        with none, as for the FROC (:mod:`chowder.evaluation.resampling`). Thresholds stay as they are.
    where : names the table in errors.
    patients : patient by slide, for slides of which a patient has several; then patients are drawn.

    A lesion counts as found when it is found at a threshold with at most that many false positives per slide; the FROC
    score interpolates between thresholds, so the two differ a little. Bins without lesions have no row.

    Raises
    ------
    UserError : a column is missing or a cell is no number.
    """
    slides, axes, found_at = _columns(rows, where)
    # what is drawn: the patient where one is known, else the slide
    units = [f"patient {patients[slide]}" if patients.get(slide) else f"slide {slide}" for slide in slides]
    place = np.searchsorted(EDGES, axes, side="right") - 1
    result = []
    for rate in RATES:
        for number, low in enumerate(EDGES):
            inside = place == number
            if not inside.any():
                continue
            names = sorted({unit for unit, mine in zip(units, inside, strict=True) if mine})
            at = np.array([names.index(unit) for unit, mine in zip(units, inside, strict=True) if mine])
            slides_here = len({slide for slide, mine in zip(slides, inside, strict=True) if mine})
            found = found_at[inside] <= rate
            total = np.bincount(at, minlength=len(names)).astype(float)
            hit = np.bincount(at, weights=found, minlength=len(names))
            estimate = hit.sum() / total.sum()
            limits = _interval(hit, total, estimate, n, seed, confidence)
            high = EDGES[number + 1] if number + 1 < len(EDGES) else math.nan
            cells = (rate, low, high, int(total.sum()), slides_here, int(hit.sum()), float(estimate), *limits)
            result.append(dict(zip(COLUMNS, cells, strict=True)))
    return result


def size_name(low: float, high: float) -> str:
    """Return a bin of lesion sizes in words: ``< 0.5 mm``, ``0.5–1 mm``, ``≥ 2 mm``."""
    if not low:
        return f"< {high / 1000:g} mm"
    return f"≥ {low / 1000:g} mm" if math.isnan(high) else f"{low / 1000:g}–{high / 1000:g} mm"


def _columns(rows: Sequence[Mapping[str, str]], where: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return slide, major axis and the false positives per slide at which each lesion that counts is found."""
    slides, axes, found_at = [], [], []
    for line, row in enumerate(rows, start=2):
        try:
            if float(row["itc"]):
                continue
            axes.append(float(row["major_axis_um"]))
            found_at.append(float(row["found_at_fps"]) if row["found_at_fps"] else math.inf)
        except KeyError as key:
            raise UserError(f"{where}: no column {key}: make it again with its rule") from None
        except ValueError as error:
            raise UserError(f"{where}, line {line}: {error}: make it again with its rule") from None
        slides.append(row["slide"])
    return slides, np.array(axes), np.array(found_at)


def _interval(
    hit: np.ndarray, total: np.ndarray, estimate: float, n: int, seed: int, confidence: float
) -> tuple[float, float]:
    """Limits of a share of lesions that are clustered in slides."""
    values = shares(hit, total, n, seed, "lesion sizes")
    tail = (1 - confidence) / 2
    low, high = holding(estimate, *np.quantile(values, [tail, 1 - tail]))
    return float(low), float(high)
