"""Scoring any folder of detections against annotations, and two of them against each other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chowder.data import annotations
from chowder.evaluation import resampling
from chowder.evaluation.detections import read_detections
from chowder.evaluation.lesions import DOWNSAMPLE, MODES, Lesions, lesions_of
from chowder.evaluation.reports import Settings, read_lesions, slide_hits
from chowder.files import UserError

if TYPE_CHECKING:
    from chowder.evaluation.tables import Slide


def detection_files(folder: str | os.PathLike, slides: Mapping[str, Slide]) -> dict[str, Path]:
    """Return the challenge CSVs of a folder by slide; names may differ from the table's in case."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: give the one that holds <slide>.csv")
    names = {slide.lower(): slide for slide in slides}
    found = {names[path.stem.lower()]: path for path in sorted(folder.glob("*.csv")) if path.stem.lower() in names}
    if not any(slides[slide].froc for slide in found):
        raise UserError(
            f"{folder}: no <slide>.csv of a slide that counts for the FROC: check the names against the table"
        )
    return found


def lesions_from_annotations(
    folder: str | os.PathLike, slides: Mapping[str, Slide], detections: Sequence[Mapping[str, Path]], settings: Mapping
) -> dict[str, Lesions]:
    """Lesions of the tumour slides from ``<slide>.xml`` in a folder.

    A slide whose table row has no width and height gets a grid that holds its outlines and all its detections.
    """
    folder = Path(folder)
    files = {path.stem.lower(): path for path in sorted(folder.glob("*.xml"))}
    found = {}
    for slide in slides.values():
        if not (slide.froc and slide.label):
            continue
        path = files.get(slide.slide.lower())
        if path is None:
            raise UserError(f"{folder}: no {slide.slide}.xml: give its annotation, or froc 0 in the slides table")
        size = slide.size
        if size is None:
            reach = [points.max(axis=0) for o in annotations.read_asap(path).polygons if len(points := o.points)]
            read = [read_detections(files[slide.slide])[:, 1:] for files in detections if slide.slide in files]
            reach += [table.max(axis=0) for table in read if len(table)]
            # room to spare, so that no lesion touches an edge that is not the slide's
            size = tuple(int(side) + 64 * DOWNSAMPLE for side in np.max([[0, 0], *reach], axis=0))
        found[slide.slide] = lesions_of(path, *size, slide.mpp, settings)
    return found


def compare(
    slides: Mapping[str, Slide],
    first: Mapping[str, Path],
    second: Mapping[str, Path],
    lesions: Mapping[str, Path | Lesions],
    settings: Settings,
) -> dict[str, Any]:
    """Paired bootstrap of two folders' FROC scores, in both modes: difference (first less second), interval, p."""
    read = read_lesions(slides, lesions)
    return {
        mode: asdict(
            resampling.paired_bootstrap(
                slide_hits(slides, first, read, mode),
                slide_hits(slides, second, read, mode),
                settings.bootstrap,
                settings.seed,
                settings.confidence,
                mode,
            )
        )
        for mode in MODES
    }
