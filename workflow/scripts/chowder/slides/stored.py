"""The directories of a TIFF file: sizes, tiles, compression, where a tile's bytes are, which are empty or cut off."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tifffile

UNCOMPRESSED, LZW, JPEG, DEFLATE = 1, 5, 7, {8, 32946}  # TIFF compressions
USUAL = {UNCOMPRESSED, LZW, JPEG, *DEFLATE}
GREY, RGB, YCBCR = 1, 2, 6  # TIFF photometric interpretations
SHOWN = {-1, 0, GREY, RGB, 3, YCBCR}  # OpenSlide shows them right, also -1 (not said), 0 (white is 0) and 3 (palette)
COLOURS = {4: "a transparency mask", 5: "CMYK", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32803: "raw sensor"}
TRANSPARENCY = {1, 2}  # TIFF extra samples that are
# width, height, bits, compression, photometric, samples, planes, predictor, tile width and height, offsets and byte
# counts of tiles, extra samples
_TAGS = (256, 257, 258, 259, 262, 277, 284, 317, 322, 323, 324, 325, 338)
_TABLES = 347


@dataclass(frozen=True)
class Stored:
    """One TIFF directory: size and tile (width, height) in px, and where the bytes of each tile are.

    ``sparse`` (rows, columns) bool: tiles that were left empty. ``starts`` and ``lengths`` (rows * columns,) int64:
    bytes of the file, row by row. ``lost``: number of tiles beyond the end of the file. ``tables``: JPEG tables that
    its tiles share, b"" without. The other fields are the TIFF tags of these names.
    """

    size: tuple[int, int]
    tile: tuple[int, int] | None
    compression: int
    bits: int
    sparse: np.ndarray
    lost: int = 0
    photometric: int = RGB
    samples: int = 3
    planes: int = 1
    predictor: int = 1
    starts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    lengths: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    tables: bytes = b""
    extra: tuple[int, ...] = ()

    def touches_sparse(self, left: float, top: float, side: float) -> bool:
        """Whether the square at (left, top), px of this level, reaches into an empty tile."""
        width, height = self.tile
        rows = slice(max(0, math.floor(top / height)), max(0, math.floor((top + side) / height) + 1))
        columns = slice(max(0, math.floor(left / width)), max(0, math.floor((left + side) / width) + 1))
        return bool(self.sparse[rows, columns].any())

    @property
    def plain(self) -> bool:
        """Whether it holds tiles of three interleaved 8-bit colours, each with a place in the file."""
        return bool(self.sparse.size) and (self.bits, self.samples, self.planes) == (8, 3, 1)

    @property
    def usual(self) -> bool:
        """Whether it holds 8-bit colours in a compression that every TIFF library reads."""
        return self.bits == 8 and self.compression in USUAL and self.photometric not in {0, GREY}

    @property
    def strange(self) -> str:
        """The name of its colours when decoders show them as others (CMYK taken for RGB with alpha), else ""."""
        if self.photometric in SHOWN:
            unsaid = (
                self.photometric in {RGB, YCBCR} and self.samples > 3 and not TRANSPARENCY.intersection(self.extra[:1])
            )
            return "a fourth colour that is not said to be transparency" if unsaid else ""
        return COLOURS.get(self.photometric, f"TIFF photometric interpretation {self.photometric}")


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
        if min(tile) < 1:
            raise ValueError("a tile without an extent")
        shape = (-(-size[1] // tile[1]), -(-size[0] // tile[0]))
        if lengths.size == shape[0] * shape[1] == starts.size:
            sparse = (lengths == 0).reshape(shape)
    lost = 0
    if starts.size == lengths.size:
        lost = int((lengths > np.maximum(total - starts.astype(float), 0)).sum())
    return Stored(
        size,
        tile,
        int(tags.get(259, [1])[0]),
        int(max(tags.get(258, [1]))),
        sparse,
        lost,
        photometric=int(tags[262][0]) if 262 in tags else -1,
        samples=int(tags.get(277, [1])[0]),
        planes=int(tags.get(284, [1])[0]),
        predictor=int(tags.get(317, [1])[0]),
        starts=starts.astype(np.int64),
        lengths=lengths.astype(np.int64),
        tables=bytes(page.tags[_TABLES].value) if _TABLES in page.tags else b"",
        extra=tuple(int(value) for value in tags.get(338, ())),
    )
