"""The index of an encoder's features, the one file that training depends on: feature files in, JSON out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from chowder.features import feature_file
from chowder.features.integrity import read_manifest
from chowder.files import UserError, run, write_text


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", required=True, help="the encoder that the files must be from")
    parser.add_argument("--features", nargs="+", required=True, help="feature files, <slide>.h5")
    parser.add_argument(
        "--shards", nargs="*", default=[], help="manifests of embed.py: the files must be what they say"
    )
    parser.add_argument("--output", required=True, help="index to write (JSON)")
    args = parser.parse_args(argv)

    embedded = {slide: entry["sha256"] for path in args.shards for slide, entry in read_manifest(path).items()}
    record, warnings = feature_file.index(args.features, Path(args.output).parent, embedded if args.shards else None)
    if record["encoder"] != args.encoder:
        raise UserError(f"{args.features[0]}: is from encoder {record['encoder']!r}, not {args.encoder!r}")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    write_text(args.output, json.dumps(record, indent=1) + "\n")
    tiles = sum(slide["tiles"] for slide in record["slides"])
    print(f"{len(record['slides'])} slides, {tiles} tiles, {record['dim']} features", file=sys.stderr)


if __name__ == "__main__":
    run(main)
