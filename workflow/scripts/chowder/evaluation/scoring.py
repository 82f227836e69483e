"""Scoring any folder of detections against annotations or masks, and two of them against each other.

Everything that is wrong with the files is an error that names the file and, where there are lines, the line; everything
that is not used goes into ``notes``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chowder.data import annotations
from chowder.evaluation import masks, resampling
from chowder.evaluation.detections import read_detections
from chowder.evaluation.lesions import DOWNSAMPLE, MODES, MPP, Lesions, label_lesions, lesions_of
from chowder.evaluation.lesions import load as load_lesions
from chowder.evaluation.reports import Settings, slide_hits
from chowder.evaluation.scorer_table import LARGEST_SIDE, ScorerTable
from chowder.files import UserError

OWN_SETTINGS = ("bootstrap", "confidence", "seed", "froc_mode", "froc_mpp")
_CUT = 0.01  # of the annotated tumour; more outside the slide is a wrong size, not a sloppy outline
_NAMED = 5  # names listed before "and n more"


@dataclass
class Source:
    """Where lesions come from: one of three kinds of folder, and how it is read.

    ``kind``: annotations, masks or lesions. ``downsample`` and ``value``: of masks (:func:`masks.read_mask`).
    """

    kind: str
    folder: Path
    downsample: int | None = None
    value: int | None = None


@dataclass
class Truth:
    """Lesions of the slides that count, and what was ignored or not checked on the way.

    ``lesions``: by slide; a normal slide is in it when its size is known. ``open_ended``: tumour slides whose size is
    not known, so that positions beyond the outlines are allowed.
    """

    lesions: dict[str, Lesions] = field(default_factory=dict)
    open_ended: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def named(names: Sequence[str]) -> str:
    """Return ``a, b, c and 4 more``."""
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def check_settings(values: Any) -> dict[str, Any]:
    """Return the settings of the scorer. Errors: not an object, an unknown key, a value of another type."""
    if not isinstance(values, Mapping):
        raise UserError(f'--settings: holds a {type(values).__name__}, not an object: write {{"bootstrap": 2000}}')
    for key, value in values.items():
        if key not in OWN_SETTINGS:
            raise UserError(f"--settings: unknown setting '{key}': use {', '.join(OWN_SETTINGS)}")
        kinds = {"bootstrap": int, "seed": int, "confidence": int | float, "froc_mode": str}
        if key in kinds and (isinstance(value, bool) or not isinstance(value, kinds[key])):
            words = "text" if key == "froc_mode" else "a number" if key == "confidence" else "a whole number"
            raise UserError(f"--settings: {key} is {value!r}: give {words}")
    if values.get("seed", 0) < 0:
        raise UserError(f"--settings: seed is {values['seed']}: give a whole number of at least 0")
    spacing = values.get("froc_mpp", MPP)
    number = isinstance(spacing, int | float) and not isinstance(spacing, bool)
    if spacing != "slide" and not (number and 0.01 <= spacing <= 100):
        raise UserError(f"--settings: froc_mpp is {spacing!r}: give um per level-0 pixel (official: 0.243) or 'slide'")
    Settings.of(values)
    return dict(values)


# ---------------------------------------------------------------------------------------------------- detections


def detection_files(
    folder: str | os.PathLike, table: ScorerTable, ignore_unknown: bool = False
) -> tuple[dict[str, Path], list[str]]:
    """Return the challenge CSVs of a folder by slide, and notes on what is not used.

    A name may differ from the table's in case when there is one such file.

    Raises
    ------
    UserError : no such folder, a CSV of a slide that is not in the table (unless ``ignore_unknown``), two CSVs of one
        slide, no CSV of a slide that counts.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: give the one that holds <slide>.csv")
    names = {slide.lower(): slide for slide in table.slides}
    found: dict[str, Path] = {}
    unknown, other, respelled = [], [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() != ".csv" or not path.is_file():
            other.append(path.name)
            continue
        slide = names.get(path.stem.lower())
        if slide is None:
            if not ignore_unknown:
                raise UserError(
                    f"{path}: no slide '{path.stem}' in {table.path}: correct the name, add a row, or say "
                    "--ignore-unknown"
                )
            unknown.append(path.name)
            continue
        if slide in found:
            raise UserError(
                f"{path}: differs from {found[slide].name} in upper and lower case only: keep one file per slide"
            )
        found[slide] = path
        if path.stem != slide:
            respelled.append(path.name)
    counting = [slide for slide in found if table.slides[slide].froc]
    if not counting:
        raise UserError(
            f"{folder}: no <slide>.csv of a slide that counts for the FROC: check the names against {table.path}"
        )
    notes = []
    unused = sorted(found[slide].name for slide in found if not table.slides[slide].froc)
    for words, files in (
        ("ignored, slide not in the table", unknown),
        ("ignored, slide does not count (split or froc in the table)", unused),
        ("ignored, not a CSV", other),
        ("read although its name differs from the table's in upper and lower case", respelled),
    ):
        if files:
            notes.append(f"{folder}: {words}: {named(files)}")
    return {slide: found[slide] for slide in counting}, notes


def check_positions(path: Path, size: tuple[int, int] | None) -> np.ndarray:
    """Read a file of detections and hold its positions to the slide.

    ``size``: (width, height) in level-0 pixels; None: unknown, then only positions that no slide has are refused.

    Raises
    ------
    UserError : what :func:`read_detections` raises, and a position outside, with the line number.
    """
    table = read_detections(path)
    # the grid of the evaluation ends with whole pixels of 32
    limit = (
        (LARGEST_SIDE, LARGEST_SIDE) if size is None else tuple(-(-side // DOWNSAMPLE) * DOWNSAMPLE for side in size)
    )
    outside = np.flatnonzero((table[:, 1] >= limit[0]) | (table[:, 2] >= limit[1]))
    if len(outside):
        lines = [n for n, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1) if line.strip()]
        x, y = table[outside[0], 1:]
        where = "beyond any slide" if size is None else f"outside the slide ({size[0]} x {size[1]})"
        raise UserError(
            f"{path}, line {lines[outside[0]]}: x={x:.10g}, y={y:.10g} is {where}: write level-0 pixels, x before y"
        )
    return table


# ---------------------------------------------------------------------------------------------------- lesions


def _files_of(source: Source) -> dict[str, Path]:
    """Return the files of a source by slide, in lower case."""
    if source.kind == "masks":
        return masks.mask_files(source.folder)
    suffix = {"annotations": ".xml", "lesions": ".npz"}[source.kind]
    if not source.folder.is_dir():
        raise UserError(f"{source.folder}: no such folder: give the one that holds <slide>{suffix}")
    found: dict[str, Path] = {}
    for path in sorted(source.folder.iterdir()):
        if path.suffix.lower() == suffix and not path.name.startswith("."):
            slide = path.stem.lower()
            if slide in found:
                raise UserError(
                    f"{path}: differs from {found[slide].name} in upper and lower case only: keep one file per slide"
                )
            found[slide] = path
    return found


def read_truth(source: Source, table: ScorerTable, settings: Mapping[str, Any]) -> Truth:
    """Return the lesions of all slides that count.

    Raises
    ------
    UserError : a tumour slide without a file, a normal slide with lesions, a file that cannot be read, a width or
        height in the table that cuts lesions off.
    """
    files, truth = _files_of(source), Truth()
    known = {slide.lower() for slide in table.slides}
    strangers = sorted(path.name for slide, path in files.items() if slide not in known)
    if strangers:
        truth.notes.append(f"{source.folder}: ignored, slide not in the table: {named(strangers)}")
    unchecked = []
    for name in sorted(name for name, slide in table.slides.items() if slide.froc):
        slide, path = table.slides[name], files.get(name.lower())
        if path is None and slide.label:
            raise UserError(
                f"{table.where(name)} is a tumour slide that counts, but {source.folder} has no file of it: add it, or "
                "write froc 0"
            )
        lesions = None
        if path is not None:
            reader = {"annotations": _from_annotation, "masks": _from_mask, "lesions": _from_lesions}[source.kind]
            lesions = reader(source, path, name, table, settings, truth)
            if not slide.label and len(lesions.table):
                raise UserError(
                    f"{table.where(name)} has label 0, but {path} marks tumour: correct the label or remove the file"
                )
        elif slide.size is not None:
            lesions = lesions_of(None, *slide.size, slide.mpp, settings)
        if lesions is None or (not slide.label and slide.size is None and source.kind == "annotations"):
            unchecked.append(name)  # an outline says nothing about how large a slide without lesions is
        else:
            truth.lesions[name] = lesions
    open_ended = sorted(truth.open_ended | set(unchecked))
    if open_ended:
        truth.notes.append(
            f"{table.path}: no width and height, so positions were not held to the slide: {named(open_ended)}"
        )
    return truth


def _from_annotation(source, path, name, table, settings, truth) -> Lesions:
    size = table.slides[name].size
    outlines = annotations.read_asap(path)
    reach = [points.max(axis=0) for outline in outlines.polygons if len(points := outline.points)]
    far = np.max([[0, 0], *reach], axis=0)
    if (far > LARGEST_SIDE).any():
        raise UserError(f"{path}: an outline reaches x={far[0]:.10g}, y={far[1]:.10g}: write level-0 pixels")
    if size is not None:
        _check_size(path, outlines.tumor, far, name, table)
        return lesions_of(path, *size, table.slides[name].mpp, settings)
    truth.open_ended.add(name)
    # room to spare, so that no lesion touches an edge that is not the slide's
    roomy = tuple(int(side) + 64 * DOWNSAMPLE for side in far)
    return lesions_of(path, *roomy, table.slides[name].mpp, settings)


def _check_size(path: Path, tumour, far: np.ndarray, name: str, table: ScorerTable) -> None:
    """Refuse a size that cuts more off than a sloppy outline."""
    import shapely

    width, height = table.slides[name].size
    if tumour.area and shapely.intersection(tumour, shapely.box(0, 0, width, height)).area < (1 - _CUT) * tumour.area:
        raise UserError(
            f"{table.where(name)} is {width} x {height}, but its outlines in {path} reach x={far[0]:.10g}, "
            f"y={far[1]:.10g}: write the level-0 size, width before height"
        )


def _from_mask(source, path, name, table, settings, truth) -> Lesions:
    slide = table.slides[name]
    mask, _ = masks.read_mask(path, slide.size, source.downsample, source.value)
    # the spacing by the same rule, and with the same errors
    spacing = lesions_of(None, DOWNSAMPLE, DOWNSAMPLE, slide.mpp, settings).mpp
    return label_lesions(mask, spacing)


def _from_lesions(source, path, name, table, settings, truth) -> Lesions:
    lesions, size = load_lesions(path), table.slides[name].size
    grid = size and (-(-size[1] // DOWNSAMPLE), -(-size[0] // DOWNSAMPLE))
    if grid and grid != lesions.shape:
        raise UserError(
            f"{table.where(name)} is {size[0]} x {size[1]}, but {path} was made for another size: correct the size"
        )
    return lesions


# ---------------------------------------------------------------------------------------------------- together


def checked_detections(files: Mapping[str, Path], truth: Truth, table: ScorerTable) -> None:
    """Read all files once for their mistakes; widen the grid of slides whose size is not known to hold them all."""
    for slide, path in files.items():
        lesions = truth.lesions.get(slide)
        size = table.slides[slide].size
        if size is None and lesions is not None and slide not in truth.open_ended:
            size = (lesions.shape[1] * DOWNSAMPLE, lesions.shape[0] * DOWNSAMPLE)
        read = check_positions(path, size)
        if slide in truth.open_ended and len(read):
            far = (read[:, 1:].max(axis=0) // DOWNSAMPLE).astype(int) + 1
            shape = (max(lesions.shape[0], int(far[1])), max(lesions.shape[1], int(far[0])))
            truth.lesions[slide] = replace(lesions, shape=shape)


def compare(
    table: ScorerTable, first: Mapping[str, Path], second: Mapping[str, Path], truth: Truth, settings: Settings
) -> dict[str, Any]:
    """Paired bootstrap of two folders' FROC scores, in both modes: difference (first less second), interval, p.

    Raises
    ------
    UserError : a slide that only one of the folders has.
    """
    for mine, others in ((first, second), (second, first)):
        lacking = sorted(set(mine) - set(others))
        if lacking:
            raise UserError(
                f"{mine[lacking[0]]}: the other folder has no {lacking[0]}.csv: a paired test needs the same slides in "
                "both; write an empty file where nothing was found"
            )
    return {
        mode: asdict(
            resampling.paired_bootstrap(
                slide_hits(table.slides, first, truth.lesions, mode),
                slide_hits(table.slides, second, truth.lesions, mode),
                settings.bootstrap,
                settings.seed,
                settings.confidence,
                mode,
            )
        )
        for mode in MODES
    }
