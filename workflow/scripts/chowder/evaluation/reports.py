"""Reports of a method: from files of predictions, detections and lesions to dicts and rows with intervals.

The numbers come from :mod:`chowder.evaluation.roc` and :mod:`chowder.evaluation.froc`; this module knows the files
(docs/evaluation.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from chowder.evaluation import froc, resampling, tables
from chowder.evaluation.detections import read_detections
from chowder.evaluation.lesions import MODES, Lesions
from chowder.evaluation.lesions import load as load_lesions
from chowder.evaluation.patients import groups_of
from chowder.evaluation.roc import auc, bootstrap_auc, delong_interval, roc_curve
from chowder.files import UserError

LESION_COLUMNS = (
    "slide", "center", "class", "label", "area_mm2", "major_axis_um", "itc", "best_score", "found_at_fps", "mode"
)  # fmt: skip
ROC_COLUMNS = ("threshold", "fpr", "tpr", "low", "high")
FROC_COLUMNS = ("mode", "threshold", "fps", "sensitivity", "low", "high")
_OFFICIAL_TEST = {f"test_{number:03d}" for number in range(1, 131)} - {"test_049", "test_114"}
_OFFICIAL_LESIONS = 226


@dataclass(frozen=True)
class Settings:
    """The section ``evaluation`` of the config."""

    bootstrap: int = 2000
    confidence: float = 0.95
    seed: int = 0
    froc_mode: str = "official"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """From the section; keys of other stages are passed over."""
        own = cls(**{key: values[key] for key in cls.__dataclass_fields__ if key in values})
        if own.froc_mode not in MODES:
            raise UserError(f"evaluation.froc_mode is '{own.froc_mode}': choose {' or '.join(MODES)}")
        if own.bootstrap < 1 or not 0 < own.confidence < 1:
            raise UserError("evaluation: bootstrap must be at least 1, confidence between 0 and 1")
        return own

    def record(self) -> dict[str, Any]:
        """For the JSON files."""
        return asdict(self)


# ---------------------------------------------------------------------------------------------------- AUC


def auc_report(
    predictions: Mapping[str, Mapping[str, tuple[int, float]]], slides: Mapping[str, tables.Slide], settings: Settings
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """AUC of the competition split with intervals, of its centres and classes, and of the cross-validation.

    ``predictions``: (label, probability) by slide, by split (``competition``, ``cv1``, ...). Returns the content of
    auc.json and the rows of roc_curve.csv (none without a competition split that has both classes).

    Raises
    ------
    UserError : a prediction about a slide that is not in the table, or with another label.
    """
    for split, rows in predictions.items():
        for slide, (label, _) in rows.items():
            if slide not in slides:
                raise UserError(f"predictions of {split}: slide {slide} is not in the slides table")
            if slides[slide].label != label:
                raise UserError(
                    f"predictions of {split}: slide {slide} has label {label}, the table {slides[slide].label}"
                )
    report: dict[str, Any] = {"competition": None}
    curve: list[dict[str, float]] = []
    if "competition" in predictions:
        rows = predictions["competition"]
        patients = tables.patients_of(slides)
        whole = _auc_of(rows, settings, patients)
        if whole["auc"] is None:
            report["competition_reason"] = whole["reason"]
        else:
            centers = sorted({slides[slide].center for slide in rows} - {""})
            whole["by_center"] = {
                center: _auc_of({s: row for s, row in rows.items() if slides[s].center == center}, settings, patients)
                for center in centers
            }
            whole["by_class"] = {
                cls: _auc_of(
                    {s: row for s, row in rows.items() if not row[0] or slides[s].cls == cls}, settings, patients
                )
                for cls in tables.CLASSES
                if any(slides[slide].cls == cls for slide in rows)
            }
            report["competition"] = whole
            labels, scores = _arrays(rows)
            groups = groups_of(sorted(rows), patients)
            roc = roc_curve(labels, scores, settings.bootstrap, settings.seed, settings.confidence, groups)
            parts = zip(roc.thresholds, roc.fpr, roc.tpr, roc.low, roc.high, strict=True)
            curve = [dict(zip(ROC_COLUMNS, map(float, part), strict=True)) for part in parts]
    else:
        report["competition_reason"] = "the slides table has no test split"
    folds = [
        {"split": split, **{key: value for key, value in _auc_of(rows, settings).items() if key in _FOLD_KEYS}}
        for split, rows in predictions.items()
        if split != "competition"
    ]
    values = [fold["auc"] for fold in folds if fold["auc"] is not None]
    report["cv"] = {
        "auc_mean": float(np.mean(values)) if values else None,
        "auc_sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "folds": folds,
    }
    if len(values) < len(folds):
        report["cv"]["reason"] = f"{len(folds) - len(values)} of {len(folds)} folds have test slides of one class only"
    elif not folds:
        report["cv"]["reason"] = "no cross-validation was made"
    return report, curve


_FOLD_KEYS = ("auc", "slides", "positives", "reason")


def _arrays(rows: Mapping[str, tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores, in the order of the slides' names, so that intervals do not depend on a file's order."""
    ordered = [rows[slide] for slide in sorted(rows)]
    return np.array([label for label, _ in ordered], dtype=int), np.array([score for _, score in ordered], dtype=float)


