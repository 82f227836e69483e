"""AUC against R, on the test split and in cross-validation, the paper's values beside ours."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from chowder import files
from chowder.files import run
from chowder.report import published
from chowder.report.figures import experiments, style
from chowder.report.table import entry


def main(argv: list[str] | None = None) -> None:
    parser = style.options(__doc__)
    parser.add_argument("--methods", nargs="+", required=True, help="names, in the order of the files")
    parser.add_argument(
        "--auc", type=Path, nargs="+", required=True, help="metrics/<encoder>/<method>/auc.json of each"
    )
    parser.add_argument("--published", type=Path, help="published.csv: the paper's numbers; without it there are none")
    args = parser.parse_args(argv)
    theirs = published.read(args.published) if args.published else []

    rows = []
    for method, path in zip(args.methods, files.matched(args.auc, len(args.methods), "--auc"), strict=True):
        encoder = path.resolve().parts[-3]
        rows.append(entry.method_entry(path, None, None, encoder=encoder, method=method, settings=args.settings)[0])
    style.save(*experiments.auc_against_r(pd.DataFrame(rows), theirs), args.output_stem, style.About.of(args.settings))


if __name__ == "__main__":
    run(main)
