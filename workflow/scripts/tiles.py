"""The tissue tiles of one slide: tissue mask and record in, tile table (parquet) out."""

from __future__ import annotations

import argparse
import json
import sys
from types import SimpleNamespace

from chowder.files import run
from chowder.slides import grid as tiling
from chowder.slides import picture, tile_table
from chowder.slides.record import read as read_record


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", required=True, help="name of the slide")
    parser.add_argument("--mask", required=True, help="tissue mask (PNG)")
    parser.add_argument("--record", required=True, help="record that the tissue step wrote (JSON)")
    parser.add_argument("--settings", required=True, help="section `tiles` of the config, as JSON")
    parser.add_argument("--output", required=True, help="tile table to write (parquet)")
    args = parser.parse_args(argv)

    settings = json.loads(args.settings)
    about = ("width", "height", "mpp", "downsamples")
    record = read_record(args.record, *about, "mask_scale")
    info = SimpleNamespace(**{key: record[key] for key in about})
    grid = tiling.grid(info, settings["size"], settings["mpp"], settings["resample"])
    mask = picture.read(args.mask, "L") > 127
    table, warning = tiling.tissue_tiles(mask, record["mask_scale"], grid, settings["min_tissue"])
    if warning:
        print(f"warning: {args.slide}: {warning}", file=sys.stderr)
    tile_table.write(args.output, table, grid, args.slide)
    print(
        f"{args.slide}: {table.num_rows} tiles of {grid.columns} x {grid.rows}; {grid.size} px at "
        f"{grid.mpp_read * grid.scale:.4f} um/px, read from level {grid.level} at {grid.mpp_read:.4f}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    run(main)
