"""Quality and cost of every method on every encoder's features, as one figure and as matrix.csv."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from chowder import files
from chowder.files import run, write_text
from chowder.report import matrix
from chowder.report.figures import matrix as picture
from chowder.report.figures import style
from chowder.report.table import entry, significance


def main(argv: list[str] | None = None) -> None:
    parser = style.options(__doc__)
    parser.add_argument("--entries", nargs="+", required=True, help="encoder:method, one per cell")
    parser.add_argument("--auc", type=Path, nargs="+", required=True, help="their auc.json, in the same order")
    parser.add_argument("--froc", type=Path, nargs="+", required=True, help="their froc.json")
    parser.add_argument("--timing", type=Path, nargs="+", required=True, help='their {"train_seconds": ...}')
    parser.add_argument("--tests", type=Path, required=True, help="tests.csv")
    parser.add_argument("--indexes", type=Path, nargs="+", required=True, help="features/<encoder>/index.json")
    parser.add_argument(
        "--embed-times", type=Path, nargs="*", default=[], help="benchmarks/embed/<encoder>/<shard>.tsv of all shards"
    )
    parser.add_argument("--csv", type=Path, required=True, help="matrix.csv to write")
    args = parser.parse_args(argv)

    rows, count = [], len(args.entries)
    for name, auc, froc, timing in zip(
        args.entries,
        files.matched(args.auc, count, "--auc"),
        files.matched(args.froc, count, "--froc"),
        files.matched(args.timing, count, "--timing"),
        strict=True,
    ):
        encoder, _, method = name.rpartition(":")
        rows.append(entry.method_entry(auc, froc, timing, encoder=encoder, method=method, settings=args.settings)[0])
    times = defaultdict(list)
    for path in args.embed_times:
        times[path.parent.name].append(path)
    costs = {
        index.parent.name: {
            "features_gb": matrix.features_gb(index),
            "embed_seconds": matrix.embed_seconds(times[index.parent.name]),
        }
        for index in args.indexes
    }
    confidence = float(args.settings.get("confidence", 0.95))
    tests = significance.read_tests(args.tests)
    frame = matrix.build(rows, tests, costs, args.settings.get("reference"), confidence)
    write_text(args.csv, matrix.to_csv(frame))
    style.save(*picture.draw(frame, confidence), args.output_stem, style.About.of(args.settings))


if __name__ == "__main__":
    run(main)
