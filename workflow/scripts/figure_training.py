"""Training loss per epoch of every learnt method, mean and range of the ensemble's members."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from chowder import files
from chowder.files import run
from chowder.report.figures import experiments, style


def main(argv: list[str] | None = None) -> None:
    parser = style.options(__doc__)
    parser.add_argument("--methods", nargs="+", required=True, help="names, in the order of the files")
    parser.add_argument(
        "--curves",
        type=Path,
        nargs="+",
        required=True,
        help="curves/<encoder>/<method>/<split>.csv: epoch, member, loss",
    )
    args = parser.parse_args(argv)

    paths = files.matched(args.curves, len(args.methods), "--curves")
    data = [
        style.read_csv(path).assign(method=name, split=path.stem)
        for name, path in zip(args.methods, paths, strict=True)
    ]
    style.save(*experiments.training(pd.concat(data)), args.output_stem, style.About.of(args.settings))


if __name__ == "__main__":
    run(main)
