"""Join a cohort that was embedded in parts: links to all features, one slides table, and a config to train on them."""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import yaml

from chowder.data import cohort, parts
from chowder.files import UserError, atomic, run, write_text


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", type=Path, help="results/<dataset> of each part, its features finished")
    parser.add_argument("--name", required=True, help="of the joined dataset; its results go to results/<name>")
    parser.add_argument("--encoder", default="", help="whose features, where the parts have several")
    parser.add_argument("--output", type=Path, help="folder of links, table and config (own/<name>)")
    args = parser.parse_args(argv)
    if not cohort.NAME.fullmatch(args.name):
        raise UserError(f"--name: {args.name!r}: use letters, digits, '.', '_' and '-' alone")
    runs = [parts.read_part(folder, args.encoder) for folder in args.parts]
    rows, files = parts.join(runs)
    output = args.output or Path("own") / args.name
    folder = output / "features"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.h5"):
        if old.is_symlink():
            old.unlink()
    for slide, path in files.items():
        os.symlink(path, folder / f"{slide}.h5")
    with atomic(output / "slides.csv") as scratch, open(scratch, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, parts.HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    settings = {
        "dataset": args.name,
        "slides": {"source": "features", "table": str((output / "slides.csv").resolve()), "root": "/"},
        "features": {"folder": str(folder.resolve()), "name": runs[0].encoder},
    }
    write_text(output / "config.yaml", "# Written by join.py.\n" + yaml.safe_dump(settings, sort_keys=False))
    for part in runs:
        if (part.config.get("slides") or {}).get("source") == "simulated":
            print(f"note: the slides of {part.folder} are simulated: say so wherever you show numbers from them")
    print(f"{len(rows)} slides of {len(runs)} parts\nwritten: {output / 'slides.csv'}, {output / 'config.yaml'}")
    print(f"next:    snakemake --cores all --configfile {output / 'config.yaml'}")


if __name__ == "__main__":
    run(main)
