"""The pixels that the heat map and the gallery of a slide show, where the slide itself is not kept: only the stored
tiles that they touch are fetched, to their places in a file of full length that opens like the slide.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from chowder.data import camelyon16
from chowder.data.annotations import read_asap
from chowder.data.download import levels as download
from chowder.data.download.client import fetch
from chowder.data.download.partial import tell
from chowder.files import run
from chowder.models import names
from chowder.report.figures import gallery, heatmap
from chowder.report.figures.view import View, framed, whole
from chowder.slides import levels, picture, resampling, strict, tile_scores, tile_table
from chowder.slides.describe import describe_open, open_slide
from chowder.slides.record import read as read_record

MARGIN = 2  # px of a level around what is read, for the rounding of places


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True, help="base URL or folder of a Camelyon-16 mirror")
    parser.add_argument("--key", action="append", default=[], help="key below --base, before the usual ones")
    parser.add_argument("--slide", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--mpp", default="", help="um/px at level 0, where the file does not know it")
    parser.add_argument("--preview", required=True, help="thumbnail of the whole slide")
    parser.add_argument("--record", required=True, help="tissue/<slide>.json: width, height, mpp")
    parser.add_argument("--tiles", required=True, help="tile table")
    parser.add_argument("--scores", required=True, help="tile_scores/.../<slide>.parquet")
    parser.add_argument("--annotation", nargs="*", default=[], help="ASAP XML, where there is one")
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON: gallery")
    parser.add_argument("--transfer", type=json.loads, default={}, help="JSON: retries, timeout_s, ...")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    args = parser.parse_args(argv)

    keys = dict.fromkeys(args.key + camelyon16.candidates(args.slide, "image"))
    urls = [f"{args.base.rstrip('/')}/{key}" for key in keys]
    try:
        download.fetch_levels(urls, args.output, lambda path, pages: chosen(path, pages, args), damage, args.transfer)
    except download.Whole as reason:  # a local file is linked
        tell(f"{args.slide}: whole: {reason}")
        download.drop_leftovers(args.output)
        fetch(urls, args.output, settings=args.transfer)


def damage(data: bytes, page) -> str:
    """What is wrong with a stored tile, "" when it decodes."""
    return strict.damage(data, page.tile, page.tables)


def chosen(path: Path, pages, args: argparse.Namespace) -> list[tuple[int, list[int]]]:
    """The stored tiles of each TIFF directory that the two figures read."""
    slide = open_slide(path)
    try:
        info = describe_open(slide, str(path), float(args.mpp) if args.mpp else None)
        wanted = gallery_boxes(info, args) + heatmap_boxes(slide, args)
    finally:
        slide.close()
    images, obstacle = levels.images_of(path, info)
    if obstacle:
        raise download.Whole(obstacle)
    found: dict[int, set[int]] = {}
    for level, (left, top, right, bottom) in wanted:
        page = next(page for page in pages if page.number == images[level])
        box = (left - MARGIN, top - MARGIN, right + MARGIN, bottom + MARGIN)
        found.setdefault(page.number, set()).update(levels.tiles_of(page.size, page.tile, box))
    return [(page, sorted(tiles)) for page, tiles in found.items()]


def gallery_boxes(info, args: argparse.Namespace) -> list[tuple[int, tuple[float, ...]]]:
    """(level, box in its px) of every tile of the gallery, with what its resampling sees around it."""
    grid = tile_table.read(args.tiles)[1]
    r, shown = names.parse(args.method).r, int(args.settings.get("gallery", 8))
    tiles = gallery.extremes(tile_scores.read(args.scores), min(r or shown, shown))
    reach, boxes = resampling.reach(grid.scale), []
    for x, y in tiles[["x", "y"]].to_numpy(float):
        left, top = (round(place / grid.extent) * grid.size * grid.scale for place in (x, y))
        side = grid.size * grid.scale
        boxes.append((grid.level, (left - reach, top - reach, left + side + reach, top + side + reach)))
    return boxes


def heatmap_boxes(slide, args: argparse.Namespace) -> list[tuple[int, tuple[float, ...]]]:
    """(level, box in its px) of what the heat map reads from the slide: it is drawn once, on white."""
    record, boxes = read_record(args.record, "width", "height", "mpp"), []
    view = whole(picture.read(args.preview), record["width"], record["height"], record["mpp"])
    annotation = read_asap(args.annotation[0]) if args.annotation else None

    def noted(box: tuple[float, float, float, float]) -> View:
        corner, level, size = framed(slide, box, record["mpp"])
        left, top = (place / slide.level_downsamples[level] for place in corner)
        boxes.append((level, (left, top, left + size[0], top + size[1])))
        return View(np.full((8, 8, 3), 255, np.uint8), box)

    heatmap.heatmap(
        args.slide,
        args.method,
        view,
        tile_scores.read(args.scores),
        tile_table.read(args.tiles)[1].extent,
        record["mpp"],
        annotation.tumor if annotation else None,
        reader=noted,
        excluded=annotation.excluded if annotation else None,
    )
    return boxes


if __name__ == "__main__":
    run(main)
