"""The matrix: quality and cost of every method on the features of every encoder, with the paired tests.

``matrix.csv`` has one row per encoder and method. Quality is what benchmark.csv has; whether two methods differ is what
tests.csv says after Holm's correction; cost is the seconds of embedding and training, and the size of the features.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from chowder.files import UserError, read_json
from chowder.report import paper

#: tested column: its lower and upper end, or its standard deviation
SPREAD = {"auc_test": ("auc_test_low", "auc_test_high"), "auc_cv": ("auc_cv_sd",), "froc": ("froc_low", "froc_high")}
#: What a test says of a cell against the one that ``against`` names.
REFERENCE, HIGHER, LOWER, SAME, UNTESTED = "reference", "higher", "lower", "not told apart", ""
COSTS = ("train_seconds", "embed_seconds", "features_gb")
HEADER = ["encoder", "method", "ensemble"]
for _column, _ends in SPREAD.items():
    HEADER += [_column, *_ends, *(f"{_column}_{what}" for what in ("against", "p_holm", "verdict"))]
HEADER += COSTS


def verdict(
    tests: pd.DataFrame, encoder: str, column: str, method: str, against: str, level: float
) -> tuple[str, float]:
    """Return what the paired test of ``method`` against ``against`` says, and its p after Holm (NaN without a test).

    Parameters
    ----------
    tests : rows of tests.csv; a pair is there once, in either order.
    level : the two are told apart when p is below it.
    """
    if method == against:
        return REFERENCE, math.nan
    part = tests[(tests["encoder"] == encoder) & (tests["column"] == column)]
    for first, second, sign in ((method, against, 1), (against, method, -1)):
        rows = part[(part["method"] == first) & (part["against"] == second)]
        if len(rows):
            p, difference = float(rows["p_holm"].iloc[0]), sign * float(rows["difference"].iloc[0])
            if not p < level:
                return SAME, p
            return (HIGHER if difference > 0 else LOWER), p
    return UNTESTED, math.nan


def build(
    rows: Iterable[Mapping[str, Any]],
    tests: pd.DataFrame,
    costs: Mapping[str, Mapping[str, float]],
    reference: str | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the matrix, one row per encoder and method, with the columns :data:`HEADER`.

    Parameters
    ----------
    rows : of benchmark.csv, see :func:`chowder.report.table.entry.entry`.
    tests : rows of tests.csv.
    costs : embed_seconds and features_gb of each encoder, where known.
    reference : method that each is compared with; None: the highest of its encoder in that column.
    confidence : of the intervals; tests tell apart at 1 - confidence.

    Encoders stand in the order of ``rows``, methods in that of the table.
    """
    frame = pd.DataFrame(list(rows))
    encoders = list(dict.fromkeys(frame["encoder"]))
    frame = frame.sort_values(
        by=["encoder", "method"],
        key=lambda part: part.map(encoders.index if part.name == "encoder" else lambda name: paper.parse(name).order),
        ignore_index=True,
    )
    level = round(1 - confidence, 12)
    for column in SPREAD:
        found = []
        for _, row in frame.iterrows():
            mine = frame[frame["encoder"] == row["encoder"]]
            best = mine["method"][mine[column].idxmax()] if mine[column].notna().any() else ""
            against = reference or best
            known = not pd.isna(row[column]) and bool(against)
            said = verdict(tests, row["encoder"], column, row["method"], against, level) if known else ("", math.nan)
            found.append((against if known else "", said[1], said[0]))
        for place, what in enumerate(("against", "p_holm", "verdict")):
            frame[f"{column}_{what}"] = [one[place] for one in found]
    for cost in COSTS[1:]:
        frame[cost] = [costs.get(encoder, {}).get(cost, math.nan) for encoder in frame["encoder"]]
    return frame[HEADER]


def embed_seconds(paths: Sequence[str | os.PathLike]) -> float:
    """Return the seconds of embedding jobs together, from Snakemake's benchmark files; NaN when one is not there.

    Errors: :class:`UserError` for a file without a column ``s`` of numbers.
    """
    total = 0.0
    for path in paths:
        try:
            with Path(path).open(newline="", encoding="utf-8") as handle:
                rows = list(csv.DictReader(handle, delimiter="\t"))
            total += sum(float(row["s"]) for row in rows) / len(rows)
        except FileNotFoundError:
            return math.nan
        except (KeyError, ValueError, TypeError, ZeroDivisionError) as error:
            raise UserError(f"{path}: not a benchmark file of Snakemake ({error!r}): delete it") from None
    return total if paths else math.nan


def features_gb(index: str | os.PathLike) -> float:
    """Return the size of an encoder's feature files in GB (1e9 bytes), by its index.

    Errors: :class:`UserError` for a file of the index that is gone.
    """
    folder, total = Path(index).parent, 0
    for slide in read_json(index)["slides"]:
        try:
            total += (folder / slide["file"]).stat().st_size
        except OSError:
            raise UserError(f"{folder / slide['file']}: no such file: rerun `index_features`") from None
    return total / 1e9


def to_csv(frame: pd.DataFrame) -> str:
    """Return matrix.csv: six decimals, seconds with one, empty where not known."""
    frame = frame.copy()
    for column in ("train_seconds", "embed_seconds"):
        frame[column] = frame[column].round(1)
    return frame.round(6).to_csv(index=False, lineterminator="\n")
