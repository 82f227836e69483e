"""Write the training and test slides of every protocol: slides table -> splits.json."""

from __future__ import annotations

import argparse
import json
import sys

from chowder.data.cohort import read_rows
from chowder.files import run, write_text
from chowder.models import splits as protocols


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", required=True, help="slides table (CSV: slide, label, split)")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: folds, over (all|train), stratify, seed")
    parser.add_argument("--output", required=True, help="splits.json to write")
    args = parser.parse_args(argv)

    settings = {key: args.settings[key] for key in ("folds", "over", "stratify", "seed") if key in args.settings}
    splits = protocols.splits(read_rows(args.slides), **settings)
    for name, sides in splits.items():
        print(f"{name}: {len(sides['train'])} training and {len(sides['test'])} test slides", file=sys.stderr)
    write_text(args.output, json.dumps(splits, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
