"""One slide as a pyramid of JPEG tiles for the viewer."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from chowder.files import run, write_text
from chowder.report import viewer
from chowder.slides.record import read as read_record


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="the slide's file")
    parser.add_argument("--record", required=True, help="tissue/<slide>.json: um/px of level 0")
    parser.add_argument("--mpp", type=float, required=True, help="um/px of the finest level")
    parser.add_argument("--tiles", type=Path, required=True, help="folder to write")
    parser.add_argument("--output", required=True, help="JSON to write last: width and height of the finest level")
    args = parser.parse_args(argv)

    shutil.rmtree(args.tiles, ignore_errors=True)
    width, height = viewer.write_pyramid(args.image, args.tiles, read_record(args.record, "mpp")["mpp"], args.mpp)
    write_text(args.output, json.dumps({"width": width, "height": height}) + "\n")


if __name__ == "__main__":
    run(main)
