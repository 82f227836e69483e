"""How well MeanPool features tell test slides from training slides, for the given split and for random ones."""

from __future__ import annotations

from pathlib import Path

from chowder import figures
from chowder.files import run


def main(argv: list[str] | None = None) -> None:
    parser = figures.options(__doc__)
    parser.add_argument("--bias", type=Path, required=True, help="CSV: split (kind), repeat, auc")
    args = parser.parse_args(argv)
    figures.save(*figures.split_bias(figures.read_csv(args.bias)), args.output_stem, figures.About.of(args.settings))


if __name__ == "__main__":
    run(main)
