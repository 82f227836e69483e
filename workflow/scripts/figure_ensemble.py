"""AUC against the number of networks averaged."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from chowder import figures, table
from chowder.files import run


def main(argv: list[str] | None = None) -> None:
    parser = figures.options(__doc__)
    parser.add_argument("--methods", nargs="+", required=True, help="names, in the order of the files")
    parser.add_argument("--sizes", type=Path, nargs="+", required=True, help="CSV of each: members, auc, low, high")
    args = parser.parse_args(argv)

    paths = table.matched(args.sizes, len(args.methods), "--sizes")
    data = [figures.read_csv(path).assign(method=name) for name, path in zip(args.methods, paths, strict=True)]
    figures.save(*figures.ensemble(pd.concat(data)), args.output_stem, figures.About.of(args.settings))


if __name__ == "__main__":
    run(main)
