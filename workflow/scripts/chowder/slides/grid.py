"""The tile grid of a slide, and the tiles that hold tissue.

The grid is fixed and does not overlap: tile (column, row) covers the level-0 square [column * extent,
(column + 1) * extent) x [row * extent, (row + 1) * extent), starting at the slide's corner (docs/methods.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chowder.files import UserError

if TYPE_CHECKING:
    from chowder.slides.describe import SlideInfo

SAME = 1e-3  # relative difference of um/px of an overview that counts as none
NEAR = 0.02  # relative difference of a level's um/px from the target up to which its px are taken as they are


@dataclass(frozen=True)
class Grid:
    """Where the tiles of a slide lie and from what they are read.

    Attributes
    ----------
    size : int
        Tile edge in px, as the encoder gets it.
    mpp : float
        um/px that was wanted.
    mpp_read : float
        um/px of the pyramid level that is read.
    resample : str
        "target": read px are resampled to ``mpp``; "level": they are taken as they are.
    level : int
        Pyramid level that is read.
    extent : float
        Tile edge in level-0 px.
    mpp0 : float
        um/px of level 0.
    scale : float
        px of the level read per px of the tile; 1 means no resampling.
    columns, rows : int
        Tiles that cover the slide (the last may reach beyond its edge, where a slide is white).
    """

    size: int
    mpp: float
    mpp_read: float
    resample: str
    level: int
    extent: float
    mpp0: float
    scale: float
    columns: int
    rows: int


def grid(info: SlideInfo, size: int = 224, mpp: float = 0.5, resample: str = "target") -> Grid:
    """Return the tile grid of a slide (specification, section 1).

    "target" reads the coarsest level that is at least as fine as ``mpp`` (level 0 when none is) and resamples it to
    ``mpp``; a level within 2 % of ``mpp`` counts as being there and is not resampled (docs/reading.md). "level" takes
    the level nearest to ``mpp`` (by ratio) as it is.
    """
    if size < 1 or not mpp > 0:
        raise UserError(f"tiles: size {size} px at {mpp} um/px makes no grid: give positive numbers")
    spacings = [info.mpp * downsample for downsample in info.downsamples]
    if resample == "level":
        level = min(range(len(spacings)), key=lambda i: abs(math.log(spacings[i] / mpp)))
        scale = 1.0
    elif resample == "target":
        fine = [i for i, spacing in enumerate(spacings) if spacing <= mpp * (1 + NEAR) + 1e-9] or [
            min(range(len(spacings)), key=spacings.__getitem__)
        ]
        level = max(fine, key=spacings.__getitem__)
        scale = mpp / spacings[level]
        if abs(spacings[level] / mpp - 1) <= NEAR + 1e-9:
            scale = 1.0
    else:
        raise UserError(f"tiles.resample: {resample!r} is neither 'target' nor 'level'")
    extent = size * scale * info.downsamples[level]
    columns, rows = (math.ceil(round(side / extent, 9)) for side in (info.width, info.height))
    return Grid(size, mpp, spacings[level], resample, level, extent, info.mpp, scale, columns, rows)


def fractions(mask: np.ndarray, mask_scale: tuple[float, float], grid: Grid) -> np.ndarray:
    """Share of each tile's area that is tissue: (rows, columns) float64 in [0, 1], exact to rounding.

    ``mask`` (height, width) bool; ``mask_scale`` level-0 px per mask px (x, y). A mask px that a tile's border cuts
    counts by the part inside. Beyond the mask there is no tissue.
    """
    result = np.asarray(mask, np.float64)
    for scale, count in ((mask_scale[1], grid.rows), (mask_scale[0], grid.columns)):
        edges = np.arange(count + 1) * (grid.extent / scale)  # in mask px
        total = np.concatenate([np.zeros((1, result.shape[1])), np.cumsum(result, 0)])
        edges = np.minimum(edges, len(total) - 1)
        low = np.floor(edges).astype(int)
        high = np.minimum(low + 1, len(total) - 1)
        part = (edges - low)[:, None]
        total = total[low] * (1 - part) + total[high] * part  # the integral is linear within a px
        result = np.diff(total, axis=0).T
    area = (grid.extent / mask_scale[0]) * (grid.extent / mask_scale[1])
    return np.clip(result / area, 0.0, 1.0)


def _column(values: np.ndarray, kind: type):
    """Return an arrow array of numpy's ``kind`` from its buffer (``pa.array`` would import pandas: 0.5 s)."""
    import pyarrow as pa

    values = np.ascontiguousarray(values, dtype=kind)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def tissue_tiles(mask: np.ndarray, mask_scale: tuple[float, float], grid: Grid, min_tissue: float = 0.5):
    """Tiles with at least ``min_tissue`` tissue, in row-major order: a pyarrow table (x, y, tissue, column, row).

    A slide always gives a tile: when none passes, the one with the most tissue (without any, the middle one), and
    a second return value says so. Returns (table, warning or None).
    """
    import pyarrow as pa

    share = fractions(mask, mask_scale, grid)
    keep = share >= min_tissue - 1e-9
    warning = None
    if not keep.any():
        best = np.unravel_index(np.argmax(share), share.shape)
        if share[best] == 0:
            best = (grid.rows // 2, grid.columns // 2)
        keep[best] = True
        warning = (
            f"no tile has {min_tissue:g} of its area in tissue: took the best one (column {best[1]}, row {best[0]}, "
            f"{share[best]:.3f})"
        )
    rows, columns = np.nonzero(keep)
    table = pa.table(
        {
            "x": _column(np.rint(columns * grid.extent), np.int32),
            "y": _column(np.rint(rows * grid.extent), np.int32),
            "tissue": _column(share[rows, columns], np.float32),
            "column": _column(columns, np.int32),
            "row": _column(rows, np.int32),
        }
    )
    return table, warning
