"""The tiles of a slide with the highest and the lowest scores, with score and place."""

from __future__ import annotations

from pathlib import Path

from chowder.data.annotations import read_asap
from chowder.files import run
from chowder.models import names
from chowder.report.figures import gallery, style
from chowder.slides import tile_scores, tile_table
from chowder.slides.reader import Reader


def main(argv: list[str] | None = None) -> None:
    parser = style.options(__doc__)
    parser.add_argument("--slide", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--mpp", default="", help="um/px at level 0, where the file does not know it")
    parser.add_argument("--tiles", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument(
        "--annotation", nargs="*", default=[], help="ASAP XML, to mark the tiles whose centre is in a lesion"
    )
    args = parser.parse_args(argv)

    grid = tile_table.read(args.tiles)[1]
    r, shown = names.parse(args.method).r, int(args.settings.get("gallery", 8))
    tiles = gallery.extremes(tile_scores.read(args.scores), min(r or shown, shown))
    paths = [path for path in args.annotation if path]
    if paths:
        tiles = gallery.in_lesion(tiles, read_asap(paths[0]).tumor, grid.extent)
    order = tiles.sort_values(["y", "x"]).index  # row-major is what reads fast
    with Reader(args.image, float(args.mpp) if args.mpp else None) as reader:
        pixels = dict(zip(order, reader.tiles(tiles.loc[order, ["x", "y"]].to_numpy(), grid), strict=True))
    pictures = [pixels[index] for index in tiles.index]
    drawing = gallery.gallery(args.slide, args.method, tiles, pictures, r, grid.extent * grid.mpp0)
    style.save(*drawing, args.output_stem, style.About.of(args.settings))


if __name__ == "__main__":
    run(main)
