"""Which pyramid levels are read, and from which TIFF directories: what a partial download must bring."""

from __future__ import annotations

import os
from dataclasses import dataclass

from chowder.files import UserError
from chowder.slides.describe import SlideInfo, describe_open, open_slide
from chowder.slides.grid import SAME
from chowder.slides.grid import grid as lay
from chowder.slides.stored import tiff_directories

DETAIL_TILES = 6.5  # the smallest detail of a heat map, in edges of a tile
DETAIL_PX = 900  # px a side of a detail, about
JPEG = 7  # only such tiles are judged by decoding them, and are an error where there is a hole


def overview_level(info: SlideInfo, mpp: float) -> int:
    """Return the level that an overview at ``mpp`` um/px is made from: the coarsest one that is as fine."""
    step = mpp / info.mpp
    fine = [i for i, down in enumerate(info.downsamples) if down <= step * (1 + SAME)] or [0]
    return max(fine, key=lambda i: info.downsamples[i])


def detail_level(slide, side: float, longest: int = DETAIL_PX) -> int:
    """Return the level of an open slide that a square of ``side`` level-0 px is drawn from, ``longest`` px a side."""
    return slide.get_best_level_for_downsample(max(1.0, side / longest))


@dataclass(frozen=True)
class Needed:
    """``level``: the finest that is read; ``pages``: TIFF directories of it and of all coarser ones.

    ``obstacle`` says why the slide can't be fetched in parts, "" when it can.
    """

    level: int
    pages: tuple[int, ...]
    obstacle: str = ""


def needed(path: str | os.PathLike, tiles: dict, tissue_mpp: float, mpp: float | None = None) -> Needed:
    """Return what tissue, tiles, previews and figures read of a slide of which the directories alone must be there.

    ``tiles``: size (px), mpp and resample of the config; ``tissue_mpp``: um/px of mask and preview; ``mpp``: um per
    level-0 px when the file does not say. All levels from the finest one that is read are named: the coarser ones are a
    third of it together, figures read them, and OpenSlide's checksum of a slide is that of its smallest level.
    """
    try:
        slide = open_slide(path)
    except UserError:
        return Needed(0, (), "OpenSlide does not open it by its directories")
    try:
        info = describe_open(slide, str(path), mpp)
        grid = lay(info, tiles["size"], tiles["mpp"], tiles["resample"])
        side = min(DETAIL_TILES * grid.extent, info.width, info.height)
        levels = (grid.level, overview_level(info, tissue_mpp), detail_level(slide, side))
    finally:
        slide.close()
    level = min(levels, key=lambda i: info.downsamples[i])
    pages, obstacle = images_of(path, info)
    if obstacle:
        return Needed(level, (), obstacle)
    fine = info.downsamples[level]
    return Needed(level, tuple(page for number, page in enumerate(pages) if info.downsamples[number] >= fine))


def images_of(path: str | os.PathLike, info: SlideInfo) -> tuple[list[int], str]:
    """Return the TIFF directory of every level, finest first, and why they can't be fetched alone, "" when they can."""
    stored = tiff_directories(str(path))
    images = sorted((i for i, one in enumerate(stored) if one.tile), key=lambda i: -stored[i].size[0])
    if len(images) != len(info.levels):
        return [], f"it has {len(info.levels)} levels in {len(images)} tiled images"
    for number, page in enumerate(images):
        one = stored[page]
        if not all(0 <= one.size[axis] - info.levels[number][axis] < one.tile[axis] for axis in (0, 1)):
            return [], f"none of its images is level {number}"
        if one.compression != JPEG:
            return [], f"level {number} has TIFF compression {one.compression}, not JPEG"
    return images, ""


def tiles_of(size: tuple[int, int], tile: tuple[int, int], box: tuple[float, float, float, float]) -> set[int]:
    """Return the numbers of the stored tiles that ``box`` (left, top, right, bottom in px of the level) touches.

    ``size`` and ``tile``: (width, height) of the level and of its stored tiles.
    """
    across, down = (-(-size[axis] // tile[axis]) for axis in (0, 1))
    columns = range(max(0, int(box[0] // tile[0])), min(across, int(-(-box[2] // tile[0]))))
    rows = range(max(0, int(box[1] // tile[1])), min(down, int(-(-box[3] // tile[1]))))
    return {row * across + column for row in rows for column in columns}
