"""What a slide is: size, levels, um per pixel, and whether it can be trusted."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from chowder.files import UserError

MAX_SIDE = 2**20  # a declared side above 1,048,576 px is no microscope slide
MAX_AREA = 4e11  # px; 25 x 75 mm at 0.07 um/px
MAX_TILE = 2**26  # px of one stored tile, which a decoder must hold whole
PLAUSIBLE_MPP = (0.02, 20.0)  # um/px; 72 dpi, the default of image editors, would be 353


@dataclass(frozen=True)
class SlideInfo:
    """What a slide is. ``levels`` are (width, height) of each, ``downsamples`` level-0 px per px of each level."""

    path: str
    width: int
    height: int
    mpp: float
    mpp_source: str
    levels: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    vendor: str


def describe(path: str | os.PathLike, mpp: float | None = None) -> SlideInfo:
    """Size, um/px, levels and vendor of the slide at ``path``.

    ``mpp`` (um per level-0 px) overrides what the file says. Raises UserError when the file is missing, broken or no
    slide, when its declared size is absurd, and when nobody says how large a pixel is.
    """
    slide = open_slide(path)
    try:
        return describe_open(slide, str(path), mpp)
    finally:
        slide.close()


def open_slide(path):
    """Open a slide with OpenSlide. Errors: UserError for what is missing, empty, a folder, broken or not a slide."""
    import openslide

    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not a slide: give the slide's file")
    if not path.exists():
        raise UserError(f"{path}: no such slide: check the column `image` of the slides table")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: is empty: fetch the slide again")
    try:
        return openslide.OpenSlide(str(path))
    except openslide.OpenSlideUnsupportedFormatError:
        raise UserError(
            f"{path}: is not a slide that OpenSlide reads (or is cut off): fetch it again, or convert it with "
            "`vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg`"
        ) from None
    except openslide.OpenSlideError as error:
        raise UserError(f"{path}: broken slide ({first_line(error)}): fetch it again") from None


def describe_open(slide, path: str, mpp: float | None) -> SlideInfo:
    """Describe an open slide as :func:`describe` does."""
    properties = slide.properties
    width, height = slide.dimensions
    if max(width, height) > MAX_SIDE or width * height > MAX_AREA:
        raise UserError(f"{path}: claims to be {width} x {height} px, more than any slide: refused, check the file")
    for level in range(slide.level_count):
        tile = [int(properties.get(f"openslide.level[{level}].tile-{side}", 0)) for side in ("width", "height")]
        if tile[0] * tile[1] > MAX_TILE:
            raise UserError(f"{path}: is stored in tiles of {tile[0]} x {tile[1]} px: refused, convert it first")
    source = "table"
    if mpp is None:
        source = "file"
        values = [properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
        if None in values:
            raise UserError(f"{path}: says nothing about um/px: give it in the column `mpp` of the slides table")
        x, y = (float(value) for value in values)
        if not x > 0 or not y > 0 or abs(x / y - 1) > 0.05:
            raise UserError(
                f"{path}: pixels of {x:g} x {y:g} um are not square: give the column `mpp` of the slides table"
            )
        mpp = (x + y) / 2
    if not PLAUSIBLE_MPP[0] <= mpp <= PLAUSIBLE_MPP[1]:
        where = "the slides table" if source == "table" else "the file"
        raise UserError(
            f"{path}: {mpp:g} um/px (from {where}) is not a microscope's: give the column `mpp` of the slides table"
        )
    downsamples = tuple(
        _downsample(slide, level, float(slide.level_downsamples[level])) for level in range(slide.level_count)
    )
    return SlideInfo(
        path=path,
        width=width,
        height=height,
        mpp=float(mpp),
        mpp_source=source,
        levels=tuple(slide.level_dimensions),
        downsamples=downsamples,
        vendor=properties.get("openslide.vendor", ""),
    )


def _downsample(slide, level: int, stated: float) -> float:
    """Return the level's true downsample: a whole power of two where size (rounded, or padded to tiles) fits one.

    OpenSlide divides the sizes, which is off when a level was padded to whole tiles (Philips, Camelyon-16).
    """
    for power in {math.floor(math.log2(stated)), math.ceil(math.log2(stated))}:
        candidate = 2.0**power
        fits = True
        for axis, side in enumerate(("width", "height")):
            tile = int(slide.properties.get(f"openslide.level[{level}].tile-{side}", 1))
            true = slide.dimensions[axis] / candidate
            size = slide.level_dimensions[level][axis]
            fits &= math.floor(true) <= size <= max(math.ceil(true), math.ceil(true / tile) * tile)
        if fits:
            return candidate
    return stated


def first_line(error: Exception) -> str:
    """Return the last line of an error that is not empty, or the error's type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def aligned_start(start: int, downsample: float) -> int:
    """Return the nearest px at or before ``start`` that OpenSlide, told level-0 px, hits without interpolation."""
    for place in range(start, max(0, start - 64), -1):
        if abs(round(place * downsample) / downsample - place) < 1e-4:
            return place
    return start if start > 64 else 0
