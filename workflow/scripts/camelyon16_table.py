"""Make the Camelyon-16 slides table from the facts, or check one against the organisers' reference.csv."""

from __future__ import annotations

import argparse
import sys

from chowder.data import camelyon16
from chowder.files import UserError, run, write_text


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="check --table against --reference, say so in --output")
    parser.add_argument("--table", help="slides table to check (config/camelyon16.csv)")
    parser.add_argument("--reference", help="reference.csv, either form")
    parser.add_argument("--facts", help="slide,split,label,class,center,exhaustively_annotated: make a table from it")
    parser.add_argument("--mini", action="store_true", help="with --facts: only the eight slides of the small subset")
    parser.add_argument("--output", required=True, help="file to write")
    args = parser.parse_args(argv)

    if args.check:
        if not (args.table and args.reference):
            raise UserError("--check needs --table and --reference")
        table, reference = camelyon16.read_table(args.table), camelyon16.read_reference(args.reference)
        agreed = camelyon16.check_table(table, reference)
        line = f"{agreed} of {len(table)} slides of {args.table} agree with {args.reference}"
        if agreed < len(table):
            line += f"; it does not cover the other {len(table) - agreed}"
        if others := camelyon16.left_out(table, reference):
            line += f"; of its {len(reference.slides)} slides the table leaves out {len(others)} ({others[0]} ...)"
        print(line, file=sys.stderr)
        write_text(args.output, line + "\n")
    elif args.facts:
        only = camelyon16.MINI if args.mini else None
        camelyon16.write_table(args.output, camelyon16.make_table(camelyon16.read_table(args.facts), only))
    else:
        raise UserError("nothing to do: give --check with --table and --reference, or --facts")


if __name__ == "__main__":
    run(main)
