"""The slides table as a stranger gives it to the scorer: every mistake is one line with its line number.

:func:`chowder.evaluation.tables.read_slides` reads what the workflow wrote and is lenient. Here a cell that would be
read as something else than its author meant is an error, and columns without a meaning are listed.
"""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from chowder.data.cohort import CLASSES, NAME, OPTIONAL
from chowder.evaluation import tables
from chowder.files import UserError, has_control, is_formula

LARGEST_SIDE = 1_000_000  # level-0 pixels; a slide of 76 mm at 0.1 um/px has 760,000
COLUMNS = ("slide", "label", "split", "center", "class", "froc", "width", "height", "mpp", "simulated", "patient")
_FLAGS = ("", "0", "1", "0.0", "1.0", "false", "true")
_LABELS = ("0", "1", "0.0", "1.0", "normal", "tumor", "tumour")


@dataclass
class ScorerTable:
    """A checked slides table.

    ``slides``: by name, as the evaluation takes them. ``lines``: where in the file each slide is, from 1 (the header).
    ``ignored``: names of columns that mean nothing to the scorer.
    """

    path: Path
    slides: dict[str, tables.Slide]
    lines: dict[str, int]
    ignored: list[str] = field(default_factory=list)

    def where(self, slide: str) -> str:
        """Return ``<file>, line <n>: slide <name>`` for a message."""
        return f"{self.path}, line {self.lines[slide]}: slide {slide}"


def read(path: str | os.PathLike) -> ScorerTable:
    """Read and check a slides table for the scorer.

    Raises
    ------
    UserError : no file, no CSV, a column missing or twice, a line of another length, a slide twice (in any case), a
        cell that is none of the values of its column, no tumour slide that counts. With the line number.
    """
    path = Path(path)
    rows, columns = _rows(path)
    lines: dict[str, int] = {}
    spelled: dict[str, str] = {}
    for line, row in rows:
        _check_row(f"{path}, line {line}", row)
        name = row["slide"]
        other = spelled.get(name.lower())
        if other is not None:
            how = "is in the table twice" if other == name else f"differs from {other} in upper and lower case only"
            raise UserError(f"{path}, line {line}: slide {name} {how} (line {lines[other]}): keep one row")
        spelled[name.lower()], lines[name] = name, line
    slides = tables.read_slides(path)
    if not any(slide.froc and slide.label for slide in slides.values()):
        raise UserError(
            f"{path}: no tumour slide counts: give one with label 1 that is in the test split (if there is one) and "
            "does not have froc 0"
        )
    return ScorerTable(path, slides, lines, [column for column in columns if column not in COLUMNS + OPTIONAL])


def _rows(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Return (line number, cells without blanks around) of every row that is not empty, and the columns."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder: give the slides table, a CSV file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.reader(handle, strict=True)
            read = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: give the slides table, a CSV with slide and label") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8: save the slides table as CSV in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not CSV ({error}): correct the quotes") from None
    if len(read) < 2:
        raise UserError(f"{path}: no rows: write a header with slide and label, and one line per slide")
    columns = read[0][1]
    for column in ("slide", "label"):
        if column not in columns:
            raise UserError(f"{path}, line 1: no column '{column}': the header is {','.join(columns)[:80]!r}")
    for column in columns:
        if columns.count(column) > 1:
            raise UserError(f"{path}, line 1: duplicate column {column[:80]!r}: keep one")
    for line, cells in read[1:]:
        if len(cells) != len(columns):
            raise UserError(f"{path}, line {line}: {len(cells)} cells, the header has {len(columns)}: check the commas")
    return [(line, dict(zip(columns, cells, strict=True))) for line, cells in read[1:]], columns


def _check_row(where: str, row: dict[str, str]) -> None:
    name = row["slide"]
    if not NAME.fullmatch(name):
        raise UserError(
            f"{where}: slide name '{name[:60]}': use letters, digits, '.', '_' and '-', at most 100, "
            "beginning with a letter or digit and not ending with '.'"
        )
    for column in ("center", "patient"):
        text = row.get(column, "")
        if has_control(text) or is_formula(text) or len(text) > 100:
            raise UserError(
                f"{where}: slide {name}: {column} is {text[:40]!r}: write at most 100 characters, no control "
                "character, and none of = + - @ first"
            )
    choices = {
        "label": (_LABELS, "0 (normal) or 1 (tumour)"),
        "class": (CLASSES, f"{', '.join(CLASSES[1:])}, or nothing"),
        "froc": (_FLAGS, "1 (counts), 0 (does not), or nothing"),
        "simulated": (_FLAGS, "1, 0, or nothing"),
    }
    for column, (allowed, words) in choices.items():
        if column in row and row[column].lower() not in allowed:
            raise UserError(f"{where}: slide {name}: {column} is '{row[column][:40]}': write {words}")
    if row.get("split", "") not in ("", "train", "test"):
        raise UserError(f"{where}: slide {name}: split is '{row['split'][:40]}': write train, test, or nothing")
    sides = [row.get(side, "") for side in ("width", "height")]
    for side, text in zip(("width", "height"), sides, strict=True):
        if text and not (_number(text).is_integer() and 1 <= _number(text) <= LARGEST_SIDE):
            raise UserError(
                f"{where}: slide {name}: {side} is '{text[:40]}': write whole level-0 pixels, 1 to {LARGEST_SIDE}"
            )
    if bool(sides[0]) != bool(sides[1]):
        raise UserError(f"{where}: slide {name}: only one of width and height is given: give both or neither")
    mpp = row.get("mpp", "")
    if mpp and not 0.01 <= _number(mpp) <= 100:
        raise UserError(f"{where}: slide {name}: mpp is '{mpp[:40]}': write um per level-0 pixel, 0.01 to 100")


def _number(text: str) -> float:
    """Return the number in a cell, NaN for anything else."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
