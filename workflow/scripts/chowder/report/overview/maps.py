"""Small heat maps of all test slides: the slide and its tile scores, lesions outlined, as JPEG for a page."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pandas as pd

from chowder.report.figures import heatmap
from chowder.report.figures.view import View

EXCLUDED_COLOUR = (0, 114, 178)  # of what was cut out of a lesion; lesions are black
DASH = (8, 5)  # px drawn and px left out


def longest_side(slides: int) -> int:
    """Return the longest side (px) of a picture, so that a page of that many slides stays below about 25 MB."""
    return 560 if slides <= 60 else 420 if slides <= 200 else 300


def small_map(
    view: View, tiles: pd.DataFrame, extent: float, mpp: float, full: float, longest: int, area=None, excluded=None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a slide that holds its scored tiles, as it is and with the scores from white to red.

    ``view``: the whole slide; ``tiles``: x, y (level-0 px) and score; ``extent``: edge of a tile in level-0 px;
    ``full``: the score in full red. ``area`` and ``excluded`` (level-0 px) are outlined in both: lesions black, what
    was cut out of them blue and dashed. Two (h, w, 3) uint8 arrays, ``longest`` px on the longer side.
    """
    size = extent * mpp
    tiles = tiles.dropna(subset="score")
    tiles = tiles.assign(left=(tiles["x"] / extent).round() * size, top=(tiles["y"] / extent).round() * size)
    boxes = [(tiles["left"].min(), tiles["top"].min(), tiles["left"].max() + size, tiles["top"].max() + size)]
    boxes = boxes if len(tiles) else [view.box]
    if area is not None and not area.is_empty:
        boxes.append(tuple(edge * mpp for edge in area.bounds))
    left, top = (min(box[i] for box in boxes) - size for i in (0, 1))
    right, bottom = (max(box[i] for box in boxes) + size for i in (2, 3))
    part = scaled(view.crop((left, top, right, bottom), longest), longest)
    share = (tiles["score"].to_numpy(float) / full).clip(0, 1)
    tinted = heatmap.tint(part, tiles, size, heatmap.white_red()(share)[:, :3])
    return tuple(_outlined(pixels, part, mpp, area, excluded) for pixels in (part.pixels, tinted))


def scaled(view: View, longest: int) -> View:
    """Return the view with ``longest`` px on its longer side."""
    from PIL import Image

    height, width = view.pixels.shape[:2]
    factor = longest / max(height, width)
    shape = (max(1, round(width * factor)), max(1, round(height * factor)))
    return View(np.asarray(Image.fromarray(view.pixels).resize(shape, Image.Resampling.BICUBIC)), view.box)


def _outlined(pixels: np.ndarray, view: View, mpp: float, area, excluded) -> np.ndarray:
    from PIL import Image, ImageDraw

    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    cut = excluded if excluded is not None and not excluded.is_empty else None
    solid, dashed = _lines(area, view, mpp, cut), _lines(cut, view, mpp)
    for width, colour in ((7, (255, 255, 255)), (3, (0, 0, 0))):
        for line in solid:
            draw.line([tuple(point) for point in line], fill=colour, width=width, joint="curve")
    for line in dashed:
        for dash in dashes(line):
            draw.line([tuple(point) for point in dash], fill=EXCLUDED_COLOUR, width=4)
    return np.asarray(picture)


def _lines(area, view: View, mpp: float, cut=None) -> list[np.ndarray]:
    """Return the outlines of an area (level-0 px), without those it shares with ``cut``, as (n, 2) px of the view."""
    import shapely

    if area is None or area.is_empty:
        return []
    height, width = view.pixels.shape[:2]
    per_px = np.array([width / (view.box[2] - view.box[0]), height / (view.box[3] - view.box[1])])
    px = 1 / per_px.max() / mpp  # one px of the view, in level-0 px
    edges = shapely.boundary(area)
    if cut is not None:
        edges = shapely.difference(edges, shapely.buffer(shapely.boundary(cut), max(0.5, px / 2)))
    lines = [line for line in shapely.get_parts(edges.simplify(px / 2)) if line.length]
    return [(shapely.get_coordinates(line) * mpp - np.array(view.box[:2])) * per_px for line in lines]


def dashes(line: np.ndarray) -> list[np.ndarray]:
    """Return the drawn pieces of a dashed line through the points (n, 2) in px."""
    steps = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0], np.cumsum(steps)])
    pieces = []
    for start in np.arange(0, along[-1], sum(DASH)):
        end = min(start + DASH[0], along[-1])
        inside = along[(along > start) & (along < end)]
        at = np.concatenate([[start], inside, [end]])
        pieces.append(np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], 1))
    return pieces


def jpeg(pixels: np.ndarray, quality: int = 82) -> str:
    """Return a picture (h, w, 3) uint8 as the text of a data URL."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def wrong(label: int, probability: float) -> float:
    """Return how far a prediction is from the slide's label, 0 to 1; NaN where there is no prediction."""
    return abs(label - probability) if not math.isnan(probability) else math.nan
