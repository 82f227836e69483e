"""Gather every method's metrics into benchmark.csv, .md, .tex and .html."""

from __future__ import annotations

import argparse
from pathlib import Path

from chowder.files import run, write_text
from chowder.report.table import gather, html, latex, markdown, rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    gather.options(parser)
    for name in ("csv", "markdown", "latex", "html"):
        parser.add_argument(f"--{name}", type=Path, help=f"write the table here as {name}")
    args = parser.parse_args(argv)

    bench = gather.benchmark(args)
    for path, render in (
        (args.csv, rows.to_csv),
        (args.markdown, markdown.to_markdown),
        (args.latex, latex.to_latex),
        (args.html, html.to_html),
    ):
        if path:
            write_text(path, render(bench))


if __name__ == "__main__":
    run(main)
