"""A stretch of a slide in a figure: its pixels, outlines and scale bar."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chowder.files import UserError
from chowder.report.figures.style import EXCLUSION_COLOUR, EXCLUSION_DASH

MICRON = "µm"


@dataclass(frozen=True)
class View:
    """A picture of a part of a slide: ``pixels`` (h, w, 3) uint8 covering ``box`` = left, top, right, bottom in µm."""

    pixels: np.ndarray
    box: tuple[float, float, float, float]

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """The box in matplotlib's order, y pointing down."""
        return self.box[0], self.box[2], self.box[3], self.box[1]

    @property
    def aspect(self) -> float:
        """Width divided by height."""
        return (self.box[2] - self.box[0]) / (self.box[3] - self.box[1])

    def crop(self, box: tuple[float, float, float, float], longest: int = 1600) -> View:
        """Return the part inside ``box`` (µm, clipped to the view), made no longer than ``longest`` pixels."""
        from PIL import Image

        height, width = self.pixels.shape[:2]
        sx, sy = (self.box[2] - self.box[0]) / width, (self.box[3] - self.box[1]) / height
        left, right = (round((box[i] - self.box[0]) / sx) for i in (0, 2))
        top, bottom = (round((box[i] - self.box[1]) / sy) for i in (1, 3))
        left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
        right, bottom = max(min(right, width), left + 1), max(min(bottom, height), top + 1)
        kept = (self.box[0] + left * sx, self.box[1] + top * sy, self.box[0] + right * sx, self.box[1] + bottom * sy)
        part = Image.fromarray(self.pixels[top:bottom, left:right])
        shrink = max(part.size) / longest
        if shrink > 1:
            part = part.resize([max(1, round(side / shrink)) for side in part.size], Image.Resampling.BOX)
        return View(np.asarray(part), kept)


def whole(pixels: np.ndarray, width: int, height: int, mpp: float) -> View:
    """Return the view of a whole slide from its thumbnail; ``width`` and ``height`` at level 0."""
    return View(np.asarray(pixels)[..., :3], (0.0, 0.0, width * mpp, height * mpp))


def outline(axes, area, mpp: float, linewidth: float = 0.9, excluded=None) -> None:
    """Draw the outlines of a shapely (Multi)Polygon in level-0 px as black lines on axes in µm.

    ``excluded``: what was cut out of it, hatched, with a dashed blue outline; where ``area`` ends at an exclusion the
    line is that of the exclusion.
    """
    import shapely
    from matplotlib.collections import LineCollection

    def draw(lines, colour: str = "black", **style) -> None:
        parts = [shapely.get_coordinates(part) * mpp for part in shapely.get_parts(lines) if part.length]
        if parts:
            axes.add_collection(LineCollection(parts, colors=colour, zorder=4, **style), autolim=False)

    solid = shapely.boundary(area) if area is not None else shapely.MultiLineString()
    if excluded is not None and not excluded.is_empty:
        dashed = shapely.boundary(excluded)
        # cutting moved corners by less than a pixel, so the common line is told by distance
        solid = shapely.difference(solid, shapely.buffer(dashed, 0.5))
        axes.add_patch(hatched(excluded, mpp))
        draw(dashed, EXCLUSION_COLOUR, linewidths=linewidth, linestyles=[EXCLUSION_DASH])
    draw(solid, linewidths=linewidth)


def hatched(area, mpp: float):
    """Return a shapely (Multi)Polygon in level-0 px as a patch in µm that is hatched and has no outline."""
    import shapely
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    rings = [
        Outline(shapely.get_coordinates(ring) * mpp, closed=True)
        for part in shapely.get_parts(area)
        for ring in (shapely.get_exterior_ring(part), *part.interiors)
    ]
    path = Outline.make_compound_path(*rings)
    return PathPatch(path, fill=False, hatch="/////", edgecolor=EXCLUSION_COLOUR, linewidth=0, alpha=0.7, zorder=3.9)


def scale_length(width: float) -> int:
    """Return a round length in µm, about a fifth to a half of ``width`` µm: 1, 2 or 5 times a power of ten."""
    wanted = max(width / 4, 1)
    power = 10 ** math.floor(math.log10(wanted))
    return int(max(step * power for step in (1, 2, 5) if step * power <= wanted))


def scale_bar(axes, view: View) -> None:
    """Draw a scale bar with its length in µm in the view's lower left corner."""
    from matplotlib.patches import Rectangle

    width, height = view.box[2] - view.box[0], view.box[3] - view.box[1]
    length = scale_length(width)
    x, y = view.box[0] + 0.04 * width, view.box[3] - 0.04 * height
    thick = 0.012 * max(height, width)
    halo = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.2}
    axes.add_patch(
        Rectangle((x, y - thick), length, thick, facecolor="black", edgecolor="white", linewidth=0.5, zorder=6)
    )
    axes.text(x, y - 1.6 * thick, f"{length:,} {MICRON}", ha="left", va="bottom", size=6.5, zorder=6, bbox=halo)


def framed(slide, box: tuple[float, float, float, float], mpp: float, longest: int = 900):
    """Return how a box (µm) of an open slide is read at about ``longest`` px a side: corner (level-0 px), level, size.

    ``mpp``: µm per level-0 px; the size in px of that level.
    """
    side = max(box[2] - box[0], box[3] - box[1]) / mpp
    level = slide.get_best_level_for_downsample(max(1.0, side / longest))
    down = slide.level_downsamples[level]
    size = [max(1, round((box[i + 2] - box[i]) / mpp / down)) for i in (0, 1)]
    return (round(box[0] / mpp), round(box[1] / mpp)), level, size


def close_up(image: str | Path, mpp: float, longest: int = 900) -> Callable[[tuple[float, float, float, float]], View]:
    """Return a function that reads a box (µm) of a slide at no more than about ``longest`` px a side."""

    def read(box: tuple[float, float, float, float]) -> View:
        import openslide

        try:
            with openslide.OpenSlide(str(image)) as slide:
                rgba = np.asarray(slide.read_region(*framed(slide, box, mpp, longest))).astype(np.float32)
        except openslide.OpenSlideError as error:
            raise UserError(f"{image}: a detail cannot be read ({error}): fetch the slide again") from None
        alpha = rgba[..., 3:] / 255
        pixels = np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
        return View(pixels, box).crop(box, longest)

    return read


def shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return a square picture with ``side`` px a side."""
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX))


def thumbnail(preview: np.ndarray, mask: np.ndarray, side: int) -> np.ndarray:
    """Fit a preview into a white square of ``side`` px, the outline of its tissue mask drawn in blue."""
    from PIL import Image
    from scipy.ndimage import binary_dilation, binary_erosion

    picture = Image.fromarray(np.asarray(preview)[..., :3])
    shrink = side / max(picture.size)
    size = [max(1, round(length * shrink)) for length in picture.size]
    small = np.asarray(picture.resize(size, Image.Resampling.BOX)).copy()
    inside = (
        np.asarray(Image.fromarray((np.asarray(mask) > 0).astype(np.uint8) * 255).resize(size, Image.Resampling.BOX))
        > 96
    )
    edge = inside & ~binary_erosion(inside)
    if side > 200:
        edge = binary_dilation(edge)
    small[edge] = (0, 90, 255)
    canvas = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas
