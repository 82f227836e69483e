"""Where the model looked: a slide, its tile scores from white to red, and a detail; lesions outlined."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from chowder.data.annotations import read_asap
from chowder.files import UserError, run
from chowder.models.predictions import read_probabilities
from chowder.report.figures import heatmap, style
from chowder.report.figures.view import close_up, whole
from chowder.slides import picture, tile_scores, tile_table
from chowder.slides.record import read as read_record


def prediction(path: Path, slide: str) -> tuple[int, float]:
    """Return label (1: tumour) and predicted probability of a slide."""
    found = read_probabilities(path)
    if slide not in found:
        raise UserError(f"{path}: 0 rows for slide {slide}: train the method again")
    return found[slide]


def main(argv: list[str] | None = None) -> None:
    parser = style.options(__doc__)
    parser.add_argument("--slide", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--preview", type=Path, required=True, help="thumbnail of the whole slide")
    parser.add_argument("--record", type=Path, required=True, help="tissue/<slide>.json: width, height, mpp")
    parser.add_argument("--tiles", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True, help="tile_scores/.../<slide>.parquet")
    parser.add_argument("--annotation", nargs="*", default=[], help="ASAP XML; none or empty where there is none")
    parser.add_argument("--predictions", type=Path, help="predictions/.../competition.csv: label and probability")
    parser.add_argument("--all-scores", nargs="*", default=[], help="tile scores of all test slides: one scale for all")
    parser.add_argument("--scale", choices=("score", "rank"), default="score")
    parser.add_argument("--image", type=Path, help="the slide itself: the detail is read from it, sharper")
    args = parser.parse_args(argv)

    record = read_record(args.record, "width", "height", "mpp")
    grid = tile_table.read(args.tiles)[1]
    paths = [path for path in args.annotation if path]
    annotation = read_asap(paths[0]) if paths else None
    label, probability = prediction(args.predictions, args.slide) if args.predictions else (None, None)
    view = whole(picture.read(args.preview), record["width"], record["height"], record["mpp"])
    drawing = heatmap.heatmap(
        args.slide,
        args.method,
        view,
        tile_scores.read(args.scores),
        grid.extent,
        record["mpp"],
        annotation.tumor if annotation else None,
        scale=args.scale,
        full=heatmap.full_red(np.concatenate([tile_scores.read(path)["score"] for path in args.all_scores]))
        if args.all_scores
        else None,
        reader=close_up(args.image, record["mpp"]) if args.image else None,
        excluded=annotation.excluded if annotation else None,
        label=label,
        probability=probability,
        unit=heatmap.score_unit(args.method, args.settings.get("score", "auto")),
    )
    style.save(*drawing, args.output_stem, style.About.of(args.settings))


if __name__ == "__main__":
    run(main)
