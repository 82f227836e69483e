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
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from chowder.files import UserError
from chowder.slides.describe import aligned_start, describe_open, first_line, open_slide
from chowder.slides.grid import grid as lay
from chowder.slides.stored import Stored, tiff_directories
from chowder.slides.stored_level import StoredLevel, decoder

if TYPE_CHECKING:
    from chowder.slides.grid import Grid

Read = Callable[[int, int, int, int], np.ndarray]  # left, top, width, height in px of a level to RGB
os.environ.setdefault("VIPS_CONCURRENCY", "1")  # one reader is one thread; the caller decides how many readers
MAX_OVERVIEW = 2**28  # px of a thumbnail
MAX_SOURCE = 2**33  # px of the level that a thumbnail is made from
SAME = 1e-3  # relative difference of um/px of an overview that counts as none
RUN = 16  # neighbouring tiles that are resampled together


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

    def _source(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of a level from OpenSlide, laid on white; x, y, width, height in px of that level."""
        stated = self._slide.level_downsamples[level]
        left, top = aligned_start(x, stated), aligned_start(y, stated)
        corner = (round(left * stated), round(top * stated))
        size = (width + x - left, height + y - top)
        return _white(np.asarray(self._slide.read_region(corner, level, size)))[y - top :, x - left :]

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
        return _resized(small, 0.0, 0.0, scale / whole, size, "triangle")

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
            try:
                if together and not sparse[done]:
                    yield from self._run(read, level, column, row, stop - done, size, scale)
                else:
                    yield _one(read, column * size * scale, row * size * scale, size, scale)
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

    def _run(self, read: Read, level: int, column: int, row: int, count: int, size: int, scale: float):
        """Yield ``count`` neighbouring tiles of a row of the grid, reduced by ``scale``."""
        import pyvips

        # The source px that the filter can see, in an image of the level's size of which nothing else is looked at:
        # so a px of the result has the same place, weights and bits whatever is read with it.
        reach = math.ceil(4 * scale) + 8
        width, height = self.info.levels[level]
        left, right = self._span(column, count, size * scale, reach, width)
        top, bottom = self._span(row, 1, size * scale, reach, height)
        source = read(left, top, right - left, bottom - top)
        image = pyvips.Image.new_from_memory(source, right - left, bottom - top, 3, "uchar")
        region = pyvips.Region.new(_reduced(image.embed(left, top, width, height), scale))
        for number in range(column, column + count):  # one by one: libvips' rounding depends on where a region begins
            pixels = region.fetch(number * size, row * size, size, size)
            yield np.frombuffer(pixels, np.uint8).reshape(size, size, 3)

    @staticmethod
    def _span(first: int, count: int, edge: float, reach: int, length: int) -> tuple[int, int]:
        """Return the px between which the filter sees tiles of ``edge`` px, inside a level of ``length`` px."""
        start = min(max(0, math.floor(first * edge) - reach), length - 1)
        return start, max(start + 1, min(length, math.ceil((first + count) * edge) + reach))


def _one(read: Read, left: float, top: float, size: int, scale: float) -> np.ndarray:
    """Return one tile by itself, resampled by Pillow."""
    if scale == 1:
        return read(round(left), round(top), size, size)
    reach = math.ceil(3 * max(scale, 1.0)) + 1
    x, y = math.floor(left) - reach, math.floor(top) - reach
    x, y = max(x, 0), max(y, 0)
    side = math.ceil(size * scale) + 2 * reach + 1
    source = read(x, y, side, side)
    return _resized(source, left - x, top - y, scale, (size, size), "lanczos")


def _resized(source: np.ndarray, left: float, top: float, scale: float, size: tuple[int, int], kind: str) -> np.ndarray:
    """Resample so that output px (i, j) covers source px [left + i * scale, ...): size (width, height), uint8."""
    from PIL import Image

    width, height = size
    right, bottom = left + width * scale, top + height * scale
    if (left, top) == (0, 0) and abs(scale - 1) < 1e-9 and source.shape[:2] == (height, width):
        return source
    need = (math.ceil(bottom - 1e-9), math.ceil(right - 1e-9))
    if need[0] > source.shape[0] or need[1] > source.shape[1]:
        fill = ((0, max(0, need[0] - source.shape[0])), (0, max(0, need[1] - source.shape[1])), (0, 0))
        source = np.pad(source, fill, constant_values=255)
    method = Image.Resampling.LANCZOS if kind == "lanczos" else Image.Resampling.BILINEAR
    box = (left, top, min(right, source.shape[1]), min(bottom, source.shape[0]))
    return np.asarray(Image.fromarray(source).resize(size, method, box=box))


def _reduced(image, scale: float):
    """Reduce a libvips image: output px i is centred on source px (i + 0.5) * scale - 0.5, white outside.

    libvips spreads what a whole number of output px leaves over evenly on both ends, which would shift the picture by
    up to half a px. The image is therefore widened by the few white px that make the rest vanish.
    """
    width = image.width + _filler(image.width, scale)
    height = image.height + _filler(image.height, scale)
    # room for tiles that reach beyond the edge
    image = image.embed(0, 0, width, height, extend="background", background=255)
    if scale != 1:
        image = image.reducev(scale, kernel="lanczos3").reduceh(scale, kernel="lanczos3")
    return image


@functools.cache
def _filler(length: int, scale: float, room: int = 4096) -> int:
    """White px to add so that length / scale is whole to 1/1000 px (the best of ``room``), at least ``room``."""
    extra = np.arange(room, 2 * room)
    total = length + extra
    rest = np.abs(np.rint(total / scale) * scale - total)
    return int(extra[np.argmax(rest <= max(1e-3, rest.min()))])
