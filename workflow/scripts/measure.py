"""Measures of use of one method: precision and recall, sensitivity at a specificity, calibration, lesions by size."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

from chowder.evaluation import lesion_sizes, measures, tables
from chowder.evaluation.reports import Settings
from chowder.files import UserError, run
from chowder.models.predictions import read_probabilities


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", required=True)
    parser.add_argument(
        "--predictions", nargs="+", required=True, metavar="SPLIT=FILE", help="competition=..., cv1=..."
    )
    parser.add_argument("--slides", required=True, help="the resolved slides table: patients")
    parser.add_argument("--lesions", type=Path, required=True, help="metrics/<encoder>/<method>/lesions.csv")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: bootstrap, confidence, seed")
    parser.add_argument("--output", required=True, help="written: JSON with all numbers")
    parser.add_argument("--reliability", required=True, help="written: CSV, bins of the reliability diagram")
    parser.add_argument("--sizes", required=True, help="written: CSV, sensitivity by lesion size")
    args = parser.parse_args(argv)

    pairs = dict(text.partition("=")[::2] for text in args.predictions)
    if not all(pairs.values()):
        raise UserError("--predictions: write split=file, as in competition=predictions/competition.csv")
    settings = Settings.of(args.settings)
    patients = tables.patients_of(tables.read_slides(args.slides))
    predictions = {split: read_probabilities(path) for split, path in pairs.items()}
    content, bins = measures.measures(predictions, settings, patients)
    try:
        with args.lesions.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
    except FileNotFoundError:
        raise UserError(f"{args.lesions}: no such file: make it with evaluate.py") from None
    draws = (settings.bootstrap, settings.seed, settings.confidence)
    sizes = lesion_sizes.by_size(rows, *draws, str(args.lesions), patients)
    tables.write_json(args.output, {"method": args.method, "confidence": settings.confidence} | content)
    tables.write_table(args.reliability, bins, measures.RELIABILITY_COLUMNS)
    tables.write_table(args.sizes, sizes, lesion_sizes.COLUMNS)
    test = content["competition"]
    print(f"{args.method}: {test['auprc'] if test else content['competition_reason']}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
