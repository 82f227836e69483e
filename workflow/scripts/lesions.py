"""The lesions of one slide for the FROC: annotation -> tumour mask at level 5 -> labels (npz) and a table (csv)."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from chowder.evaluation import tables
from chowder.evaluation.lesions import lesions_of
from chowder.evaluation.lesions import save as save_lesions
from chowder.files import run
from chowder.slides.record import read as read_record


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", required=True)
    parser.add_argument("--record", type=Path, required=True, help="tissue/<slide>.json: width, height, mpp")
    parser.add_argument("--annotation", nargs="?", default="", const="", help="ASAP XML; empty for a normal slide")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: froc_mpp (0.243 or slide)")
    parser.add_argument("--output", type=Path, required=True, help="<slide>.npz")
    parser.add_argument("--table", type=Path, required=True, help="<slide>.csv, one row a label")
    args = parser.parse_args(argv)

    record = read_record(args.record, "width", "height")
    width, height, mpp = record["width"], record["height"], record.get("mpp")
    lesions = lesions_of(args.annotation or None, width, height, mpp, args.settings)
    save_lesions(args.output, lesions)
    tables.write_table(args.table, [{"slide": args.slide, **row} for row in lesions.table], tables.LABEL_COLUMNS)
    for warning in lesions.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{args.slide}: {len(lesions.counted)} lesions, {len(lesions.itc)} isolated tumour cells", file=sys.stderr)


if __name__ == "__main__":
    run(main)
