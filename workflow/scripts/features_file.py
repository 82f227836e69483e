"""Put one slide's feature file in its place: a hard link to the file that its shard made, a copy where links fail.

python workflow/scripts/features_file.py --shard features/resnet50/shards/0.json --slide tumor_001 --output tumor_001.h5
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

from chowder.files import UserError, atomic, run


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard", required=True, help="manifest written by embed.py")
    parser.add_argument("--slide", required=True)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)
    manifest = json.loads(Path(args.shard).read_text(encoding="utf-8"))
    source = Path(args.shard).parent / manifest["slides"][args.slide]["file"]
    if not source.is_file():
        raise UserError(f"{source}: the feature file of {args.slide} is gone: delete {args.shard} and run again")
    with atomic(args.output) as scratch:
        scratch.unlink(missing_ok=True)
        try:
            os.link(source, scratch)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, scratch)


if __name__ == "__main__":
    run(main)
