"""How well MeanPool features tell test slides from training slides, for the given split and for random ones."""

from __future__ import annotations

from pathlib import Path

from chowder.files import run
from chowder.report import published
from chowder.report.figures import experiments, style


def main(argv: list[str] | None = None) -> None:
    parser = style.options(__doc__)
    parser.add_argument("--bias", type=Path, required=True, help="CSV: split (kind), repeat, auc")
    parser.add_argument("--published", type=Path, help="published.csv: the paper's numbers; without it there are none")
    args = parser.parse_args(argv)
    theirs = published.read(args.published) if args.published else []
    style.save(
        *experiments.split_bias(style.read_csv(args.bias), theirs), args.output_stem, style.About.of(args.settings)
    )


if __name__ == "__main__":
    run(main)
