"""Put one slide's feature file in its place: a checked copy of the file that its shard made, never a link to it.

python workflow/scripts/features_file.py --shard features/resnet50/shards/0.json --slide tumor_001 --output tumor_001.h5
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from chowder.features import integrity
from chowder.files import UserError, atomic, run, sha256


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard", required=True, help="manifest written by embed.py")
    parser.add_argument("--slide", required=True)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)
    stored = integrity.read_manifest(args.shard).get(args.slide)
    if stored is None:
        raise UserError(f"{args.shard}: slide {args.slide} is not in it: {integrity.again(args.shard)}")
    source = Path(os.path.normpath(Path(args.shard).parent / stored["file"]))
    if not source.is_file():
        raise UserError(f"{source}: the store's file of slide {args.slide} is gone: {embed_again(args.shard)}")
    with atomic(args.output) as scratch:
        integrity.separate_copy(source, scratch)
        if sha256(scratch) != stored["sha256"]:
            raise UserError(f"{source}: is damaged (sha256 differs from {args.shard}): {embed_again(args.shard)}")


def embed_again(shard: str) -> str:
    return f"{integrity.again(shard)}; only this slide is embedded"


if __name__ == "__main__":
    run(main)
