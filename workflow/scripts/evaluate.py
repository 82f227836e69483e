"""AUC and FROC of one method, with intervals: predictions, detections and lesions -> two JSON and three CSV files."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from chowder.evaluation import reports, tables
from chowder.files import UserError, run
from chowder.models.predictions import count_members, read_probabilities


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", required=True)
    parser.add_argument("--slides", required=True, help="the resolved slides table")
    parser.add_argument(
        "--predictions", nargs="+", required=True, metavar="SPLIT=FILE", help="competition=..., cv1=..."
    )
    parser.add_argument("--detections", nargs="*", default=[], type=Path, help="challenge CSVs, <slide>.csv")
    parser.add_argument("--lesions", nargs="*", default=[], type=Path, help="<slide>.npz by lesions.py")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: bootstrap, confidence, seed, froc_mode")
    parser.add_argument("--auc", required=True, help="written: AUC of every split")
    parser.add_argument("--froc", required=True, help="written: FROC, official and corrected")
    parser.add_argument("--lesion-table", required=True, help="written: every label with its best score")
    parser.add_argument("--froc-curve", required=True, help="written: threshold, fps, sensitivity, low, high")
    parser.add_argument("--roc-curve", required=True, help="written: threshold, fpr, tpr, low, high")
    args = parser.parse_args(argv)

    pairs = dict(text.partition("=")[::2] for text in args.predictions)
    if not all(pairs.values()):
        raise UserError("--predictions: write split=file, as in competition=predictions/competition.csv")
    slides = tables.read_slides(args.slides)
    settings = reports.Settings.of(args.settings)
    predictions = {split: read_probabilities(path) for split, path in pairs.items()}
    auc, roc_rows = reports.auc_report(predictions, slides, settings)
    by_stem = [{path.stem: path for path in paths} for paths in (args.detections, args.lesions)]
    froc, froc_rows, lesion_rows = reports.froc_report(slides, *by_stem, settings)

    about = {"method": args.method, "settings": settings.record()}
    members = max(count_members(path) for path in pairs.values())
    tables.write_json(args.auc, about | {"ensemble": members} | auc)
    tables.write_json(args.froc, about | froc)
    tables.write_table(args.roc_curve, roc_rows, reports.ROC_COLUMNS)
    tables.write_table(args.froc_curve, froc_rows, reports.FROC_COLUMNS)
    tables.write_table(args.lesion_table, lesion_rows, reports.LESION_COLUMNS)
    for line in reports.summary(args.method, auc, froc):
        print(line, file=sys.stderr)


if __name__ == "__main__":
    run(main)
