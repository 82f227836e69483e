"""Test AUC against the number of ensemble members, from the members' own predictions."""

from __future__ import annotations

import argparse
import json

from chowder.files import run, write_text
from chowder.models import predictions, splits


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", required=True, help="CSV: slide, label, probability, member_1 ...")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: sizes, repeats, confidence, seed")
    parser.add_argument("--output", required=True, help="CSV: members, subsets, auc, low, high, sd")
    args = parser.parse_args(argv)

    _, labels, members = predictions.read_predictions(args.predictions)
    settings = {k: args.settings[k] for k in ("sizes", "repeats", "confidence", "seed") if k in args.settings}
    rows = splits.ensemble_curve(labels, members, **settings)
    lines = ["members,subsets,auc,low,high,sd"]
    for row in rows:
        numbers = ",".join(f"{row[key]:.6f}" for key in ("auc", "low", "high", "sd"))
        lines.append(f"{row['members']},{row['subsets']},{numbers}")
    write_text(args.output, "\n".join(lines) + "\n")


if __name__ == "__main__":
    run(main)
