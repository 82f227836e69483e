"""Write the resolved slides table of a dataset: every row checked, every optional column filled.

python workflow/scripts/slides_table.py --table config/demo.csv --settings '{"simulated": true}' --output slides.csv
"""

from __future__ import annotations

import argparse
import json

from chowder.data import cohort
from chowder.files import run


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="the user's slides table (CSV)")
    parser.add_argument("--root", help="folder of the slides; left out where they are made or downloaded later")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: image, annotation (patterns), simulated")
    parser.add_argument("--output", required=True)
    args = parser.parse_args(argv)
    settings = args.settings
    slides = cohort.read(args.table, settings.get("image", ""), settings.get("annotation", ""), args.root)
    cohort.write(args.output, slides, bool(settings.get("simulated")))


if __name__ == "__main__":
    run(main)
