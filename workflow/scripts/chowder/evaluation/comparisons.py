"""Paired tests between the methods of a benchmark: what the mark ≈ of the table rests on (docs/evaluation.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chowder.evaluation import reports, resampling, roc, tables
from chowder.evaluation.patients import groups_of
from chowder.files import UserError

if TYPE_CHECKING:
    from chowder.evaluation.lesions import Lesions
    from chowder.evaluation.reports import Settings
    from chowder.evaluation.tables import Slide

COLUMNS = ("encoder", "column", "method", "against", "difference", "low", "high", "p", "p_holm", "test")
#: column of the benchmark table: the test behind it
TESTS = {
    "auc_test": "paired DeLong",
    "auc_cv": "paired DeLong, pooled over folds",
    "froc": "paired bootstrap",
}
Predictions = Mapping[str, tuple[int, float]]  # (label, probability) by slide


@dataclass(eq=False)
class Entry:
    """One row of the table: ``predictions`` by split, ``draws`` of its FROC as first and as second method, or None.

    ``patients``: patient by slide, where known.
    """

    encoder: str
    method: str
    predictions: Mapping[str, Predictions]
    draws: tuple[resampling.Draws, resampling.Draws] | None = None
    patients: Mapping[str, str] = field(default_factory=dict)


def holm(p: Sequence[float]) -> list[float]:
    """Return p values corrected for their number (Holm 1979, Scandinavian Journal of Statistics 6: 65-70), in order."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1.0)
    return corrected.tolist()


def _both(rows: Predictions) -> bool:
    return len({label for label, _ in rows.values()}) == 2


def _folds(entry: Entry, column: str) -> dict[str, Predictions]:
    """Return the splits that a column's AUC is the mean of: those with test slides of both classes."""
    wanted = {s: rows for s, rows in entry.predictions.items() if (s == "competition") == (column == "auc_test")}
    return {split: rows for split, rows in wanted.items() if _both(rows)}


def _values(entry: Entry) -> dict[str, float]:
    """Return the entry's values of the tested columns, as the table has them."""
    found = {}
    for column in ("auc_test", "auc_cv"):
        folds = [_arrays(rows, sorted(rows)) for rows in _folds(entry, column).values()]
        if folds:
            found[column] = float(np.mean([roc.auc(*fold) for fold in folds]))
    if entry.draws and np.isfinite(entry.draws[0].score):
        found["froc"] = entry.draws[0].score
    return found


def _arrays(rows: Predictions, slides: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([rows[slide][0] for slide in slides]), np.array([rows[slide][1] for slide in slides])


def compare(first: Entry, second: Entry, column: str, confidence: float = 0.95) -> dict[str, Any]:
    """Test ``first`` less ``second`` in one column: difference, low, high, p.

    Raises
    ------
    UserError : the two were not evaluated on the same slides.
    """
    if column == "froc":
        result = resampling.paired(first.draws[0], second.draws[1], confidence)
    else:
        folds = []
        ours, theirs = _folds(first, column), _folds(second, column)
        for split in ours:
            slides = sorted(ours[split])
            if slides != sorted(theirs.get(split, ())):
                raise UserError(
                    f"predictions of {first.method} and {second.method} ({first.encoder}), {split}: "
                    "not the same slides: rerun `train` for both"
                )
            labels, scores = _arrays(ours[split], slides)
            groups = groups_of(slides, first.patients)
            folds.append((labels, scores, _arrays(theirs[split], slides)[1], groups))
        result = roc.delong_folds(folds, confidence)
    return {key: getattr(result, key) for key in ("difference", "low", "high", "p")}


def table(entries: Sequence[Entry], confidence: float = 0.95, reference: str | None = None) -> list[dict[str, Any]]:
    """Test every method against the best one of its encoder, and against ``reference``, in every column.

    Returns rows with :data:`COLUMNS`. The best is the highest value, the first of several. p is corrected by Holm over
    all rows of an encoder and column. A pair is tested once, also where the reference is the best.

    Raises
    ------
    UserError : ``reference`` is not among the methods.
    """
    rows: list[dict[str, Any]] = []
    for encoder in dict.fromkeys(entry.encoder for entry in entries):
        group = [entry for entry in entries if entry.encoder == encoder]
        if reference is not None and reference not in [entry.method for entry in group]:
            names = ", ".join(entry.method for entry in group)
            raise UserError(
                f"evaluation.reference: '{reference}' is not among the methods: use one of {names}, or null"
            )
        values = {entry.method: _values(entry) for entry in group}
        for column, test in TESTS.items():
            known = [entry for entry in group if column in values[entry.method]]
            if len(known) < 2:
                continue
            best = max(known, key=lambda entry: values[entry.method][column])
            others = [best, *(entry for entry in known if entry.method == reference and entry is not best)]
            pairs = [(entry, other) for other in others for entry in known if entry is not other]
            pairs = [pair for pair in pairs if pair != (best, others[-1])]  # reference against best is there already
            part = [
                {"encoder": encoder, "column": column, "method": first.method, "against": second.method, "test": test}
                | compare(first, second, column, confidence)
                for first, second in pairs
            ]
            for row, corrected in zip(part, holm([row["p"] for row in part]), strict=True):
                rows.append(row | {"p_holm": corrected})
    return rows


def read_entry(
    encoder: str,
    method: str,
    predictions: Mapping[str, Mapping[str, tuple[int, float]]],
    detections: Mapping[str, Path],
    slides: Mapping[str, Slide],
    lesions: Mapping[str, Lesions],
    settings: Settings,
) -> Entry:
    """Return one method's results; its detections are read, and not kept. Without ``lesions`` it has no FROC.

    ``predictions``: (label, probability) by slide, by split.
    """
    draws = None
    if any(len(one.counted) for one in lesions.values()):
        hits = reports.slide_hits(slides, detections, lesions, settings.froc_mode)
        draws = resampling.paired_draws(hits, settings.bootstrap, settings.seed, settings.froc_mode)
    return Entry(encoder, method, predictions, draws, tables.patients_of(slides))
