"""Gather every method's measures of use into metrics.csv, .md and .html."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from chowder import files
from chowder.files import run, write_text
from chowder.report.table import measures


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", nargs="+", required=True, help="encoder:method, one per row")
    parser.add_argument("--measures", type=Path, nargs="+", required=True, help="their measures.json, same order")
    parser.add_argument("--sizes", type=Path, nargs="+", required=True, help="their lesion_sizes.csv, same order")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: dataset, simulated")
    for name in ("csv", "markdown", "html"):
        parser.add_argument(f"--{name}", type=Path, help=f"write the table here as {name}")
    args = parser.parse_args(argv)

    entries = []
    for name, path, sizes in zip(
        args.entries,
        files.matched(args.measures, len(args.entries), "--measures"),
        files.matched(args.sizes, len(args.entries), "--sizes"),
        strict=True,
    ):
        encoder, _, method = name.rpartition(":")
        entries.append(measures.entry(path, sizes, encoder=encoder, method=method))
    table = measures.build(entries, args.settings)
    for path, render in (
        (args.csv, measures.to_csv),
        (args.markdown, measures.to_markdown),
        (args.html, measures.to_html),
    ):
        if path:
            write_text(path, render(table))


if __name__ == "__main__":
    run(main)
