"""One row per method over the repeats of its training: the mean, its spread over repeats, its interval over slides."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from chowder.evaluation import repeats, reports, tables
from chowder.files import run, write_text
from chowder.models.predictions import read_probabilities
from chowder.report.table import repeats as table


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", nargs="+", required=True, help="encoder:method, one per row")
    parser.add_argument("--repeats", type=int, required=True, help="repeats of each: method, method_s1, ...")
    parser.add_argument("--splits", nargs="+", required=True, help="names of the prediction files")
    parser.add_argument("--slides", required=True, help="the resolved slides table")
    parser.add_argument("--predictions-dir", type=Path, required=True, help="holds <encoder>/<method>/<split>.csv")
    parser.add_argument("--detections-dir", type=Path, required=True, help="holds <encoder>/<method>/<slide>.csv")
    parser.add_argument("--lesions-dir", type=Path, required=True, help="holds <slide>.npz; missing: no FROC")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: bootstrap, confidence, seed, froc_mode")
    parser.add_argument("--csv", type=Path, required=True, help="write the table here as csv")
    parser.add_argument("--markdown", type=Path, required=True, help="write the table here as markdown")
    parser.add_argument("--html", type=Path, required=True, help="write the table here as html")
    args = parser.parse_args(argv)

    slides, settings = tables.read_slides(args.slides), reports.Settings.of(args.settings)
    patient = tables.patients_of(slides)
    counted = [name for name, row in slides.items() if row.froc]
    paths = {name: args.lesions_dir / f"{name}.npz" for name in counted}
    paths = {name: path for name, path in paths.items() if path.exists()}
    lesions = reports.read_lesions(slides, paths) if paths else {}
    rows = []
    for entry in args.entries:
        encoder, _, method = entry.rpartition(":")
        names = [method, *(f"{method}_s{number}" for number in range(1, args.repeats))]
        predictions = {
            split: [read_probabilities(args.predictions_dir / encoder / name / f"{split}.csv") for name in names]
            for split in args.splits
        }
        folds = [runs for split, runs in predictions.items() if split != "competition"]
        values = {"auc_cv": repeats.mean_cv(folds, settings, patient)}
        if "competition" in predictions:
            values["auc_test"] = repeats.mean_auc(predictions["competition"], settings, patient)
        if any(len(one.counted) for one in lesions.values()):
            hits = []
            for name in names:
                files = {slide: args.detections_dir / encoder / name / f"{slide}.csv" for slide in counted}
                files = {slide: path for slide, path in files.items() if path.exists()}
                hits.append(reports.slide_hits(slides, files, lesions, settings.froc_mode))
            values["froc"] = repeats.mean_froc(hits, settings)
        rows.append((encoder, method, args.repeats, values))
        print(f"{entry}: {values}", file=sys.stderr)
    title = f"Repeats on {args.settings.get('dataset', 'unnamed')}"
    tables.write_table(args.csv, table.flat(rows), table.COLUMNS)
    about = (title, rows, settings.confidence, bool(args.settings.get("simulated")))
    write_text(args.markdown, table.to_markdown(*about))
    write_text(args.html, table.to_html(*about))


if __name__ == "__main__":
    run(main)
