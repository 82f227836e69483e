"""Opening whole slides: what they are (OpenSlide), and their pixels at the speed of libvips.

OpenSlide says what levels a file has and how large a pixel is. Pixels come from libvips' TIFF loader, one
``Region`` fetched in row-major order, which keeps the last rows of JPEG tiles decoded: each is decoded once for a
band of tiles, not once for every tile that touches it. What that loader cannot read (other formats, JPEG 2000, tiles
stored with byte count 0) comes from OpenSlide: the two give equal pixels, and ``Reader.decoder`` says which was used.

Coordinates: level-0 pixels unless said otherwise; images are RGB uint8 (height, width, 3); beyond the edge, and where
a scanner stored nothing, a slide is white.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from chowder.files import UserError
from chowder.slides.describe import aligned_start, describe_open, first_line, open_slide
from chowder.slides.grid import grid as lay
from chowder.slides.stored import READABLE, Stored, tiff_directories

if TYPE_CHECKING:
    from chowder.slides.grid import Grid

os.environ.setdefault("VIPS_CONCURRENCY", "1")  # one reader is one thread; the caller decides how many readers
MAX_OVERVIEW = 2**28  # px of a thumbnail
MAX_SOURCE = 2**33  # px of the level that a thumbnail is made from
SAME = 1e-3  # relative difference of um/px below which a level counts as being at the target already


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
        "libvips", "openslide", or "libvips+openslide" when tiles touched parts that only OpenSlide reads.
    """

    def __init__(self, path: str | os.PathLike, mpp: float | None = None):
        import pyvips

        pyvips.cache_set_max(0)  # operations are not reused: a cache would only hold memory and stale errors
        self.path = str(path)
        self._slide = open_slide(path)
        self.info = describe_open(self._slide, self.path, mpp)
        self._pages, self._layout = self._match_pages()
        self._used: set[str] = set()
        self._agreed: Grid | None = None  # the grid that was last found to be this slide's

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._slide.close()

    @property
    def decoder(self) -> str:
        """Which decoders gave the pixels: "libvips", "openslide" or "libvips+openslide"."""
        return "+".join(sorted(self._used)) or ("libvips" if self._pages else "openslide")

    def decoders_reset(self) -> None:
        """Forget which decoders were used so far, so that ``decoder`` speaks of what comes."""
        self._used.clear()

    def _match_pages(self) -> tuple[dict[int, int], dict[int, Stored]]:
        """TIFF page and stored tiles of every level that libvips can read: same size, tiled, known compression."""
        pages, layout = {}, {}
        directories = tiff_directories(self.path)
        for number, stored in enumerate(directories):
            if stored.lost:
                raise UserError(
                    f"{self.path}: is cut off: {stored.lost} tiles of its image {number} ({stored.size[0]} x "
                    f"{stored.size[1]} px) lie beyond the end of the file: fetch it again"
                )
        if self.info.vendor not in {"generic-tiff", "aperio", "philips"}:
            return pages, layout  # other vendors split or overlap what a page holds
        for level, size in enumerate(self.info.levels):
            same = [i for i, stored in enumerate(directories) if stored.size == size and stored.tile]
            if len(same) == 1 and directories[same[0]].compression in READABLE and directories[same[0]].bits == 8:
                pages[level] = same[0]
                layout[level] = directories[same[0]]
        return pages, layout

    def _image(self, level: int, rows: float = 0):
        """Return the level as a lazy libvips RGB image, or None. ``rows``: height of the bands it will be read in."""
        import pyvips

        if level not in self._pages:
            return None
        try:
            image = pyvips.Image.tiffload(self.path, page=self._pages[level], access="random", fail_on="error")
        except pyvips.Error:
            return None
        if image.format != "uchar" or image.width != self.info.levels[level][0]:
            return None
        if image.bands == 4:
            image = image.flatten(background=255)
        if image.bands != 3:
            return None
        width, height = self._layout[level].tile
        span = math.ceil(rows / height) + 1
        if span > 2:  # the loader keeps two rows of tiles; a band that is taller would decode them again and again
            image = image.tilecache(
                tile_width=width, tile_height=height, max_tiles=(span + 1) * (image.width // width + 2)
            )
        return image

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
        image = None if level in self._layout and self._layout[level].sparse.any() else self._image(level, factor)
        if image is not None:
            try:
                image = image.embed(0, 0, columns * factor, rows * factor, extend="background", background=255)
                image = image.shrink(factor, factor) if factor > 1 else image
                return np.asarray(image.numpy()).reshape(rows, columns, 3)
            except pyvips.Error:
                pass  # OpenSlide has the last word on whether it can be read
        result = np.empty((rows, columns, 3), np.uint8)
        deep = max(1, 1024 // factor)
        for top in range(0, rows, deep):
            count = min(deep, rows - top)
            band = np.full((count * factor, columns * factor, 3), 255, np.uint8)
            real = min(height - top * factor, count * factor)
            for left in range(0, width, 8192):  # OpenSlide refuses images above 32767 px a side
                part = min(8192, width - left)
                band[:real, left : left + part] = self._source(level, left, top * factor, part, real)
            total = band.reshape(count, factor, columns, factor, 3).sum((1, 3), dtype=np.uint32)
            result[top : top + count] = (total + factor * factor // 2) // (factor * factor)
        return result

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
        import pyvips

        self._check(grid)

        level, size, scale = grid.level, grid.size, grid.scale
        image = self._image(level, size * scale + 8) if scale >= 1 else None
        lazy = _reduced(image, scale) if image is not None else None
        region = pyvips.Region.new(lazy) if lazy is not None else None
        stored = self._layout.get(level)
        reach = 3 * max(scale, 1.0) + 1 if scale != 1 else 0  # px of the level that the filter sees beyond the tile
        xy = np.asarray(xy).reshape(-1, 2)
        sparse = stored is not None and stored.sparse.any()
        for (x, y), (column, row) in zip(xy.tolist(), np.rint(xy / grid.extent).astype(int).tolist(), strict=True):
            left, top = column * size * scale, row * size * scale
            if region is not None and not (
                sparse and stored.touches_sparse(left - reach, top - reach, size * scale + 2 * reach)
            ):
                try:
                    pixels = region.fetch(column * size, row * size, size, size)
                    self._used.add("libvips")
                    yield np.frombuffer(pixels, np.uint8).reshape(size, size, 3)
                    continue
                except pyvips.Error:
                    # a failed tile stays in libvips' cache as black: start anew, and let OpenSlide judge this one
                    region = pyvips.Region.new(_reduced(self._image(level, size * scale + 8), scale))
            try:
                yield self._tile_by_openslide(level, left, top, size, scale)
            except UserError:
                raise
            except Exception as error:
                if type(error).__name__ != "OpenSlideError":
                    raise
                raise UserError(
                    f"{self.path}: the tile at level-0 px ({x}, {y}) cannot be read from level {level} "
                    f"({first_line(error)}): fetch the slide again or leave it out of the slides table"
                ) from None
            self._used.add("openslide")

    def _tile_by_openslide(self, level: int, left: float, top: float, size: int, scale: float) -> np.ndarray:
        if scale == 1:
            return self._source(level, round(left), round(top), size, size)
        reach = math.ceil(3 * max(scale, 1.0)) + 1
        x, y = math.floor(left) - reach, math.floor(top) - reach
        x, y = max(x, 0), max(y, 0)
        side = math.ceil(size * scale) + 2 * reach + 1
        source = self._source(level, x, y, side, side)
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


def _filler(length: int, scale: float, room: int = 4096) -> int:
    """White px to add so that length / scale is whole to 1/1000 px (the best of ``room``), at least ``room``."""
    extra = np.arange(room, 2 * room)
    total = length + extra
    rest = np.abs(np.rint(total / scale) * scale - total)
    return int(extra[np.argmax(rest <= max(1e-3, rest.min()))])
