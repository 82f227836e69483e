"""First steps with slides of one's own: a folder of slides and a CSV of labels in, a slides table and a config out."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import yaml

from chowder.data import cohort, first_table
from chowder.files import UserError, atomic, run, write_text
from chowder.slides.describe import describe

SEED = 1802


def ask(value: str | None, question: str) -> str:
    """Return the value, or what the person at the terminal answers. Errors: neither is there."""
    if value:
        return value
    if not sys.stdin.isatty():
        raise UserError(f"{question} is not given: see --help")
    return input(f"{question}: ").strip()


def looked_at(slides: dict[str, Path], mpp: float | None) -> tuple[list[float], list[str]]:
    """Return um/px of the slides that open, and a line for each that does not."""
    sizes, wrong = [], []
    for path in slides.values():
        try:
            sizes.append(describe(path, mpp).mpp)
        except UserError as error:
            wrong.append(str(error))
    return sizes, wrong


def overlay(args: argparse.Namespace, root: Path, table: Path, folds: int, is_split: bool) -> dict:
    """Return the keys of the config that are these slides' own."""
    return {
        "dataset": args.name,
        "slides": {"source": "table", "table": str(table), "root": str(root)},
        "training": {"epochs": "auto"},
        "cv": {"folds": folds},
        "figures": {"heatmaps": "auto" if is_split else []},
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", help="folder of the slides (also in folders of it)")
    parser.add_argument("--labels", help="CSV: a column of slides, one of labels (normal, tumor; 0, 1; ...)")
    parser.add_argument("--name", default="mine", help="of the dataset; results go to results/<name> (mine)")
    parser.add_argument("--positive", default="", help="the label that means tumour, where the words don't say it")
    parser.add_argument("--mpp", type=float, help="um per pixel of all slides, where their files don't say it")
    parser.add_argument("--test", type=float, default=0.3, help="share of the slides for testing, if no split is given")
    parser.add_argument("--output", type=Path, help="folder of table and config (own/<name>)")
    args = parser.parse_args(argv)
    if not cohort.NAME.fullmatch(args.name):
        raise UserError(f"--name: {args.name!r}: use letters, digits, '.', '_' and '-' alone")

    root = Path(ask(args.slides, "folder of the slides")).expanduser()
    found = first_table.find_slides(root)
    root = root.resolve()
    slides = {name: path.resolve() for name, path in found.items()}
    rows = first_table.read_labels(
        Path(ask(args.labels, "CSV of slides and labels")).expanduser(), slides, args.positive
    )
    missing = [name for name in slides if name not in rows]
    sizes, wrong = looked_at({name: slides[name] for name in rows}, args.mpp)
    for name in missing:
        print(f"note: {slides[name].name} has no label: left out")
    for line in wrong:
        print(f"wrong: {line}")
    if wrong:
        raise UserError(f"{len(wrong)} of {len(rows)} slides cannot be used: mend or remove them (see above)")
    if args.mpp:
        rows = {name: {"mpp": str(args.mpp)} | row for name, row in rows.items()}
    given = any(row.get("split") for row in rows.values())
    is_split = first_table.draw_split(rows, args.test, SEED)
    folds = first_table.folds(rows)
    if not folds:
        raise UserError("two slides of each class, of different patients, are needed at least: add slides")

    output = args.output or Path("own") / args.name
    lines = first_table.table(rows, slides, root)
    columns = [c for c in cohort.REQUIRED + cohort.OPTIONAL if any(line.get(c) for line in lines)]
    with atomic(output / "slides.csv") as scratch, open(scratch, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    cohort.read(output / "slides.csv", "{slide}.tif", "", root)  # every mistake that is left, before anything starts
    settings = overlay(args, root, (output / "slides.csv").resolve(), folds, is_split)
    head = f"# Written by `make init`. Every other key is as in config/config.yaml.\n# {command(output)}\n"
    write_text(output / "config.yaml", head + yaml.safe_dump(settings, sort_keys=False))

    tumours = sum(line["label"] == "tumor" for line in lines)
    test = [line for line in lines if line.get("split") in ("test", "testing")]
    print(f"{len(lines)} slides, {tumours} with tumour; {min(sizes):.3g} to {max(sizes):.3g} um/px")
    if is_split:
        how = "as the table says" if given else f"drawn here (share {args.test:g}); change the column split as you like"
        print(f"{len(test)} slides for testing, {how}")
    else:
        print("no test slides: cross-validation only, and no heat maps")
    print(f"{folds} folds of cross-validation")
    if len(lines) < 30:
        print("note: with so few slides the numbers say next to nothing; the intervals in the table show it")
    print(f"written: {output / 'slides.csv'}, {output / 'config.yaml'}\nnext:    {command(output)}")


def command(output: Path) -> str:
    """Return what to type next."""
    return f"snakemake --cores all --configfile {output / 'config.yaml'}"


if __name__ == "__main__":
    run(main)
