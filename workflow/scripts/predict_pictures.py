"""A slide without label as a bundle's model sees it: heat map, highest and lowest tiles, GeoJSON for QuPath."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from chowder.data.cohort import read_rows
from chowder.files import UserError, run
from chowder.models import bundle, names
from chowder.report import export
from chowder.report.figures import gallery, heatmap, predicted, style
from chowder.report.figures.view import close_up, whole
from chowder.slides import overview, tile_scores, tile_table
from chowder.slides.reader import Reader
from chowder.slides.record import read as read_record


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", required=True, help="zip or folder")
    parser.add_argument("--slide", required=True)
    parser.add_argument("--image", type=Path, required=True, help="the slide itself")
    parser.add_argument("--preview", type=Path, required=True, help="thumbnail of the whole slide")
    parser.add_argument("--mask", type=Path, required=True, help="tissue/<slide>.png")
    parser.add_argument("--record", type=Path, required=True, help="tissue/<slide>.json: width, height, mpp")
    parser.add_argument("--tiles", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True, help="tile scores of predict.py")
    parser.add_argument("--predictions", required=True, help="predictions.csv of predict.py")
    parser.add_argument("--count", type=int, default=8, help="highest and lowest tiles shown of each")
    parser.add_argument("--heatmap", required=True, help="stem: STEM.png, STEM.svg and STEM.csv are written")
    parser.add_argument("--gallery", required=True, help="stem of the picture of tiles")
    parser.add_argument("--geojson", required=True, help="all tiles with their scores")
    args = parser.parse_args(argv)

    model = bundle.open_bundle(args.bundle)
    manifest, method = model.manifest, names.parse(model.manifest["method"])
    rows = {row["slide"]: row for row in read_rows(args.predictions, ("slide", "probability", "warnings"))}
    if args.slide not in rows:
        raise UserError(f"{args.predictions}: slide {args.slide} is missing: predict again")
    row, record = rows[args.slide], read_record(args.record, "width", "height", "mpp")
    warnings = [row["warnings"]] if row["warnings"] else []
    grid, scores = tile_table.read(args.tiles)[1], tile_scores.read(args.scores)
    trained = f"{manifest['dataset']}, {manifest['encoder']['name']}, {names.label(method)}"

    view = whole(overview.read(args.preview, args.mask)[0], record["width"], record["height"], record["mpp"])
    drawing, data = heatmap.heatmap(
        args.slide,
        method.name,
        view,
        scores,
        grid.extent,
        record["mpp"],
        reader=close_up(args.image, record["mpp"]),
        caption=predicted.spread(row),
        full=manifest["full_red"],
        probability=float(row["probability"]),
        unit=heatmap.score_unit(method.name, manifest["localisation"]["score"]),
    )
    predicted.sign(drawing, trained, warnings)
    style.save(drawing, data.assign(note=bundle.NOTE), args.heatmap, style.About())

    tiles = gallery.extremes(scores, args.count)
    order = tiles.sort_values(["y", "x"]).index  # row-major is what reads fast
    with Reader(args.image, record["mpp"]) as reader:
        pixels = dict(zip(order, reader.tiles(tiles.loc[order, ["x", "y"]].to_numpy(), grid), strict=True))
    pictures = [pixels[index] for index in tiles.index]
    drawing, data = gallery.gallery(args.slide, method.name, tiles, pictures, None, grid.extent * grid.mpp0)
    predicted.sign(drawing, trained, warnings)
    style.save(drawing, data.assign(note=bundle.NOTE), args.gallery, style.About())

    xy = np.column_stack([scores["x"], scores["y"]])
    about = {"note": f"{bundle.NOTE}.", "slide": args.slide, "model": trained, "warnings": row["warnings"]}
    about |= {"probability": float(row["probability"])}
    collection = export.tiles_geojson(xy, scores["score"].to_numpy(), grid.extent)
    for feature in collection["features"]:
        feature["properties"]["note"] = bundle.NOTE
    export.write_geojson(args.geojson, {"type": "FeatureCollection", "properties": about} | collection)


if __name__ == "__main__":
    run(main)
