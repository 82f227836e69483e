"""The viewer: static pages on which slides are looked at with tile scores, lesions and tissue; no server is needed.

The page is in workflow/report/viewer (OpenSeadragon, BSD-3-Clause, beside it). What is written here: pyramids of JPEG
tiles (DeepZoom, by OpenSlide), ``slides.js`` (which slides there are) and ``data/<slide>.js`` (what is known of one).
They are scripts and not JSON because a page that was opened from the disk may not read files.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chowder.files import UserError, write_text

if TYPE_CHECKING:
    import shapely

    from chowder.slides.grid import Grid

TILE, OVERLAP, QUALITY = 512, 1, 85
THUMBNAIL = 210  # px
SIMPLE = 0.7  # px of the mask: outlines are drawn through fewer points


def halvings(mpp: float, wanted: float) -> int:
    """Return how often a slide of ``mpp`` um/px can be halved and stay at least as fine as ``wanted``."""
    return max(0, math.floor(math.log2(wanted / mpp) + 0.03))  # 0.03: 2 %, as for the grid of tiles


def write_pyramid(image: str | os.PathLike, folder: str | os.PathLike, mpp: float, wanted: float) -> tuple[int, int]:
    """Write a slide as DeepZoom tiles ``<folder>/<level>/<column>_<row>.jpg`` and return the finest level's size.

    mpp : um/px of level 0. The finest level is level 0, halved as often as it stays at least as fine as ``wanted``.
    Errors: :class:`UserError` for a slide that OpenSlide can't read.
    """
    import openslide
    from openslide.deepzoom import DeepZoomGenerator

    folder = Path(folder)
    try:
        with openslide.OpenSlide(os.fspath(image)) as slide:
            zoom = DeepZoomGenerator(slide, tile_size=TILE, overlap=OVERLAP)
            finest = max(0, zoom.level_count - 1 - halvings(mpp, wanted))
            for level in range(finest + 1):
                (folder / str(level)).mkdir(parents=True, exist_ok=True)
                columns, rows = zoom.level_tiles[level]
                for column, row in itertools.product(range(columns), range(rows)):
                    path = folder / str(level) / f"{column}_{row}.jpg"
                    zoom.get_tile(level, (column, row)).convert("RGB").save(path, quality=QUALITY)
            return zoom.level_dimensions[finest]
    except openslide.OpenSlideError as error:
        raise UserError(f"{image}: cannot be read by OpenSlide ({error}): see whether the slide is whole") from None


def tile_source(url: str, width: int, height: int) -> dict[str, Any]:
    """Return what OpenSeadragon takes in place of a .dzi file, which it could not read from the disk."""
    return {
        "Image": {
            "xmlns": "http://schemas.microsoft.com/deepzoom/2008",
            "Url": f"{url}/",
            "Format": "jpg",
            "Overlap": str(OVERLAP),
            "TileSize": str(TILE),
            "Size": {"Width": str(width), "Height": str(height)},
        }
    }


def rings(shape: shapely.MultiPolygon | None, tolerance: float = 8.0) -> list[list[list[int]]]:
    """Return outlines and holes of an area as lists of [x, y] in level-0 px, within ``tolerance`` px."""
    if shape is None:
        return []
    import shapely

    found = []
    for part in shapely.get_parts(shapely.simplify(shape, tolerance)):
        for ring in (part.exterior, *part.interiors):
            found.append(np.rint(np.asarray(ring.coords)).astype(int).tolist())
    return found


def mask_rings(mask: np.ndarray, scale: Sequence[float]) -> list[list[list[int]]]:
    """Return the outlines of a tissue mask (h, w) bool in level-0 px; ``scale``: level-0 px per mask px, (x, y)."""
    from skimage.measure import approximate_polygon, find_contours

    found = []
    for line in find_contours(np.pad(mask, 1).astype(float), 0.5):
        line = approximate_polygon(line, SIMPLE)
        if len(line) > 3:
            xy = (line[:, ::-1] - 0.5) * np.asarray(scale)  # minus the padding, plus half a pixel: the pixels' edges
            found.append(np.rint(xy).astype(int).tolist())
    return found


def slide_data(
    slide: str,
    size: tuple[int, int],
    grid: Grid,
    xy: np.ndarray,
    scores: Mapping[str, np.ndarray],
    pyramid: dict[str, Any],
    lesions: list,
    excluded: list,
    tissue: list,
) -> dict[str, Any]:
    """Return what the page knows of one slide.

    size : of level 0 in px. xy : (n, 2) upper left corners of its tiles in level-0 px. scores : by method, (n,).
    lesions, excluded, tissue : as :func:`rings` returns them.
    Errors: :class:`UserError` for scores of other tiles.
    """
    for method, values in scores.items():
        if len(values) != len(xy):
            raise UserError(f"slide {slide}: {len(values)} scores of {method} for {len(xy)} tiles: localise it again")
    return {
        "slide": slide,
        "width": size[0],
        "height": size[1],
        "extent": grid.extent,
        "columns": grid.columns,
        "rows": grid.rows,
        "x": xy[:, 0].tolist(),
        "y": xy[:, 1].tolist(),
        "scores": {name: [float(f"{value:.4g}") for value in values] for name, values in scores.items()},
        "pyramid": pyramid,
        "lesions": lesions,
        "excluded": excluded,
        "tissue": tissue,
    }


def script(assignment: str, content: Any) -> str:
    """Return a script that assigns ``content``; nothing in it can end a script element."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return f"{assignment} = {text};\n"


def write_slide(path: str | os.PathLike, data: dict[str, Any]) -> None:
    """Write ``data/<slide>.js``."""
    write_text(
        path,
        "window.SLIDE_DATA = window.SLIDE_DATA || {};\n" + script(f"SLIDE_DATA[{json.dumps(data['slide'])}]", data),
    )


def write_index(path: str | os.PathLike, content: dict[str, Any]) -> None:
    """Write ``slides.js``: title, note, methods, titles, scale and slides, as viewer.js reads them."""
    write_text(path, script("window.SLIDES", content))
