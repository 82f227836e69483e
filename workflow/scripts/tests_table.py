"""Paired tests between methods: predictions, detections and lesions of all -> tests.csv."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from chowder.evaluation import comparisons, reports, tables
from chowder.files import run
from chowder.models.predictions import read_probabilities


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", nargs="+", required=True, help="encoder:method, one per row of the table")
    parser.add_argument(
        "--splits", nargs="+", required=True, help="names of the prediction files: competition, cv1, ..."
    )
    parser.add_argument("--slides", required=True, help="the resolved slides table")
    parser.add_argument("--predictions-dir", type=Path, required=True, help="holds <encoder>/<method>/<split>.csv")
    parser.add_argument("--detections-dir", type=Path, required=True, help="holds <encoder>/<method>/<slide>.csv")
    parser.add_argument("--lesions-dir", type=Path, required=True, help="holds <slide>.npz; missing: no FROC")
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="JSON: bootstrap, confidence, seed, froc_mode, reference"
    )
    parser.add_argument("--output", required=True, help="written: one row per column of the table and pair of methods")
    args = parser.parse_args(argv)

    slides, settings = tables.read_slides(args.slides), reports.Settings.of(args.settings)
    counted = [name for name, row in slides.items() if row.froc]
    paths = {name: args.lesions_dir / f"{name}.npz" for name in counted}
    paths = {name: path for name, path in paths.items() if path.exists()}
    lesions = reports.read_lesions(slides, paths) if paths else {}
    entries = []
    for name in args.entries:
        encoder, _, method = name.rpartition(":")  # an encoder's name may hold a colon, a method's never does
        predictions, detections = (folder / encoder / method for folder in (args.predictions_dir, args.detections_dir))
        files = {slide: detections / f"{slide}.csv" for slide in counted}
        entries.append(
            comparisons.read_entry(
                encoder,
                method,
                {split: read_probabilities(predictions / f"{split}.csv") for split in args.splits},
                {slide: path for slide, path in files.items() if path.exists()},
                slides,
                lesions,
                settings,
            )
        )
    rows = comparisons.table(entries, settings.confidence, args.settings.get("reference"))
    tables.write_table(args.output, rows, comparisons.COLUMNS)
    for row in rows:
        print(
            "{encoder} {column}: {method} against {against}: p = {p:.3g}, Holm {p_holm:.3g}".format(**row),
            file=sys.stderr,
        )


if __name__ == "__main__":
    run(main)
