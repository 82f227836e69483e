"""Training loss per epoch of every learnt method, mean and range of the ensemble's members."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from chowder import figures, table
from chowder.files import run


def main(argv: list[str] | None = None) -> None:
    parser = figures.options(__doc__)
    parser.add_argument("--methods", nargs="+", required=True, help="names, in the order of the files")
    parser.add_argument(
        "--curves",
        type=Path,
        nargs="+",
        required=True,
        help="curves/<encoder>/<method>/<split>.csv: epoch, member, loss",
    )
    args = parser.parse_args(argv)

    paths = table.matched(args.curves, len(args.methods), "--curves")
    data = [
        figures.read_csv(path).assign(method=name, split=path.stem)
        for name, path in zip(args.methods, paths, strict=True)
    ]
    figures.save(*figures.training(pd.concat(data)), args.output_stem, figures.About.of(args.settings))


if __name__ == "__main__":
    run(main)
