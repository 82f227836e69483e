"""What the training slides are like, for bundles: tile counts, um/px, stain. Without a split all slides train."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from chowder.data.cohort import read_rows
from chowder.features import sampling
from chowder.files import UserError, run, write_text
from chowder.models import training_cohort
from chowder.slides import overview, stain, tile_table
from chowder.slides.record import read as read_record


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", required=True, help="slides table (CSV)")
    parser.add_argument("--tissue-dir", type=Path, required=True, help="folder of <slide>.json and <slide>.png")
    parser.add_argument("--previews-dir", type=Path, required=True, help="folder of <slide>.jpg")
    parser.add_argument("--tiles-dir", type=Path, required=True, help="folder of tiles/<slide>.parquet")
    parser.add_argument("--settings", required=True, help="section `sample` of the config, as JSON")
    parser.add_argument("--output", required=True, help="JSON to write")
    args = parser.parse_args(argv)

    settings = json.loads(args.settings)
    rows = read_rows(args.slides, ("slide", "label", "split"))
    rows = [row for row in rows if row["split"] == "train"] or [row for row in rows if not row["split"]]
    if not rows:
        raise UserError(f"{args.slides}: no training slide: a bundle needs some")
    slides = []
    for row in rows:
        name = row["slide"]
        record = read_record(args.tissue_dir / f"{name}.json", "mpp")
        corners, grid, _ = tile_table.read(args.tiles_dir / f"{name}.parquet")
        rgb, mask = overview.read(args.previews_dir / f"{name}.jpg", args.tissue_dir / f"{name}.png")
        about = {"tiles": len(corners), "mpp": record["mpp"], "mpp_read": grid.mpp_read}
        about |= {"label": int(row["label"]), "class": row.get("class", "")}
        slides.append(about | {"stain": stain.statistics(rgb, mask)})
    counts = {str(number): slide["tiles"] for number, slide in enumerate(slides)}
    # A slide with more tiles than there are gives M_S as it is before the slide's own tiles limit it.
    sizes = sampling.sample_sizes(
        counts | {"endless": sys.maxsize}, list(counts), settings["minimum"], settings["fraction"]
    )
    content = training_cohort.summary(slides) | {"sampled": sizes["endless"]}
    write_text(args.output, json.dumps(content, indent=1) + "\n")
    print(f"{len(slides)} training slides, at most {sizes['endless']} tiles sampled of each", file=sys.stderr)


if __name__ == "__main__":
    run(main)
