"""How well MeanPool features tell test slides from training slides, for the given split and for random ones."""

from __future__ import annotations

from pathlib import Path

from chowder.files import run
from chowder.report.figures import experiments, style


def main(argv: list[str] | None = None) -> None:
    parser = style.options(__doc__)
    parser.add_argument("--bias", type=Path, required=True, help="CSV: split (kind), repeat, auc")
    args = parser.parse_args(argv)
    style.save(*experiments.split_bias(style.read_csv(args.bias)), args.output_stem, style.About.of(args.settings))


if __name__ == "__main__":
    run(main)
