"""Tile scores of one slide for viewers: all tiles as QuPath GeoJSON, the highest ones as ASAP XML."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from chowder.data.annotations import write_asap
from chowder.files import UserError, run
from chowder.report import export
from chowder.slides import tile_table


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", required=True)
    parser.add_argument("--scores", type=Path, required=True, help="tile_scores/.../<slide>.parquet: x, y, score")
    parser.add_argument("--tiles", type=Path, required=True, help="tiles/<slide>.parquet, for the edge of a tile")
    parser.add_argument("--geojson", required=True, help="written: every tile as a detection with its score")
    parser.add_argument("--xml", required=True, help="written: the highest tiles as polygons")
    parser.add_argument("--top", type=int, default=100, help="how many tiles go into the XML (100)")
    args = parser.parse_args(argv)

    table = pq.read_table(args.scores)
    missing = {"x", "y", "score"} - set(table.column_names)
    if missing:
        raise UserError(f"{args.scores}: no column {', '.join(sorted(missing))}: make it again with localise.py")
    _, grid, _ = tile_table.read(args.tiles)
    xy = np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()])
    scores = table["score"].to_numpy()
    export.write_geojson(args.geojson, export.tiles_geojson(xy, scores, grid.extent))
    best = np.argsort(-scores, kind="stable")[: max(args.top, 0)]
    outlines = export.tile_outlines(xy[best], scores[best], grid.extent)
    write_asap(args.xml, outlines, {"Detection": "#c81e1e"})


if __name__ == "__main__":
    run(main)
