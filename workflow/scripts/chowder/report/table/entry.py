"""One method's row of benchmark.csv, from its auc.json, froc.json and timing file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from chowder.files import UserError, read_json
from chowder.report.table.remarks import undertrained

RATES = ("0.25", "0.5", "1", "2", "4", "8")
SENSITIVITIES = [f"sens_at_{rate}" for rate in RATES]
BEFORE = ["encoder", "method", "ensemble", "auc_cv", "auc_cv_sd", "auc_test", "auc_test_low", "auc_test_high"]
BEFORE += ["froc", "froc_low", "froc_high", *SENSITIVITIES]
AFTER = ["train_seconds", "paper_auc_cv", "paper_auc_test", "paper_froc"]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def method_entry(
    auc: Path, froc: Path | None, timing: Path | None, *, encoder: str, method: str, settings: dict
) -> tuple[dict, dict]:
    """Return :func:`entry` of the files. ``settings``: froc_mode (else the files')."""
    content = read_json(auc)
    try:
        return _method_entry(content, froc, timing, encoder=encoder, method=method, settings=settings)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        files = ", ".join(str(path) for path in (auc, froc, timing) if path)
        raise UserError(
            f"{files}: one of them was edited ({error!r}): delete them and run the workflow again"
        ) from None


def _method_entry(content: dict, froc: Path | None, timing: Path | None, *, encoder: str, method: str, settings: dict):
    mode = settings.get("froc_mode") or (content.get("settings") or {}).get("froc_mode") or "official"
    return entry(
        content,
        read_json(froc) if froc else None,
        read_json(timing) if timing else None,
        encoder=encoder,
        method=method,
        ensemble=int(content.get("ensemble") or 1),
        mode=mode,
    )


def entry(auc: dict, froc: dict | None, timing: dict | None, *, encoder: str, method: str, ensemble: int, mode: str):
    """One row of benchmark.csv from the contents of a method's auc.json, froc.json and timing file.

    This is the only place that knows how those files are laid out. Returns (row, info): ``info`` has the reasons for
    what is missing and the counts of slides and lesions behind the numbers. ``info["notes"]``, a list of sentences,
    is shown under the table, after the method's name.
    """
    row: dict[str, Any] = {"encoder": encoder, "method": method, "ensemble": ensemble}
    info: dict[str, Any] = {"mode": mode, "confidence": (auc.get("settings") or {}).get("confidence")}
    test, cv = auc.get("competition"), auc.get("cv") or {}
    row["auc_cv"], row["auc_cv_sd"] = _number(cv.get("auc_mean")), _number(cv.get("auc_sd"))
    if cv.get("auc_mean") is None:
        info["no_cv"] = auc.get("cv_reason") or cv.get("reason") or "no cross-validation was made"
    else:
        info["folds"] = len(cv.get("folds") or [])
    for key in ("auc", "low", "high"):
        row["auc_test" if key == "auc" else f"auc_test_{key}"] = _number((test or {}).get(key))
    if test:
        info |= {"test_slides": test.get("slides"), "test_positives": test.get("positives")}
        for centre, part in sorted((test.get("by_center") or {}).items()):
            row[f"auc_test_{centre}"] = _number((part or {}).get("auc"))
    else:
        info["no_test"] = auc.get("competition_reason") or "the slides table has no test split"
    part = (froc or {}).get(mode) if (froc or {}).get("available", froc is not None) else None
    row |= {"froc": _number((part or {}).get("score"))}
    row |= {f"froc_{end}": _number((part or {}).get(end)) for end in ("low", "high")}
    at = {float(rate): value for rate, value in ((part or {}).get("sens_at") or {}).items()}
    row |= {f"sens_at_{rate}": _number(at.get(float(rate))) for rate in RATES}
    if part:
        info |= {key: froc.get(key) for key in ("lesions", "itc", "detections", "expected_lesions", "warnings")}
        info["froc_slides"] = froc.get("slides")
    else:
        info["no_froc"] = (froc or {}).get("reason") or "no lesion evaluation was made"
    row["train_seconds"] = _number((timing or {}).get("train_seconds"))
    info["notes"] = undertrained((timing or {}).get("undertrained") or {}, ensemble)
    return row, info
