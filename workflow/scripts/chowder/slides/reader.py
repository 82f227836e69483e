"""Opening whole slides: what they are (OpenSlide), and their pixels, fast and strictly.

OpenSlide says what levels a file has and how large a pixel is. Levels stored as tiles in JPEG, in deflate or as they
are come from ``stored_level``: each stored tile is decoded once for a band of tiles, and damaged data is an error. What
that does not read (other formats, JPEG 2000, tiles stored with byte count 0) comes from OpenSlide. The two give equal
pixels; ``Reader.decoder`` says which was used.

Coordinates: level-0 pixels unless said otherwise; images are RGB uint8 (height, width, 3); beyond the edge, and where
a scanner stored nothing, a slide is white.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from chowder.files import UserError
from chowder.slides.describe import aligned_start, describe_open, first_line, open_slide
from chowder.slides.grid import grid as lay
from chowder.slides.resampling import reduced, resized, single, with_fourth
from chowder.slides.stored import Stored, tiff_directories
from chowder.slides.stored_level import StoredLevel, decoder

if TYPE_CHECKING:
    from chowder.slides.grid import Grid

os.environ.setdefault("VIPS_CONCURRENCY", "1")  # one reader is one thread; the caller decides how many readers
MAX_OVERVIEW = 2**28  # px of a thumbnail
MAX_SOURCE = 2**33  # px of the level that a thumbnail is made from
SAME = 1e-3  # relative difference of um/px of an overview that counts as none
RUN = 64  # neighbouring tiles that are resampled together


def _white(rgba: np.ndarray) -> np.ndarray:
    """RGB of an RGBA image laid on white."""
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    weight = alpha.astype(np.float32) / 255
    return np.rint(rgba[..., :3] * weight + 255 * (1 - weight)).astype(np.uint8)


class Reader:
    """The pixels of one slide. Not for sharing between threads: open one in each.

    Attributes
    ----------
    info : SlideInfo
    decoder : str
        "simplejpeg" (libjpeg-turbo), "zlib", "none" (not compressed), "openslide", or two of them, joined by "+", when
        tiles touched parts that only OpenSlide reads.
    """

    def __init__(self, path: str | os.PathLike, mpp: float | None = None):
        import pyvips

        pyvips.cache_set_max(0)  # operations are not reused: a cache would only hold memory
        self.path = str(path)
        self._slide = open_slide(path)
        self.info = describe_open(self._slide, self.path, mpp)
        self._layout = self._match_levels()
        self._open: dict[int, StoredLevel] = {}
        self._used: set[str] = set()
        self._agreed: Grid | None = None  # the grid that was last found to be this slide's

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._slide.close()
        for level in self._open.values():
            level.close()

    @property
    def decoder(self) -> str:
        """Which decoders gave the pixels, joined by "+"; "" before any were read."""
        return "+".join(sorted(self._used))

    def decoders_reset(self) -> None:
        """Forget which decoders were used so far, so that ``decoder`` speaks of what comes."""
        self._used.clear()

    def _match_levels(self) -> dict[int, Stored]:
        """Stored tiles of every level that is one whole image of the file, in a form that is known."""
        layout = {}
        directories = tiff_directories(self.path)
        for number, stored in enumerate(directories):
            if stored.lost:
                raise UserError(
                    f"{self.path}: is cut off: {stored.lost} tiles of its image {number} ({stored.size[0]} x "
                    f"{stored.size[1]} px) lie beyond the end of the file: fetch it again"
                )
        if self.info.vendor not in {"generic-tiff", "aperio", "philips"}:
            return layout  # other vendors split or overlap what an image of the file holds
        for level, size in enumerate(self.info.levels):
            same = [stored for stored in directories if stored.tile and self._is_level(stored, size)]
            for stored in same:
                if stored.strange:
                    raise UserError(
                        f"{self.path}: level {level} holds {stored.strange}, which would be shown in wrong colours: "
                        "convert it to RGB first"
                    )
            if len(same) == 1 and same[0].usual:
                layout[level] = same[0]
        return layout

    def _is_level(self, stored: Stored, size: tuple[int, int]) -> bool:
        """Whether an image of the file has a level's size; those of Philips are padded to whole tiles."""
        room = stored.tile if self.info.vendor == "philips" else (1, 1)
        return all(0 <= stored.size[axis] - size[axis] < room[axis] for axis in (0, 1))

    def _stored(self, level: int) -> StoredLevel | None:
        """Return the level as stored tiles, None when only OpenSlide reads it."""
        if level in self._layout and level not in self._open and decoder(self._layout[level]):
            self._open[level] = StoredLevel(self.path, self._layout[level], f"{self.path}: level {level}")
        return self._open.get(level)

    def _source(self, level: int, x: int, y: int, width: int, height: int, four: bool = False) -> np.ndarray:
        """Pixels of a level from OpenSlide, laid on white; x, y, width, height in px of that level."""
        stated = self._slide.level_downsamples[level]
        left, top = aligned_start(x, stated), aligned_start(y, stated)
        corner = (round(left * stated), round(top * stated))
        size = (width + x - left, height + y - top)
        pixels = _white(np.asarray(self._slide.read_region(corner, level, size)))[y - top :, x - left :]
        return with_fourth(pixels) if four else pixels

    def thumbnail(self, mpp: float) -> np.ndarray:
        """Return the whole slide at ``mpp`` um/px: (ceil(height), ceil(width), 3) uint8, white outside.

        Whole px are averaged first, a triangle filter does the rest (less than a factor of two): nothing aliases.

        Pixel (row, column) covers level-0 px [column, column + 1) * mpp / info.mpp, exactly.
        """
        info = self.info
        step = mpp / info.mpp
        size = (math.ceil(round(info.width / step, 6)), math.ceil(round(info.height / step, 6)))
        if size[0] * size[1] > MAX_OVERVIEW:
            raise UserError(f"{self.path}: a {size[0]} x {size[1]} px overview is too large: check its um/px")
        fine = [i for i, down in enumerate(info.downsamples) if down <= step * (1 + SAME)] or [0]
        level = max(fine, key=lambda i: info.downsamples[i])
        if info.levels[level][0] * info.levels[level][1] > MAX_SOURCE:
            raise UserError(
                f"{self.path}: has no small level to make an overview from: convert it with `vips tiffsave IN OUT.tif "
                "--tile --pyramid --compression jpeg`"
            )
        scale = step / info.downsamples[level]  # px of the level per px of the thumbnail
        whole = max(1, math.floor(scale * (1 + SAME)))
        try:
            small = self._shrunk(level, whole)
        except UserError:
            raise
        except Exception as error:
            if type(error).__name__ not in {"OpenSlideError", "Error"}:
                raise
            raise UserError(
                f"{self.path}: cannot be read at level {level} ({first_line(error)}): fetch the slide again"
            ) from None
        return resized(small, 0.0, 0.0, scale / whole, size, "triangle")

    def _shrunk(self, level: int, factor: int) -> np.ndarray:
        """Return a whole level, ``factor`` x ``factor`` px averaged into one; a rest at the edge is white."""
        import pyvips

        width, height = self.info.levels[level]
        columns, rows = -(-width // factor), -(-height // factor)
        stored = None if self._has_holes(level) else self._stored(level)
        self._used.add(stored.decoder if stored else "openslide")
        by_libvips = stored is not None and self._layout[level].size == (width, height)
        result = np.empty((rows, columns, 3), np.uint8)
        deep = max(1, (256 if stored else 1024) // factor)
        for top in range(0, rows, deep):
            count = min(deep, rows - top)
            size = (columns * factor, count * factor)
            if by_libvips:
                band = pyvips.Image.new_from_memory(stored.read(0, top * factor, *size), *size, 3, "uchar")
                band = band.shrink(factor, factor) if factor > 1 else band
                result[top : top + count] = band.numpy().reshape(count, columns, 3)
                continue
            band = np.full((size[1], size[0], 3), 255, np.uint8)
            real = min(height - top * factor, count * factor)
            for left in range(0, width, 8192):  # OpenSlide refuses images above 32767 px a side
                part = min(8192, width - left)
                read = stored.read if stored else functools.partial(self._source, level)
                band[:real, left : left + part] = read(left, top * factor, part, real)
            total = band.reshape(count, factor, columns, factor, 3).sum((1, 3), dtype=np.uint32)
            result[top : top + count] = (total + factor * factor // 2) // (factor * factor)
        return result

    def _has_holes(self, level: int) -> bool:
        return level in self._layout and bool(self._layout[level].sparse.any())

    def _check(self, grid: Grid) -> None:
        """Refuse a grid that is not this slide's own: another um/px, size or pyramid."""
        if grid is self._agreed:
            return
        own = asdict(lay(self.info, grid.size, grid.mpp, grid.resample))
        for key, value in asdict(grid).items():
            same = math.isclose(value, own[key], rel_tol=1e-9) if isinstance(value, float) else value == own[key]
            if not same:
                raise UserError(
                    f"{self.path}: the tile grid was laid on another slide ({key} is {value} there, {own[key]} here): "
                    "delete the tile table and rerun `tiles`"
                )
        self._agreed = grid

    def tiles(self, xy: np.ndarray, grid: Grid) -> Iterator[np.ndarray]:
        """Yield the tiles with upper left corners ``xy`` (n, 2) of ``grid`` as (size, size, 3) uint8, in that order.

        Give them in row-major order: that is what makes it fast. Resampling is Lanczos (three lobes, widened by the
        reduction, so that nothing aliases) on a grid of px at the target um/px that starts at (0, 0): a tile's pixels
        don't depend on which others are read. Raises UserError with slide and place when pixels are unreadable, and for
        a grid that was laid on another slide.
        """
        self._check(grid)
        level, size, scale = grid.level, grid.size, grid.scale
        xy = np.asarray(xy).reshape(-1, 2)
        places = np.rint(xy / grid.extent).astype(int).tolist()
        layout, stored = self._layout.get(level), self._stored(level)
        reach = 3 * max(scale, 1.0) + 1 if scale != 1 else 0  # px of the level that the filter sees beyond the tile
        sparse = [False] * len(places)
        if self._has_holes(level):
            side, step = size * scale + 2 * reach, size * scale
            sparse = [layout.touches_sparse(x * step - reach, y * step - reach, side) for x, y in places]
        # What Pillow resampled before stays with it: its last bit differs from libvips'.
        together = scale > 1 and layout is not None and layout.size == self.info.levels[level]
        done = 0
        while done < len(places):
            column, row = places[done]
            stop = done + 1
            if together and not sparse[done]:
                while stop < min(done + RUN, len(places)) and not sparse[stop]:
                    if places[stop] != [column + stop - done, row]:
                        break
                    stop += 1
            own = stored is not None and not sparse[done]
            read = stored.read if own else functools.partial(self._source, level)
            self._used.add(stored.decoder if own else "openslide")
            if together and not sparse[done]:
                read = functools.partial(read, four=True)
            try:
                if together and not sparse[done]:
                    yield from reduced(read, layout.size, column, row, stop - done, size, scale)
                else:
                    yield single(read, column * size * scale, row * size * scale, size, scale)
            except UserError:
                raise
            except Exception as error:
                if type(error).__name__ != "OpenSlideError":
                    raise
                raise UserError(
                    f"{self.path}: the tile at level-0 px ({xy[done][0]}, {xy[done][1]}) cannot be read from level "
                    f"{level} ({first_line(error)}): fetch the slide again or leave it out of the slides table"
                ) from None
            done = stop
