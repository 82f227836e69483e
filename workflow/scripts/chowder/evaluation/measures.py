"""The second report of a method: what a slide's probability is worth in use, and sensitivity by lesion size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import numpy as np

from chowder.evaluation import operating
from chowder.evaluation.patients import groups_of
from chowder.evaluation.reports import Settings

RELIABILITY_COLUMNS = ("from", "to", "slides", "predicted", "observed", "low", "high")
Predictions = Mapping[str, tuple[int, float]]


def _arrays(rows: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores in the order of the slides' names, so that draws do not depend on a file's order."""
    ordered = [rows[slide] for slide in sorted(rows)]
    return np.array([label for label, _ in ordered], dtype=int), np.array([score for _, score in ordered], dtype=float)


def _both(rows: Predictions) -> bool:
    return len({label for label, _ in rows.values()}) == 2


def measures(
    predictions: Mapping[str, Predictions], settings: Settings, patients: Mapping[str, str] = MappingProxyType({})
) -> tuple[dict[str, Any], list[dict]]:
    """Return the content of measures.json and the rows of reliability.csv.

    Parameters
    ----------
    predictions : (label, probability) by slide, by split (``competition``, ``cv1``, ...). The threshold is chosen on
        out-of-fold predictions of the cross-validation, of slides that are not in the competition's test set.
    patients : patient by slide, where known: the intervals then draw patients (not those of the reliability diagram).

    Numbers of the test slides are in ``competition`` (None with a ``competition_reason``), those of the folds in
    ``cv``. ``threshold.models_saw_test``: whether the folds' models were trained on test slides too (cv.over: all). The
    labels of test slides are never used to choose the threshold itself.
    """
    draws = (settings.bootstrap, settings.seed, settings.confidence)
    test = predictions.get("competition", {})
    folds = {split: rows for split, rows in predictions.items() if split != "competition"}
    content: dict[str, Any] = {"competition": None, "threshold": _threshold(folds, test)}
    rows: list[dict] = []
    if not test:
        content["competition_reason"] = "the slides table has no test split"
    elif not _both(test):
        content["competition_reason"] = "all test slides are of one class"
    else:
        labels, scores = _arrays(test)
        groups = groups_of(sorted(test), patients)
        part: dict[str, Any] = {"slides": len(labels), "positives": int(labels.sum())}
        part["auprc"] = asdict(operating.average_precision(labels, scores, *draws, groups))
        for specificity in operating.SPECIFICITIES:
            found = operating.sensitivity_at(labels, scores, specificity, *draws, groups)
            part[f"sensitivity_at_{100 * specificity:.0f}"] = asdict(found)
        part["brier"] = asdict(operating.brier(labels, scores, *draws, groups))
        part["brier_constant"] = float(labels.mean() * (1 - labels.mean()))
        value = content["threshold"]["value"]
        if value is not None:
            named = operating.at_threshold(labels, scores, value, *draws, groups)
            part |= {name: asdict(estimate) for name, estimate in named.items()}
        content["competition"] = part
        rows = operating.reliability(labels, scores, settings.confidence)
    content["cv"] = _of_folds(folds)
    return content, rows


def _threshold(folds: Mapping[str, Predictions], test: Predictions) -> dict[str, Any]:
    """Return the threshold and where it comes from."""
    outside = {slide: row for rows in folds.values() for slide, row in rows.items() if slide not in test}
    if not folds:
        return {"value": None, "reason": "no cross-validation was made"}
    if not _both(outside):
        return {"value": None, "reason": "the cross-validated training slides are of one class"}
    labels, scores = _arrays(outside)
    return {
        "value": operating.choose_threshold(labels, scores),
        "slides": len(labels),
        "positives": int(labels.sum()),
        "models_saw_test": any(slide in test for rows in folds.values() for slide in rows),
    }


def _of_folds(folds: Mapping[str, Predictions]) -> dict[str, Any]:
    """Mean and standard deviation over the folds that have both classes; point estimates only."""
    usable = [_arrays(rows) for rows in folds.values() if _both(rows)]
    content: dict[str, Any] = {"folds": len(usable)}
    one = {"n": 1}
    for name, function in (("auprc", operating.average_precision), ("brier", operating.brier)):
        values = [function(labels, scores, **one).value for labels, scores in usable]
        content[f"{name}_mean"], content[f"{name}_sd"] = operating.mean_over(values)
    return content
