"""A slide's md5 is the one that the slides table gives: read once, and again when the file changes."""

from __future__ import annotations

import argparse
import json

from chowder.files import UserError, md5, run, write_text


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", required=True, help="name of the slide")
    parser.add_argument("--image", required=True, help="the slide's file")
    parser.add_argument("--md5", required=True, help="md5 of the slides table, hexadecimal")
    parser.add_argument("--output", required=True, help="record to write when they are the same (JSON)")
    args = parser.parse_args(argv)

    found = md5(args.image)
    if found != args.md5.lower():
        raise UserError(
            f"{args.image}: md5 is {found}, the slides table has {args.md5.lower()} for slide {args.slide}: copy the "
            "file again, or correct the column `md5`"
        )
    write_text(args.output, json.dumps({"slide": args.slide, "md5": found}) + "\n")


if __name__ == "__main__":
    run(main)
