"""The challenge's file of detections: one line a detection, ``score,x,y``, no header."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from chowder.files import UserError, write_text


def write_detections(path: str | os.PathLike, scores: np.ndarray, xy: np.ndarray) -> None:
    """Write the challenge's format: no header, ``score,x,y`` a line; an empty file for no detection.

    Coordinates (n, 2) are written as whole pixels (the published script reads integers), scores (n,) with all digits.
    """
    xy, scores = np.asarray(xy).reshape(-1, 2), np.asarray(scores, dtype=np.float64)
    if scores.shape != (len(xy),):
        raise UserError(f"{path}: {len(xy)} positions with scores of shape {scores.shape}: give one score a position")
    if not (np.isfinite(scores).all() and np.isfinite(xy).all()) or (xy < 0).any():
        raise UserError(f"{path}: a detection has a score or coordinate that is NaN, infinite or negative")
    rows = zip(scores.tolist(), xy.astype(np.int64).tolist(), strict=True)
    write_text(path, "".join(f"{score!r},{x},{y}\n" for score, (x, y) in rows))


def read_detections(path: str | os.PathLike) -> np.ndarray:
    """Read a file in the challenge's format: (n, 3) float64 score, x, y; (0, 3) for an empty file.

    Raises
    ------
    UserError : with file and line: not three columns, not a number (a header, too), NaN or infinite, a negative
        coordinate.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: give a CSV of detections") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file: detections are lines of score,x,y") from None
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        parts = line.split(",")
        if len(parts) != 3:
            raise UserError(f"{path}, line {number}: {len(parts)} columns, not 3: write score,x,y without a header")
        try:
            row = [float(part) for part in parts]
        except ValueError:
            hint = " (a header? remove it)" if number == 1 else ""
            raise UserError(f"{path}, line {number}: '{line.strip()[:60]}' is not three numbers{hint}") from None
        if not all(math.isfinite(value) for value in row):
            raise UserError(f"{path}, line {number}: '{line.strip()[:60]}' holds a NaN or infinite value")
        if row[1] < 0 or row[2] < 0:
            raise UserError(f"{path}, line {number}: negative coordinate in '{line.strip()[:60]}'")
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(-1, 3)
