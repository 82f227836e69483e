"""A bundle's model on slides without labels: their features in; probabilities (CSV) and tile scores out."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chowder.features import feature_file
from chowder.features.bags import read_entry, read_index
from chowder.files import UserError, atomic, run, write_text
from chowder.models import bundle, predicting, training_cohort
from chowder.progress import Progress
from chowder.slides import overview, stain, tile_table
from chowder.slides.record import read as read_record


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", required=True, help="zip or folder that `snakemake bundles` wrote")
    parser.add_argument("--slides", nargs="+", required=True, help="names of the slides")
    parser.add_argument("--index", type=Path, required=True, help="features/<encoder>/index.json")
    parser.add_argument("--tiles-dir", type=Path, required=True, help="folder of tiles/<slide>.parquet")
    parser.add_argument("--tissue-dir", type=Path, required=True, help="folder of <slide>.json and <slide>.png")
    parser.add_argument("--previews-dir", type=Path, required=True, help="folder of <slide>.jpg")
    parser.add_argument("--output", required=True, help="CSV to write: a row per slide")
    parser.add_argument("--scores-dir", type=Path, required=True, help="<slide>.parquet: x, y, score of every tile")
    args = parser.parse_args(argv)

    model = bundle.open_bundle(args.bundle)
    manifest, estimators = model.manifest, model.estimators()
    always = ["the model was trained on simulated slides"] if manifest["simulated"] else []
    dim, entries = read_index(args.index)
    text = io.StringIO()
    writer = csv.DictWriter(text, predicting.COLUMNS, lineterminator="\n")
    writer.writeheader()
    with Progress(len(args.slides), "slides", f"predicting by {model.name}") as bar:
        for slide in args.slides:
            if slide not in entries:
                raise UserError(f"{args.index}: slide {slide} is not in the index: embed it")
            path = args.index.parent / entries[slide]["file"]
            predicting.same_features(model, path, feature_file.attributes(path))
            features, coords = read_entry(args.index, entries[slide], dim)
            xy, _, _ = tile_table.read(args.tiles_dir / f"{slide}.parquet")
            if not np.array_equal(xy, coords):
                raise UserError(f"{path}: the tiles are not those of {args.tiles_dir}: embed slide {slide} again")
            record = read_record(args.tissue_dir / f"{slide}.json", "mpp", "warnings")
            rgb, mask = overview.read(args.previews_dir / f"{slide}.jpg", args.tissue_dir / f"{slide}.png")
            stained = stain.statistics(rgb, mask)
            unlike = training_cohort.outside(manifest["cohort"], len(features), record["mpp"], stained)
            bag = predicting.sampled(features, slide, manifest["sample"])
            found = predicting.Prediction(
                slide,
                predicting.members_of(estimators, bag),
                len(features),
                len(bag),
                record["mpp"],
                [*(f"outside the training slides: {text}" for text in unlike), *record.get("warnings", []), *always],
            )
            for warning in found.warnings:
                print(f"warning: {slide}: {warning}", file=sys.stderr)
            writer.writerow(found.row(bundle.NOTE))
            scores = predicting.tile_scores(estimators, features, manifest["localisation"]["score"])
            table = pa.table({"x": xy[:, 0], "y": xy[:, 1], "score": scores}, metadata={"note": bundle.NOTE})
            with atomic(args.scores_dir / f"{slide}.parquet") as scratch:
                pq.write_table(table, scratch)
            bar.update(1)
    write_text(args.output, text.getvalue())
    print(f"{len(args.slides)} slides; {bundle.NOTE.lower()}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
