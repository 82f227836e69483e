"""Feature files of this workflow in the layout of CLAM, TRIDENT or STAMP."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from chowder.features import feature_file, layouts
from chowder.features.bags import read_entry, read_index
from chowder.files import run, write_text
from chowder.progress import Progress
from chowder.slides import tile_table
from chowder.slides.record import read as read_record


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, required=True, help="features/<encoder>/index.json")
    parser.add_argument("--tiles-dir", type=Path, required=True, help="folder of tiles/<slide>.parquet")
    parser.add_argument("--records-dir", type=Path, required=True, help="folder of tissue/<slide>.json: width, height")
    parser.add_argument("--layout", required=True, choices=layouts.LAYOUTS)
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--done", type=Path, required=True, help="list of slides to write last")
    args = parser.parse_args(argv)

    dim, entries = read_index(args.index)
    encoder = str(feature_file.attributes(args.index.parent / next(iter(entries.values()))["file"]).get("encoder", ""))
    with Progress(len(entries), "slides", f"{args.layout} files") as bar:
        for slide, entry in entries.items():
            features, coords = read_entry(args.index, entry, dim)
            grid = asdict(tile_table.read(args.tiles_dir / f"{slide}.parquet")[1])
            record = read_record(args.records_dir / f"{slide}.json", "width", "height")
            size = record["width"], record["height"]
            layouts.write(args.output, slide, args.layout, features, coords, grid, encoder, size)
            bar.update(1)
    write_text(args.done, "\n".join(entries) + "\n")


if __name__ == "__main__":
    run(main)
