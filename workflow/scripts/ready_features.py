"""Features that another tool made: files of any layout in; feature files, index, tile tables and blank previews out.

What is written is what embedding would have written, so that all that follows is the same. A slide's preview is blank,
with the tiles in grey, unless there is a picture of it (--thumbnails: <slide>.jpg or .png, of the whole slide).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from pathlib import Path

import numpy as np

from chowder.features import feature_file, foreign
from chowder.files import UserError, atomic, run, sha256, write_text
from chowder.slides import tile_table
from chowder.slides.grid import Grid
from chowder.slides.picture import read as read_picture


def size_of(row: dict[str, str], slide: str) -> tuple[int, int] | None:
    """(width, height) of a slide from the table's optional columns."""
    given = [(row.get(key) or "").strip() for key in ("width", "height")]
    if not any(given):
        return None
    if not all(value.isdigit() and 0 < int(value) < 2**20 for value in given):
        raise UserError(f"slides table: slide {slide}: width and height are {given}: give both, in px, or neither")
    return int(given[0]), int(given[1])


def picture(slide: str, folder: Path | None, mask: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 preview: the slide's thumbnail in the mask's shape, or the tiles in light grey on white."""
    from PIL import Image

    for suffix in (".jpg", ".jpeg", ".png") if folder else ():
        path = folder / f"{slide}{suffix}"
        if path.is_file():
            found = read_picture(path, todo="give a picture of the whole slide, or none")
            high, wide = found.shape[:2]
            if not math.isclose(wide / high, mask.shape[1] / mask.shape[0], rel_tol=0.05):
                raise UserError(
                    f"{path}: is {wide} x {high}, another shape than the slide: give one of the whole slide"
                )
            return np.asarray(Image.fromarray(found).resize(mask.shape[::-1], Image.Resampling.BOX))
    return np.repeat(np.where(mask, 225, 255).astype(np.uint8)[..., None], 3, axis=2)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides-table", required=True, help="columns slide and, where known, mpp, width, height")
    parser.add_argument("--slides", nargs="+", required=True, help="names")
    parser.add_argument("--files", nargs="+", required=True, help="their feature files, in the same order")
    parser.add_argument("--sized", nargs="*", default=[], help="slides with lesions to score: their size must be known")
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON: name, layout, mpp, tile_um, tile_px")
    parser.add_argument("--thumbnails", type=Path, help="folder of pictures of whole slides")
    parser.add_argument("--results", type=Path, required=True, help="results/<dataset>, where all is written")
    args = parser.parse_args(argv)

    from PIL import Image

    settings, out = args.settings, args.results
    with open(args.slides_table, newline="", encoding="utf-8-sig") as handle:
        rows = {row["slide"].strip(): row for row in csv.DictReader(handle)}
    folder = out / "features" / settings["name"]
    written, dim = [], 0
    for slide, path in zip(args.slides, args.files, strict=True):
        ready = foreign.read(path, settings["layout"])
        if dim and ready.features.shape[1] != dim:
            raise UserError(
                f"{path}: has {ready.features.shape[1]} features a tile, {args.files[0]} has {dim}: one encoder only"
            )
        dim = ready.features.shape[1]
        row = rows.get(slide, {})
        mpp = float(row["mpp"]) if (row.get("mpp") or "").strip() else settings["mpp"]
        if ready.coords is None:
            if not settings["without_places"]:
                raise UserError(
                    f"{path}: has no coordinates: give the files with coordinates, or set features.without_places to "
                    "true, which leaves out lesion scores and heat maps"
                )
            side = math.ceil(math.sqrt(len(ready.features)))  # a square of tiles that lie nowhere
            index = np.arange(len(ready.features))
            ready.coords, ready.unit = np.stack([index % side, index // side], axis=1).astype(float), "tile"
            ready.extent, mpp = 224.0, 0.5
        size = size_of(row, slide)
        if slide in args.sized and not size and not (ready.width and ready.height):
            raise UserError(
                f"slides table: slide {slide}: its lesions can't be scored, since {path} does not say its size: fill "
                "the columns width and height, in px of level 0"
            )
        placed = foreign.place(path, ready, mpp, settings["tile_um"], size)
        tile_um = placed.extent * placed.mpp
        columns, lines = (math.ceil(round(side / placed.extent, 9)) for side in (placed.width, placed.height))
        pixels = settings["tile_px"]
        grid = Grid(
            pixels, tile_um / pixels, tile_um / pixels, "ready", 0, placed.extent, placed.mpp, 1.0, columns, lines
        )
        tile_table.write(out / "tiles" / f"{slide}.parquet", foreign.table(placed), grid, slide)
        target = folder / f"{slide}.h5"
        facts = {"slide": slide, "encoder": settings["name"], "tile_size": pixels, "extent": placed.extent}
        facts |= {"mpp_wanted": round(tile_um / pixels, 6), "mpp_read": tile_um / pixels, "resample": "ready"}
        facts |= {"source_sha256": sha256(path), "encoder_by_source": ready.encoder}
        feature_file.write(target, ready.features, placed.xy, facts)
        written.append(target)
        preview(slide, placed, args.thumbnails, out, Image)
        print(f"{slide}: {len(ready.features)} tiles of {tile_um:.1f} um, {dim} features", file=sys.stderr)
    record, warnings = feature_file.index(written, folder)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    write_text(folder / "index.json", json.dumps(record, indent=1) + "\n")


def preview(slide: str, placed: foreign.Placed, thumbnails: Path | None, out: Path, image) -> None:
    """Write mask, record and preview as the tissue step would; the mask is where the tiles are."""
    scale = max(8.0 / placed.mpp, max(placed.width, placed.height) / 4000)  # level-0 px per px
    mask = np.zeros((max(1, math.ceil(placed.height / scale)), max(1, math.ceil(placed.width / scale))), bool)
    for x, y in placed.xy:
        last = (np.array([x, y]) + placed.extent) / scale
        mask[int(y / scale) : math.ceil(last[1]), int(x / scale) : math.ceil(last[0])] = True
    record = {
        "slide": slide,
        "mpp": placed.mpp,
        "mpp_source": "features",
        "width": placed.width,
        "height": placed.height,
    }
    record |= {"levels": [[placed.width, placed.height]], "downsamples": [1.0], "mask_mpp": scale * placed.mpp}
    record |= {"mask_scale": [scale, scale], "rule": "tiles of the feature file", "thresholds": {}, "pen_area_mm2": 0.0}
    record |= {"area_mm2": len(placed.xy) * (placed.extent * placed.mpp / 1000) ** 2, "warnings": []}
    write_text(out / "tissue" / f"{slide}.json", json.dumps(record, indent=1) + "\n")
    with atomic(out / "tissue" / f"{slide}.png") as scratch:
        image.fromarray(mask.astype("uint8") * 255).save(scratch)
    with atomic(out / "previews" / f"{slide}.jpg") as scratch:
        image.fromarray(picture(slide, thumbnails, mask)).save(scratch, quality=85)


if __name__ == "__main__":
    run(main)
