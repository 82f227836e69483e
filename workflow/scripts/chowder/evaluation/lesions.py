"""Lesions of a slide at level 5: numbered components, isolated tumour cells, and their file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chowder.data import annotations
from chowder.files import UserError, atomic, reason


def lesions_of(
    annotation: str | os.PathLike | None, width: int, height: int, mpp: float | None, settings: Mapping[str, Any]
) -> Lesions:
    """Lesions of a slide of ``width`` x ``height`` level-0 pixels from its ASAP annotation (None: normal slide).

    ``settings``: ``froc_mpp``, um per level-0 pixel (0.243, as the official evaluation), or ``slide`` for ``mpp``.
    """
    spacing = settings.get("froc_mpp", MPP)
    if spacing == "slide":
        if mpp is None:
            raise UserError(
                "evaluation.froc_mpp is 'slide', but this slide's mpp is not known: give it in the slides table"
            )
        spacing = mpp
    if isinstance(spacing, bool) or not isinstance(spacing, int | float):
        raise UserError(f"evaluation.froc_mpp is {spacing!r}: give um/px (official: 0.243) or 'slide'")
    if annotation is None:
        empty = np.zeros((math.ceil(height / DOWNSAMPLE), math.ceil(width / DOWNSAMPLE)), dtype=bool)
        return label_lesions(empty, float(spacing))
    outlines = annotations.read_asap(annotation, (int(width), int(height)))
    lesions = label_lesions(annotations.tumor_mask(outlines, width, height, DOWNSAMPLE), float(spacing))
    repaired = [f"{annotation}: polygon '{name}' crosses itself: repaired" for name in outlines.repaired]
    lesions.warnings = outlines.warnings + repaired
    return lesions


MPP = 0.243
DOWNSAMPLE = 32
MODES = ("official", "corrected")
_ITC_UM = 275.0


@dataclass
class Lesions:
    """The lesions of one slide on the evaluation grid (one pixel = ``downsample`` level-0 pixels).

    ``shape``: (rows, columns) of the whole grid. ``crop``: int32 labels 1..n of the part that holds lesions, its first
    pixel at ``offset`` (row, column). ``holes``: bool like ``crop``, pixels that only hole filling gave a label.
    ``itc``: labels too small to count (isolated tumour cells). ``table``: a dict a label with label, area_mm2,
    major_axis_um, itc. ``warnings``: what was noted while the annotation was read.
    """

    shape: tuple[int, int]
    crop: np.ndarray
    offset: tuple[int, int]
    holes: np.ndarray
    itc: list[int]
    table: list[dict]
    mpp: float = MPP
    downsample: int = DOWNSAMPLE
    warnings: list[str] = field(default_factory=list)

    @property
    def labels(self) -> np.ndarray:
        """int32 label image of the whole grid, holes filled as in ``official`` mode."""
        image = np.zeros(self.shape, dtype=np.int32)
        (row, column), (height, width) = self.offset, self.crop.shape
        image[row : row + height, column : column + width] = self.crop
        return image

    @property
    def counted(self) -> np.ndarray:
        """Labels that count as lesions, ascending."""
        return np.setdiff1d(np.arange(1, len(self.table) + 1), self.itc)


def label_lesions(mask: np.ndarray, mpp: float = MPP, downsample: int = DOWNSAMPLE, mode: str = "official") -> Lesions:
    """Expand by 37.5 um, fill holes, label, find isolated tumour cells: steps 1 and 2 of specification, section 6.

    Parameters
    ----------
    mask : (rows, columns), true where a pixel is tumour (any number but 0: 1 and 255 mean the same).
    mpp : um per level-0 pixel; the official evaluation takes 0.243 for both scanners.
    mode : ``corrected`` gives no label to filled holes (more than 37.5 um from any annotated tumour). Lesions and
        isolated tumour cells are the same in both modes, and ``froc.hits`` can do either from an ``official`` result.
    """
    from skimage import measure

    check_mode(mode)
    if not (np.isfinite(mpp) and mpp > 0 and downsample > 0):
        raise UserError(f"mpp {mpp} with downsample {downsample}: both must be above 0")
    mask = np.asarray(mask) != 0
    if mask.ndim != 2:
        raise UserError(f"a tumour mask has 2 dimensions, this one has {mask.ndim}")
    pixel = mpp * downsample
    if not mask.any():
        empty = np.zeros((0, 0), dtype=np.int32)
        return Lesions(mask.shape, empty, (0, 0), empty.astype(bool), [], [], mpp, downsample)
    region, offset = _expanded(mask, 75 / (pixel * 2))
    filled = _fill_holes(region)
    labels = measure.label(filled, connectivity=2).astype(np.int32)
    table, itc = [], []
    for properties in measure.regionprops(labels):
        axis = float(properties.axis_major_length)
        small = axis < _ITC_UM / pixel
        if small:
            itc.append(int(properties.label))
        area = float(properties.num_pixels) * (pixel / 1000) ** 2
        row = {"label": int(properties.label), "area_mm2": area, "major_axis_um": axis * pixel, "itc": int(small)}
        table.append(row)
    holes = filled & ~region
    if mode == "corrected":
        labels[holes] = 0
    return Lesions(mask.shape, labels, offset, holes, itc, table, mpp, downsample)


def _expanded(mask: np.ndarray, radius: float) -> tuple[np.ndarray, tuple[int, int]]:
    """Pixels nearer than ``radius`` (Euclid, strictly) to a pixel of ``mask``, cropped to them with a rim of one.

    The nearest mask pixel of a pixel outside always touches the outside, so only the rim of the mask is expanded:
    the distance of all pixels of a slide (20 million) is never needed. Equal to the distance transform, exactly.
    """
    reach = max(math.ceil(radius), 0) + 1
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = max(rows[0] - reach, 0), min(rows[-1] + reach + 1, mask.shape[0])
    left, right = max(columns[0] - reach, 0), min(columns[-1] + reach + 1, mask.shape[1])
    padded = np.pad(mask[top:bottom, left:right], reach)
    inner = padded.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            inner &= np.roll(padded, step, axis=axis)
    rim = np.flatnonzero(padded & ~inner)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    near = np.sqrt((dx * dx + dy * dy).astype(np.float64)) < radius
    region = padded.copy()
    flat = region.reshape(-1)
    for step in (dy[near] * padded.shape[1] + dx[near]).tolist():
        flat[rim + step] = True
    # back to the slide: what fell outside it is cut off, a rim of one is kept where the slide has it
    return region[reach : reach + bottom - top, reach : reach + right - left], (int(top), int(left))


def _fill_holes(region: np.ndarray) -> np.ndarray:
    """Equal to scipy.ndimage.binary_fill_holes, by labels instead of its repeated dilation."""
    from scipy import ndimage

    outside, _ = ndimage.label(~region)
    edge = np.concatenate([outside[0], outside[-1], outside[:, 0], outside[:, -1]])
    return ~np.isin(outside, edge[edge > 0])


def save(path: str | os.PathLike, lesions: Lesions) -> None:
    """Write a :class:`Lesions` as compressed npz (no pickle)."""
    table = np.array(
        [(row["label"], row["area_mm2"], row["major_axis_um"], row["itc"]) for row in lesions.table], dtype=np.float64
    ).reshape(-1, 4)
    with atomic(path) as scratch, open(scratch, "wb") as handle:
        np.savez_compressed(
            handle,
            shape=np.array(lesions.shape),
            crop=lesions.crop,
            offset=np.array(lesions.offset),
            holes=np.packbits(lesions.holes),
            itc=np.array(lesions.itc, dtype=np.int32),
            table=table,
            scale=np.array([lesions.mpp, lesions.downsample]),
            warnings=np.array(lesions.warnings, dtype=np.str_),
        )


def load(path: str | os.PathLike) -> Lesions:
    """Read what :func:`save` wrote."""
    try:
        with np.load(path, allow_pickle=False) as data:
            crop = data["crop"]
            holes = np.unpackbits(data["holes"], count=crop.size).astype(bool).reshape(crop.shape)
            keys = ("label", "area_mm2", "major_axis_um", "itc")
            rows = [dict(zip(keys, row, strict=True)) for row in data["table"].tolist()]
            table = [row | {"label": int(row["label"]), "itc": int(row["itc"])} for row in rows]
            shape, offset = (tuple(int(value) for value in data[key]) for key in ("shape", "offset"))
            mpp, downsample = data["scale"].tolist()
            warnings = data["warnings"].tolist()
            return Lesions(shape, crop, offset, holes, data["itc"].tolist(), table, mpp, int(downsample), warnings)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: make it with lesions.py") from None
    except Exception as error:  # numpy and zipfile raise of all kinds for what was edited
        raise UserError(f"{path}: not a lesion file ({reason(error)}): make it again with lesions.py") from None


def check_mode(mode: str) -> None:
    """Raise UserError unless ``mode`` is one of ``MODES``."""
    if mode not in MODES:
        raise UserError(f"FROC mode '{mode}': choose {' or '.join(MODES)}")