def _auc_of(
    rows: Mapping[str, tuple[int, float]], settings: Settings, patients: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    labels, scores = _arrays(rows)
    groups = groups_of(sorted(rows), patients)
    counts = {"slides": len(labels), "positives": int(labels.sum())}
    if counts["positives"] in (0, counts["slides"]):
        only = "tumour" if counts["positives"] else "normal"
        return {"auc": None, "reason": f"all {counts['slides']} slides are {only}: no AUC", **counts}
    interval = bootstrap_auc(labels, scores, settings.bootstrap, settings.seed, settings.confidence, groups)
    low, high = delong_interval(labels, scores, settings.confidence, groups)
    return {
        "auc": auc(labels, scores),
        "low": interval.low,
        "high": interval.high,
        "delong_low": low,
        "delong_high": high,
        **counts,
    } | ({} if groups is None else {"patients": int(groups.max()) + 1})


# ---------------------------------------------------------------------------------------------------- FROC


def slide_hits(
    slides: Mapping[str, tables.Slide],
    detections: Mapping[str, Path],
    lesions: Mapping[str, Lesions],
    mode: str,
    cache: dict[str, np.ndarray] | None = None,
) -> list[froc.SlideHits]:
    """Hits of every slide that counts for the FROC, by name. ``cache``: keeps what was read for the other mode."""
    cache = {} if cache is None else cache
    found = []
    for slide in sorted(name for name, row in slides.items() if row.froc):
        path = detections.get(slide)
        if path is not None and slide not in cache:
            cache[slide] = read_detections(path)
        try:
            found.append(froc.hits(lesions.get(slide), cache[slide] if path is not None else None, slide, mode))
            found[-1].patient = slides[slide].patient
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return found


def read_lesions(slides: Mapping[str, tables.Slide], lesions: Mapping[str, Path | Lesions]) -> dict[str, Lesions]:
    """Lesions of the slides that count, read where they are files; a tumour slide must have some file."""
    found = {}
    for name, row in slides.items():
        if not row.froc:
            continue
        if name in lesions:
            one = lesions[name]
            found[name] = one if isinstance(one, Lesions) else load_lesions(one)
        elif row.label:
            raise UserError(f"slide {name} counts for the FROC but has no lesion file: make it, or set its froc to 0")
    return found


def froc_report(
    slides: Mapping[str, tables.Slide],
    detections: Mapping[str, Path],
    lesions: Mapping[str, Path | Lesions],
    settings: Settings,
) -> tuple[dict[str, Any], list[dict], list[dict]]:
    """FROC in both modes with intervals, by centre and class.

    ``detections`` and ``lesions`` by slide. Returns the content of froc.json, and the rows of froc_curve.csv and of
    lesions.csv in ``settings.froc_mode``. A class is its slides together with all normal ones.
    """

    def unavailable(reason: str) -> tuple[dict[str, Any], list[dict], list[dict]]:
        nothing = {
            "slides": 0,
            "lesions": 0,
            "itc": 0,
            "detections": 0,
            "by_center": {},
            "by_class": {},
            "warnings": [],
        }
        return {"available": False, "reason": reason, "official": None, "corrected": None, **nothing}, [], []

    names = sorted(name for name, row in slides.items() if row.froc)
    if not names:
        return unavailable("no test slide counts for the lesion evaluation")
    if not lesions:
        return unavailable("the test slides have no lesion annotations")
    if not any(name in detections for name in names):
        return unavailable("there are no detections")
    read = read_lesions(slides, lesions)
    if not any(len(one.counted) for one in read.values()):
        return unavailable("the annotations of the test slides hold no lesion that is more than isolated tumour cells")
    cache: dict[str, np.ndarray] = {}
    hits = {mode: slide_hits(slides, detections, read, mode, cache) for mode in MODES}
    curves = {mode: froc.froc(hits[mode], mode) for mode in MODES}
    report: dict[str, Any] = {"available": True, "reason": ""}
    report |= {mode: _froc_of(hits[mode], mode, settings) for mode in MODES}
    counted = curves["corrected"]
    report |= {key: getattr(counted, key) for key in ("slides", "lesions", "itc", "detections")}
    if set(names) == _OFFICIAL_TEST and not any(slides[name].simulated for name in names):
        report["expected_lesions"] = _OFFICIAL_LESIONS  # specification, section 6: +-2 by rasteriser
    report["without_result_file"] = [one.slide for one in hits["official"] if not one.submitted]
    groups = {
        "by_center": {
            center: [name for name in names if slides[name].center == center]
            for center in sorted({slides[name].center for name in names} - {""})
        },
        "by_class": {
            cls: [name for name in names if slides[name].cls == cls or not slides[name].label]
            for cls in tables.CLASSES
            if any(slides[name].cls == cls for name in names)
        },
    }
    for key, members in groups.items():
        report[key] = {group: _froc_of_group(hits, chosen, settings) for group, chosen in members.items()}
    report["warnings"] = _froc_warnings(slides, read, cache, report)
    mode = settings.froc_mode
    return (
        report,
        _curve_rows(hits[mode], curves[mode], settings),
        _lesion_rows(slides, read, hits[mode], curves[mode], mode),
    )


def _froc_of(hits: Sequence[froc.SlideHits], mode: str, settings: Settings) -> dict[str, Any]:
    curve = froc.froc(hits, mode)
    sample = resampling.bootstrap_froc(hits, settings.bootstrap, settings.seed, settings.confidence, mode)
    low, high = sample.interval
    limits = sample.sens_interval

    def text(rate: float) -> str:
        return f"{rate:g}"

    return {
        "score": curve.score,
        "low": low,
        "high": high,
        "sens_at": {text(rate): value for rate, value in curve.sens_at.items()},
        "sens_at_low": {text(rate): limits[rate][0] for rate in froc.RATES},
        "sens_at_high": {text(rate): limits[rate][1] for rate in froc.RATES},
        "slides": curve.slides,
        "lesions": curve.lesions,
    }


def _froc_of_group(
    hits: Mapping[str, Sequence[froc.SlideHits]], names: Sequence[str], settings: Settings
) -> dict[str, Any]:
    content: dict[str, Any] = {"slides": len(names)}
    for mode, every in hits.items():
        part = froc.subset(every, names)
        content["lesions"] = sum(len(one.best) for one in part)
        content["itc"] = sum(one.itc for one in part)
        usable = content["lesions"] and (mode == "corrected" or any(one.submitted for one in part))
        content[mode] = _froc_of(part, mode, settings) if usable else None
        if not usable:
            content["reason"] = (
                "no lesion among these slides" if not content["lesions"] else "no result file among them"
            )
    return content


def _froc_warnings(slides, lesions, tables, report) -> list[str]:
    found = [warning for one in lesions.values() for warning in one.warnings]
    without = [name for name, one in lesions.items() if slides[name].label and not len(one.table)]
    if without:
        found.append(f"tumour slides without any annotated tumour pixel: {', '.join(without)}")
    marked = [name for name, one in lesions.items() if not slides[name].label and len(one.table)]
    if marked:
        found.append(f"slides labelled normal that have annotated lesions: {', '.join(marked)}")
    if any((table[:, 0] < 0).any() for table in tables.values()):
        found.append("some scores are below 0: official mode then counts missed lesions as found; map them to (0, 1)")
    if report["without_result_file"]:
        found.append(f"no result file for {len(report['without_result_file'])} slides: official mode leaves them out")
    return found


def _curve_rows(hits: Sequence[froc.SlideHits], curve: froc.Froc, settings: Settings) -> list[dict]:
    """Return the corners of the curve, each with the limits of the sensitivity at its rate."""
    chosen = froc.corners(curve)
    fps = curve.fps[chosen]
    mode = settings.froc_mode
    sample = resampling.bootstrap_froc(hits, settings.bootstrap, settings.seed, settings.confidence, mode, at=fps)
    low, high = sample.band
    parts = zip(curve.thresholds[chosen], fps, curve.sensitivity[chosen], low, high, strict=True)
    return [{"mode": mode} | dict(zip(FROC_COLUMNS[1:], map(float, part), strict=True)) for part in parts]


def _lesion_rows(slides, lesions, hits, curve: froc.Froc, mode: str) -> list[dict]:
    """One row a label: where it is, how large, its best score and the rate of false positives at which it is found."""
    rows = []
    for one in hits:
        best = dict(zip(one.labels.tolist(), one.best.tolist(), strict=True))
        about = {"slide": one.slide, "center": slides[one.slide].center, "class": slides[one.slide].cls, "mode": mode}
        for row in lesions[one.slide].table if one.slide in lesions else ():
            score = best.get(row["label"], -math.inf)
            found = {"best_score": score if math.isfinite(score) else None, "found_at_fps": froc.found_at(curve, score)}
            rows.append(about | row | found)
    return rows


# ---------------------------------------------------------------------------------------------------- for the log


def _estimate(part: Mapping[str, Any], key: str) -> str:
    return f"{part[key]:.4f} [{part['low']:.4f}, {part['high']:.4f}]"


def froc_summary(report: Mapping[str, Any]) -> list[str]:
    """Lines for the log."""
    if not report["available"]:
        return [f"FROC: none, {report['reason']}"]
    lines = [f"FROC, {mode}: {_estimate(report[mode], 'score')}" for mode in MODES]
    lines.append(
        f"{report['lesions']} lesions and {report['itc']} isolated tumour cells on {report['slides']} slides, "
        f"{report['detections']} detections"
    )
    if report.get("expected_lesions"):
        lines.append(f"official test set: {report['expected_lesions']} lesions expected, {report['lesions']} found")
    for mode, against in report.get("against", {}).items():
        lines.append(
            f"difference, {mode}: {against['difference']:.4f} [{against['low']:.4f}, {against['high']:.4f}], "
            f"p = {against['p']:.3g}"
        )
    return lines + [f"warning: {warning}" for warning in report["warnings"]]


def summary(method: str, auc: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """Lines for the log of a method."""
    test = auc["competition"]
    line = f"AUC, test: {_estimate(test, 'auc')}" if test else f"AUC, test: none, {auc['competition_reason']}"
    cv = auc["cv"]["auc_mean"]
    return [f"{method}:", line, f"AUC, cross-validation: {cv if cv is None else round(cv, 4)}", *froc_summary(report)]
