"""What the slides were like that a model was trained on, and whether another slide is like them.

The criteria are in docs/decisions/predict.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

QUANTILES = {"min": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}
TILES_FACTOR = 2.0  # fewer than half the least, more than twice the most tiles
MPP_MARGIN = 0.02  # um/px, relative
STAIN_WIDENED, STAIN_LEAST = 0.25, 0.1  # of the range; of the range's middle, where slides are few or alike


def summary(slides: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a bundle says of the training slides: no name, only counts and quantiles.

    ``slides``: for each ``label`` (0 or 1), ``class``, ``tiles``, ``mpp`` and ``mpp_read`` (um/px of level 0 and of the
    level that tiles are read from), ``stain`` (:func:`chowder.slides.stain.statistics`; empty without tissue).
    """
    labels = [slide["label"] for slide in slides]
    classes = [slide.get("class") or "" for slide in slides]
    stained = [slide["stain"] for slide in slides if slide["stain"]]
    return {
        "slides": len(slides),
        "normal": labels.count(0),
        "tumour": labels.count(1),
        "classes": {name: classes.count(name) for name in sorted(set(classes)) if name},
        "tiles": _quantiles([slide["tiles"] for slide in slides]),
        "mpp": _quantiles([slide["mpp"] for slide in slides]),
        "mpp_read": _quantiles([slide["mpp_read"] for slide in slides]),
        "stain": {key: _quantiles([stain[key] for stain in stained]) for key in (stained[0] if stained else ())},
    }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    return {key: round(float(np.quantile(values, share)), 6) for key, share in QUANTILES.items()}


def outside(cohort: Mapping[str, Any], tiles: int, mpp: float, stain: Mapping[str, float]) -> list[str]:
    """Say in which ways a slide is not like the training slides; empty when it is like them.

    ``cohort``: of :func:`summary`. ``tiles``, ``mpp`` (um/px of level 0) and ``stain`` of the slide. A number counts as
    outside when it is beyond the training slides' range, widened: tiles by a factor of 2, um/px by 2 %, stain by a
    quarter of the range and at least a tenth of its middle.
    """
    found = []
    low, high = cohort["tiles"]["min"], cohort["tiles"]["max"]
    if not low / TILES_FACTOR <= tiles <= high * TILES_FACTOR:
        found.append(f"{tiles} tiles (training slides: {low:.0f} to {high:.0f})")
    low, high = cohort["mpp"]["min"], cohort["mpp"]["max"]
    if not low * (1 - MPP_MARGIN) <= mpp <= high * (1 + MPP_MARGIN):
        found.append(f"{mpp:.4g} um/px (training slides: {_range(low, high, '.4g')})")
    if cohort["stain"] and not stain:
        found.append("no tissue found")
    for key, known in cohort["stain"].items():
        low, high = known["min"], known["max"]
        wider = max(STAIN_WIDENED * (high - low), STAIN_LEAST * abs(low + high) / 2)
        if key in stain and not low - wider <= stain[key] <= high + wider:
            found.append(f"{key.replace('_', ' ')} {stain[key]:.3f} (training slides: {_range(low, high, '.3f')})")
    return found


def _range(low: float, high: float, form: str) -> str:
    return " to ".join(dict.fromkeys((format(low, form), format(high, form))))
