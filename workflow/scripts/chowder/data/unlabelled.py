"""Slides without labels: a folder of them, or a table with the columns slide and image."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

from chowder.data.cohort import NAME, Slide, read_rows
from chowder.files import UserError


def find(source: str | os.PathLike, opens: Callable[[str], bool] | None = None) -> list[Slide]:
    """Return the slides of a folder or of a table, in the order of their names or of the table's rows.

    Parameters
    ----------
    source : a folder: every file in it that is a slide, named by its stem. Or a CSV with the columns ``slide`` and
        ``image`` (relative to the table's folder) and, where the file does not know it, ``mpp``; others are ignored.
    opens : whether a file is a slide; default: whether OpenSlide knows its format.

    The label of each is 0 and means nothing. Errors: :class:`UserError` for a source without slides, a name that cannot
    be in paths, a name that is there twice, an image that is not there, and an mpp that is no number of um/px.
    """
    if not os.path.exists(source):
        raise UserError(f"config: predict.slides: {source}: no such folder or table")
    slides = _folder(Path(source), opens or _opens) if os.path.isdir(source) else _table(Path(source))
    seen: dict[str, Slide] = {}
    for slide in slides:
        if not NAME.fullmatch(slide.slide):
            raise UserError(
                f"{source}: {slide.slide!r} can't be the name of a slide: use letters, digits, '.', '_' and '-', up to "
                "100; names other than the files' go into a table with the columns slide and image"
            )
        twin = seen.setdefault(slide.slide.lower(), slide)  # some file systems do not tell upper from lower case
        if twin is not slide:
            raise UserError(
                f"{source}: {twin.image} and {slide.image} would both be slide {slide.slide}: give a table with the "
                "columns slide and image"
            )
    return slides


def _opens(path: str) -> bool:
    import openslide

    return openslide.OpenSlide.detect_format(path) is not None


def _folder(folder: Path, opens: Callable[[str], bool]) -> list[Slide]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    slides = [Slide(path.stem, str(path), 0) for path in files if opens(str(path))]
    if not slides:
        raise UserError(
            f"config: predict.slides: {folder}: none of its {len(files)} files is a slide that OpenSlide reads"
        )
    return slides


def _table(table: Path) -> list[Slide]:
    try:
        rows = read_rows(table, ("slide", "image"))
    except (IsADirectoryError, PermissionError, csv.Error) as error:
        raise UserError(f"{table}: cannot be read as a table ({error})") from None
    slides = []
    for line, row in enumerate(rows, start=2):
        path = table.parent / row["image"]
        if not row["image"] or any(ord(c) < 32 for c in row["image"]) or not path.is_file():
            raise UserError(f"{table}, line {line}: slide {row['slide']}: image {str(path)!r}: no such file")
        mpp = row.get("mpp", "")
        try:
            fine = not mpp or 0.01 <= float(mpp) <= 100
        except ValueError:
            fine = False
        if not fine:
            raise UserError(f"{table}, line {line}: slide {row['slide']}: mpp {mpp!r} is no number of um/px")
        slides.append(Slide(row["slide"], str(path), 0, mpp=mpp))
    return slides
