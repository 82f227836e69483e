"""Write the resolved slides table of a dataset: every row checked, every optional column filled.

python workflow/scripts/slides_table.py --table config/demo.csv --settings '{"simulated": true}' --output slides.csv
"""

from __future__ import annotations

import argparse
import json
import sys

from chowder.data import cohort
from chowder.files import run


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="the user's slides table (CSV)")
    parser.add_argument("--root", help="folder of the slides; left out where they are made or downloaded later")
    parser.add_argument("--labels", help="CSV of a second label set: slide and label, class, annotation or froc")
    parser.add_argument("--outlines", help="folder of the outlines, where there are features and no slides")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: image, annotation (patterns), simulated")
    parser.add_argument("--output", required=True)
    args = parser.parse_args(argv)
    settings = args.settings
    slides = cohort.read(args.table, settings.get("image", ""), settings.get("annotation", ""), args.root)
    if args.labels:
        slides, changed = cohort.override(slides, args.labels)
        print(f"{args.labels}: {len(changed)} slides changed: {', '.join(changed) or 'none'}", file=sys.stderr)
    if args.outlines:
        slides = cohort.outlined(slides, args.outlines, not settings.get("without_places"))
    cohort.write(args.output, slides, bool(settings.get("simulated")))


if __name__ == "__main__":
    run(main)
