"""Reliability diagrams: observed share of tumour slides against the predicted probability."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from chowder import files
from chowder.evaluation.measures import RELIABILITY_COLUMNS
from chowder.files import run
from chowder.report.figures import measures, style


def main(argv: list[str] | None = None) -> None:
    parser = style.options(__doc__)
    parser.add_argument("--methods", nargs="+", required=True, help="names, in the order of the files")
    parser.add_argument("--reliability", type=Path, nargs="+", required=True, help="reliability.csv of each")
    args = parser.parse_args(argv)

    parts = [pd.DataFrame(columns=["method", *RELIABILITY_COLUMNS])]
    for method, path in zip(
        args.methods, files.matched(args.reliability, len(args.methods), "--reliability"), strict=True
    ):
        parts.append(style.read_csv(path).assign(method=method))
    filled = [part for part in parts[1:] if len(part)] or parts[:1]
    data = pd.concat(filled)[parts[0].columns]
    style.save(*measures.reliability(data), args.output_stem, style.About.of(args.settings))


if __name__ == "__main__":
    run(main)
