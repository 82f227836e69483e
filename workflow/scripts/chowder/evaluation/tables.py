"""The files that evaluation reads and writes: slides, predictions, reports, rows."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chowder.data.cohort import read_rows
from chowder.files import UserError, write_text

LABEL_COLUMNS = ("slide", "label", "area_mm2", "major_axis_um", "itc")
CLASSES = ("itc", "micro", "macro")
_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "normal": 0, "tumor": 1, "tumour": 1}


@dataclass(frozen=True)
class Slide:
    """What the evaluation needs of a row of the slides table."""

    slide: str
    label: int
    center: str = ""
    cls: str = ""
    froc: bool = True  # counts for the FROC: eligible and, where the table has splits, in the test set
    simulated: bool = False
    size: tuple[int, int] | None = None
    mpp: float | None = None
    patient: str = ""


def patients_of(slides: Mapping[str, Slide]) -> dict[str, str]:
    """Return the patient of each slide that has one."""
    return {name: slide.patient for name, slide in slides.items() if slide.patient}


def _number(path: str | os.PathLike, line: int, key: str, text: str) -> float | None:
    """Return the number in a cell, None for an empty one."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{path}, line {line}: {key} is '{text}', not a number")
    return value


def read_slides(path: str | os.PathLike) -> dict[str, Slide]:
    """Read the slides table. Needs slide and label; split, center, class, froc, simulated, width, height, mpp,
    patient help.

    A slide counts for the FROC unless ``froc`` says 0 or, in a table that has a test split, it is not in it.
    """
    rows = read_rows(path)
    has_test = any(row.get("split") == "test" for row in rows)
    found = {}
    for line, row in enumerate(rows, start=2):
        label = _LABELS.get(row["label"].lower())
        if label is None:
            raise UserError(f"{path}, line {line}: label is '{row['label']}': write 0 or 1")
        width, height, mpp = (_number(path, line, key, row.get(key, "")) for key in ("width", "height", "mpp"))
        found[row["slide"]] = Slide(
            row["slide"],
            label,
            row.get("center", ""),
            row.get("class", "").lower(),
            row.get("froc", "") not in ("0", "0.0", "False", "false") and (not has_test or row["split"] == "test"),
            row.get("simulated", "") in ("1", "1.0", "True", "true"),
            (int(width), int(height)) if width and height else None,
            mpp,
            row.get("patient", ""),
        )
    return found


def write_json(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Write JSON; NaN becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if isinstance(value, float | np.floating):
            return float(value) if math.isfinite(value) else None
        return int(value) if isinstance(value, np.integer) else value

    write_text(path, json.dumps(plain(content), indent=1, allow_nan=False) + "\n")


def write_table(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV with a header, also without a row; NaN and None become empty cells."""

    def cell(value: Any) -> Any:
        return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)
    write_text(path, text.getvalue())
