"""The benchmark table from the files of a run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from json import loads
from pathlib import Path

import pandas as pd

from chowder import files
from chowder.report import published
from chowder.report.table import entry, rows, significance


def options(parser: ArgumentParser) -> None:
    """Add the options that say which files the table is made of."""
    parser.add_argument("--entries", nargs="*", default=[], help="encoder:method, one a row; else the folders of --auc")
    parser.add_argument(
        "--auc", type=Path, nargs="+", required=True, help="metrics/<encoder>/<method>/auc.json, one a row"
    )
    parser.add_argument("--froc", type=Path, nargs="*", default=[], help="their froc.json, in the same order")
    parser.add_argument("--timing", type=Path, nargs="*", default=[], help='their {"train_seconds": ...}, same order')
    parser.add_argument("--tests", type=Path, help="tests.csv: what the mark ≈ rests on; without it there is none")
    parser.add_argument("--published", type=Path, help="published.csv: numbers of others; without it there are none")
    parser.add_argument("--slides", type=Path, help="slides table, for the counts")
    parser.add_argument("--summary", type=Path, help="tiles/summary.csv, for the counts")
    parser.add_argument("--settings", type=loads, default={}, help="JSON: dataset, simulated, froc_mode, confidence")


def benchmark(args: Namespace) -> rows.Benchmark:
    """Return the table of the files that ``args`` (of :func:`options`) name."""
    names = args.entries or [":".join(path.parts[-3:-1]) for path in args.auc]
    entries = []
    for name, auc, froc, timing in zip(
        files.matched(names, len(args.auc), "--entries"),
        args.auc,
        files.matched(args.froc, len(args.auc), "--froc"),
        files.matched(args.timing, len(args.auc), "--timing"),
        strict=True,
    ):
        # The encoder's own name may hold a colon (timm:...), a method's never does.
        encoder, _, method = name.rpartition(":")
        entries.append(entry.method_entry(auc, froc, timing, encoder=encoder, method=method, settings=args.settings))
    slides = pd.read_csv(args.slides, dtype={"slide": str}) if args.slides else None
    summary = pd.read_csv(args.summary, dtype={"slide": str}) if args.summary else None
    numbers = published.read(args.published) if args.published else []
    tests = significance.read_tests(args.tests)
    return rows.build(entries, slides, summary, args.settings, tests, numbers=numbers)
