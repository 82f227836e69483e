"""The viewer's pages: slides with the tile scores of every method, lesions and tissue, to be opened from the disk."""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np

from chowder.data.annotations import read_asap
from chowder.files import UserError, atomic, run
from chowder.report import paper, viewer
from chowder.report.figures.heatmap import full_red
from chowder.slides import picture, tile_scores, tile_table
from chowder.slides.record import read as read_record

PAGE = Path(__file__).resolve().parents[1] / "report" / "viewer"


def pairs(texts: list[str]) -> dict[str, Path]:
    """NAME=PATH as a dict."""
    return {name: Path(path) for name, _, path in (text.partition("=") for text in texts)}


def probabilities(path: Path) -> dict[str, tuple[int | None, float]]:
    """Label (None where there is none) and probability of each slide of a predictions file."""
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        return {
            row["slide"]: (int(row["label"]) if row.get("label") else None, float(row["probability"])) for row in rows
        }
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not a predictions file ({error!r}): make it again") from None


def thumbnail(preview: Path, path: Path) -> None:
    """A small picture of the slide."""
    from PIL import Image

    small = Image.fromarray(picture.read(preview))
    small.thumbnail((viewer.THUMBNAIL, viewer.THUMBNAIL))
    with atomic(path) as scratch:
        small.save(scratch, quality=85)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", nargs="+", required=True, help="names")
    parser.add_argument(
        "--predictions", nargs="+", required=True, metavar="METHOD=CSV", help="slide, probability, label"
    )
    parser.add_argument("--scores", nargs="+", required=True, metavar="METHOD=FOLDER", help="<slide>.parquet")
    parser.add_argument("--annotations", nargs="*", default=[], metavar="SLIDE=XML")
    parser.add_argument("--tissue-dir", type=Path, required=True, help="<slide>.png and .json")
    parser.add_argument("--previews-dir", type=Path, required=True, help="<slide>.jpg")
    parser.add_argument("--tiles-dir", type=Path, required=True, help="<slide>.parquet")
    parser.add_argument("--pyramids-dir", type=Path, required=True, help="<slide>.json and the folders beside it")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: dataset, method, simulated, note")
    parser.add_argument("--output", type=Path, required=True, help="index.html to write; the rest goes beside it")
    args = parser.parse_args(argv)

    folder = args.output.parent
    scores, outlines = pairs(args.scores), pairs(args.annotations)
    predicted = {method: probabilities(path) for method, path in pairs(args.predictions).items()}
    slides, highest = [], {method: [] for method in scores}
    for slide in args.slides:
        record = read_record(args.tissue_dir / f"{slide}.json", "width", "height", "mask_scale")
        xy, grid, _ = tile_table.read(args.tiles_dir / f"{slide}.parquet")
        found = {m: tile_scores.read(path / f"{slide}.parquet")["score"].to_numpy() for m, path in scores.items()}
        for method, values in found.items():
            highest[method].append(values)
        annotation = read_asap(outlines[slide]) if slide in outlines else None
        mask = picture.read(args.tissue_dir / f"{slide}.png", "L") > 127
        size = read_record(args.pyramids_dir / f"{slide}.json", "width", "height")
        url = os.path.relpath(args.pyramids_dir / slide, folder)
        data = viewer.slide_data(
            slide,
            (record["width"], record["height"]),
            grid,
            xy,
            found,
            viewer.tile_source(url, size["width"], size["height"]),
            viewer.rings(annotation.tumor if annotation else None),
            viewer.rings(annotation.excluded if annotation else None),
            viewer.mask_rings(mask, record["mask_scale"]),
        )
        viewer.write_slide(folder / "data" / f"{slide}.js", data)
        thumbnail(args.previews_dir / f"{slide}.jpg", folder / "data" / f"{slide}.jpg")
        labels = {p[slide][0] for p in predicted.values() if slide in p} - {None}
        slides.append(
            {
                "slide": slide,
                "label": labels.pop() if labels else None,
                "probability": {method: round(p[slide][1], 6) for method, p in predicted.items() if slide in p},
                "thumbnail": f"data/{slide}.jpg",
                "data": f"data/{slide}.js",
            }
        )
    content = {
        "title": f"Slides of {args.settings.get('dataset', '')}",
        "note": args.settings.get("note") or ("Simulated slides." if args.settings.get("simulated") else ""),
        "methods": list(scores),
        "titles": {method: paper.parse(method).label for method in scores},
        "method": args.settings.get("method", ""),
        "scale": {method: [0.0, full_red(np.concatenate(values))] for method, values in highest.items()},
        "slides": slides,
    }
    viewer.write_index(folder / "slides.js", content)
    for path in sorted(PAGE.iterdir()):
        if path.name != args.output.name:
            shutil.copyfile(path, folder / path.name)
    with atomic(args.output) as scratch:
        shutil.copyfile(PAGE / "index.html", scratch)


if __name__ == "__main__":
    run(main)
