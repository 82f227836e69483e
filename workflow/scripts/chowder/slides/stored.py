"""The directories of a TIFF file: sizes, tiles, compression, which tiles are stored with no bytes or cut off."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tifffile

READABLE = {1, 5, 7, 8, 32946}  # none, LZW, JPEG, deflate: what every libvips build decodes by itself
# width, height, bits, compression, tile width and height, tile offsets and byte counts
_TAGS = (256, 257, 258, 259, 322, 323, 324, 325)


@dataclass(frozen=True)
class Stored:
    """One TIFF directory: size and tile (width, height), and which tiles (rows, columns) were left empty."""

    size: tuple[int, int]
    tile: tuple[int, int] | None
    compression: int
    bits: int
    sparse: np.ndarray
    lost: int = 0  # tiles that lie beyond the end of the file

    def touches_sparse(self, left: float, top: float, side: float) -> bool:
        """Whether the square at (left, top), px of this level, reaches into an empty tile."""
        width, height = self.tile
        rows = slice(max(0, math.floor(top / height)), max(0, math.floor((top + side) / height) + 1))
        columns = slice(max(0, math.floor(left / width)), max(0, math.floor((left + side) / width) + 1))
        return bool(self.sparse[rows, columns].any())


def tiff_directories(path: str) -> list[Stored]:
    """Return the directories of a TIFF or BigTIFF, in the order of libvips' pages; [] for other and damaged files."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # whether a file is a slide is for OpenSlide to say
    try:
        with tifffile.TiffFile(path) as file:
            return [_stored(page, file.filehandle.size) for page in _pages(file)]
    except Exception:  # whatever tifffile raises for a damaged directory
        return []


def _pages(file: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    seen = set()
    for page in file.pages:
        if page.offset in seen:  # a chain that bites its tail has no end
            return
        seen.add(page.offset)
        yield page


def _stored(page: tifffile.TiffPage, total: int) -> Stored:
    """One directory of a file of ``total`` bytes."""
    tags = {code: np.atleast_1d(page.tags[code].value) for code in _TAGS if code in page.tags}
    size, tile = (int(tags[256][0]), int(tags[257][0])), None
    starts, lengths = tags.get(324, np.zeros(0)), tags.get(325, np.zeros(0))
    sparse = np.zeros((0, 0), bool)
    if 322 in tags and 323 in tags and 325 in tags:
        tile = (int(tags[322][0]), int(tags[323][0]))
        shape = (-(-size[1] // tile[1]), -(-size[0] // tile[0]))
        if lengths.size == shape[0] * shape[1]:
            sparse = (lengths == 0).reshape(shape)
    lost = 0
    if starts.size == lengths.size:
        lost = int((lengths > np.maximum(total - starts.astype(float), 0)).sum())
    return Stored(size, tile, int(tags.get(259, [1])[0]), int(max(tags.get(258, [1]))), sparse, lost)
