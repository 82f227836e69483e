"""Lesion scores of the test slides' tiles and the challenge's detection files: model + all tissue tiles -> both."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chowder.evaluation import detections, localisation
from chowder.features.bags import read_entry, read_index
from chowder.files import UserError, atomic, run
from chowder.models import build, splits
from chowder.progress import Progress
from chowder.slides import tile_table


def read_tiles(path: Path, coords: np.ndarray) -> tuple[np.ndarray, dict]:
    """Upper left corners (n, 2) and the grid's record; the features must belong to these very tiles."""
    xy, grid, _ = tile_table.read(path)
    if not np.array_equal(xy, coords):
        raise UserError(f"{path}: the tiles are not those of the feature file: embed slide {path.stem} again")
    return xy, asdict(grid)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", required=True)
    parser.add_argument("--model", required=True, help="the competition split's model file")
    parser.add_argument("--index", required=True, help="features/<encoder>/index.json")
    parser.add_argument("--tiles-dir", required=True, help="folder of tiles/<slide>.parquet")
    parser.add_argument("--splits", required=True, help="splits.json")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: score, smoothing_um, nms_um")
    parser.add_argument("--scores-dir", required=True, help="<slide>.parquet: x, y, score of every tissue tile")
    parser.add_argument("--detections-dir", required=True, help="<slide>.csv without header: score,x,y")
    args = parser.parse_args(argv)

    estimator, score = build.load(args.model), args.settings.pop("score", "auto")
    dim, entries = read_index(args.index)
    test = splits.read_splits(args.splits, ["competition"])["competition"]["test"]
    with Progress(len(test), "slides", f"tile scores of {args.method}") as bar:
        for slide in test:
            entry = entries.get(slide)
            if entry is None:
                raise UserError(f"{args.index}: slide {slide} is not in the index: embed it")
            features, coords = read_entry(args.index, entry, dim)
            xy, grid = read_tiles(Path(args.tiles_dir) / f"{slide}.parquet", coords)
            scores = estimator.instance_scores(features, score)
            table = pa.table({"x": xy[:, 0], "y": xy[:, 1], "score": scores})
            with atomic(Path(args.scores_dir) / f"{slide}.parquet") as scratch:
                pq.write_table(table, scratch)
            detected = localisation.detections(scores, xy, grid, **args.settings)
            detections.write_detections(Path(args.detections_dir) / f"{slide}.csv", *detected)
            bar.update(1)


if __name__ == "__main__":
    run(main)
