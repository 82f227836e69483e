"""Resampling with a Lanczos filter (three lobes, widened by the reduction) on a grid that starts at the corner."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import numpy as np

Read = Callable[[int, int, int, int], np.ndarray]  # left, top, width, height in px of a level to its px
STRIP = 256  # px of an image's width that are reduced at once: they fit into a processor's cache


def reduced(
    read: Read, level: tuple[int, int], column: int, row: int, count: int, size: int, scale: float
) -> Iterator[np.ndarray]:
    """Yield ``count`` tiles side by side, the first in (column, row), reduced by ``scale`` > 1: (size, size, 3) uint8.

    ``read`` gives px of the level, (height, width, 4) uint8 of which the fourth is not looked at; ``level`` is its
    (width, height). Output px i is centred on source px (i + 0.5) * scale - 0.5; outside the level it is white.

    libvips' ``reducev`` does the work in both directions, on the picture and on the picture turned, because it takes a
    third of the time of ``reduceh`` for the same bits (tested). It sees the source px that the filter reaches, in an
    image of the whole level of which nothing else is looked at: so a px of the result has the same place, weights and
    bits whatever is read with it.
    """
    import pyvips

    left, right = _span(column, count, size * scale, reach(scale), level[0])
    top, bottom = _span(row, 1, size * scale, reach(scale), level[1])
    source = read(left, top, right - left, bottom - top)
    image = _reduction(
        pyvips.Image.new_from_memory(source, right - left, bottom - top, 4, "uchar"), top, level[1], scale
    )
    region = pyvips.Region.new(image)
    turned = np.empty((right - left, size), np.uint32)
    for first in range(0, right - left, STRIP):
        width = min(STRIP, right - left - first)
        pixels = region.fetch(first, row * size, width, size)
        turned[first : first + width] = np.frombuffer(pixels, np.uint32).reshape(size, width).T
    image = pyvips.Image.new_from_memory(turned, size, right - left, 4, "uchar")
    region = pyvips.Region.new(_reduction(image, left, level[0], scale))
    for number in range(column, column + count):  # one by one: libvips' rounding depends on where a region begins
        pixels = np.frombuffer(region.fetch(0, number * size, size, size), np.uint8).reshape(size, size, 4)
        tile = np.empty((size, size, 3), np.uint8)
        for colour in range(3):
            tile[..., colour] = pixels[..., colour].T
        yield tile


def reach(scale: float) -> int:
    """Return how many px of the level around a tile are read for it, at the most; ``scale``: px of the level per px."""
    return 0 if scale == 1 else math.ceil(4 * max(scale, 1.0)) + 8


def with_fourth(rgb: np.ndarray) -> np.ndarray:
    """Return RGB (height, width, 3) with a fourth value of no meaning."""
    result = np.empty((*rgb.shape[:2], 4), np.uint8)
    for colour in range(4):
        result[..., colour] = rgb[..., min(colour, 2)]
    return result


def _reduction(image, start: int, length: int, scale: float):
    """Reduce in height an image that is the px from ``start`` on of a level of ``length`` px, white px below.

    libvips spreads what a whole number of output px leaves over evenly on both ends, which would shift the picture by
    up to half a px. The image is therefore lengthened by the few white px that make the rest vanish.
    """
    whole = length + _filler(length, scale)
    image = image.embed(0, start, image.width, whole, extend="background", background=255)
    return image.reducev(scale, kernel="lanczos3")


def _span(first: int, count: int, edge: float, around: int, length: int) -> tuple[int, int]:
    """Return the px between which the filter sees tiles of ``edge`` px, inside a level of ``length`` px."""
    start = min(max(0, math.floor(first * edge) - around), length - 1)
    return start, max(start + 1, min(length, math.ceil((first + count) * edge) + around))


@functools.cache
def _filler(length: int, scale: float, room: int = 4096) -> int:
    """White px to add so that length / scale is whole to 1/1000 px (the best of ``room``), at least ``room``."""
    extra = np.arange(room, 2 * room)
    total = length + extra
    rest = np.abs(np.rint(total / scale) * scale - total)
    return int(extra[np.argmax(rest <= max(1e-3, rest.min()))])


def single(read: Read, left: float, top: float, size: int, scale: float) -> np.ndarray:
    """Return one tile by itself, resampled by Pillow."""
    if scale == 1:
        return read(round(left), round(top), size, size)
    reach = math.ceil(3 * max(scale, 1.0)) + 1
    x, y = math.floor(left) - reach, math.floor(top) - reach
    x, y = max(x, 0), max(y, 0)
    side = math.ceil(size * scale) + 2 * reach + 1
    source = read(x, y, side, side)
    return resized(source, left - x, top - y, scale, (size, size), "lanczos")


def resized(source: np.ndarray, left: float, top: float, scale: float, size: tuple[int, int], kind: str) -> np.ndarray:
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
