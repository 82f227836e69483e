"""Publish an encoder's features: each slide's file out of the store, and the index that training depends on.

python workflow/scripts/index_features.py --encoder resnet50 --shards features/resnet50/shards/*.json
    --slides tumor_001 normal_001 --output features/resnet50/index.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from chowder.features import feature_file
from chowder.features.publish import publish
from chowder.files import UserError, run, write_text


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="the encoder that the files must be from")
    parser.add_argument("--shards", nargs="+", required=True, help="manifests of embed.py")
    parser.add_argument("--slides", nargs="+", required=True, help="names; their files are written beside the index")
    parser.add_argument("--output", required=True, help="index to write (JSON)")
    args = parser.parse_args(argv)

    folder = Path(args.output).parent
    sums = publish(args.shards, args.slides, folder)
    record, warnings = feature_file.index([folder / f"{slide}.h5" for slide in sums], folder, sums)
    if record["encoder"] != args.encoder:
        raise UserError(f"{args.shards[0]}: is from encoder {record['encoder']!r}, not {args.encoder!r}")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    write_text(args.output, json.dumps(record, indent=1) + "\n")
    tiles = sum(slide["tiles"] for slide in record["slides"])
    print(f"{len(record['slides'])} slides, {tiles} tiles, {record['dim']} features", file=sys.stderr)


if __name__ == "__main__":
    run(main)
