"""Tiles and sample size of every slide: slides table and tile tables in, one CSV (slide,split,tiles,sampled) out."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from pathlib import Path

from chowder.data.cohort import read_rows
from chowder.features import sampling
from chowder.files import UserError, run, write_text
from chowder.slides import tile_table


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", required=True, help="slides table (CSV)")
    parser.add_argument("--tiles", nargs="+", required=True, help="tile tables, named <slide>.parquet")
    parser.add_argument("--settings", required=True, help="section `sample` of the config, as JSON")
    parser.add_argument("--output", required=True, help="CSV to write")
    args = parser.parse_args(argv)

    settings = json.loads(args.settings)
    splits = {row["slide"]: row["split"] for row in read_rows(args.slides, ("slide", "split"))}
    counts = {Path(path).stem: tile_table.count(path) for path in args.tiles}
    missing, unknown = sorted(splits.keys() - counts.keys()), sorted(counts.keys() - splits.keys())
    if missing or unknown:
        raise UserError(f"{args.slides}: no tiles for {missing}, no row for {unknown}: table and tiles must agree")
    training = [slide for slide, split in splits.items() if split == "train"]
    sampled = sampling.sample_sizes(counts, training, settings["minimum"], settings["fraction"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["slide", "split", "tiles", "sampled"])
    for slide, split in splits.items():
        writer.writerow([slide, split, counts[slide], sampled[slide]])
    write_text(args.output, text.getvalue())
    print(f"{len(counts)} slides, {sum(counts.values())} tiles, {sum(sampled.values())} sampled", file=sys.stderr)


if __name__ == "__main__":
    run(main)
