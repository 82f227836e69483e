"""Does the competition's test set look like its training set? MeanPool features -> AUC of telling them apart."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from chowder.features.bags import Bags
from chowder.files import run, write_text
from chowder.models import memory, splits


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", required=True, help="features/<encoder>/index.json")
    parser.add_argument("--summary", required=True, help="tiles/summary.csv (M_S of every slide)")
    parser.add_argument("--splits", required=True, help="splits.json with a competition split")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: sample, dataset, split_bias")
    parser.add_argument("--in-memory-gb", type=float, help="features of more are mapped from a file")
    parser.add_argument("--memory-mb", type=float, default=float("inf"), help="likewise where the job needs more")
    parser.add_argument("--output", required=True, help="CSV: split, repeat, auc")
    parser.add_argument("--json", required=True, help="summary of the experiment")
    args = parser.parse_args(argv)

    sides = splits.read_splits(args.splits, ["competition"])["competition"]
    slides = sides["train"] + sides["test"]
    seed = args.settings.get("sample", {}).get("seed", 1802)
    (dim, _), (sampled, tiles) = memory.of_index(args.index), memory.of_summary(args.summary)
    fits = memory.in_memory(memory.split_bias(sampled, tiles, dim), args.memory_mb)
    bags = Bags.from_index(
        args.index,
        args.summary,
        slides,
        seed=seed,
        dataset=str(args.settings.get("dataset", "")),
        in_memory=args.in_memory_gb * 1e9 if args.in_memory_gb else fits,
        scratch=Path(args.output).parent,
    )
    is_test = np.arange(len(slides)) >= len(sides["train"])
    rows = splits.split_bias(bags.pooled("mean"), is_test, **args.settings.get("split_bias", {}))
    lines = ["split,repeat,auc", *(f"{row['split']},{row['repeat']},{row['auc']:.6f}" for row in rows)]
    write_text(args.output, "\n".join(lines) + "\n")
    random = [row["auc"] for row in rows if row["split"] == "random"]
    summary = {
        "train": len(sides["train"]),
        "test": len(sides["test"]),
        "auc_competition": rows[0]["auc"],
        "auc_random_mean": float(np.mean(random)) if random else None,
        "auc_random_sd": float(np.std(random, ddof=1)) if len(random) > 1 else None,
        "random_splits": len(random),
        "paper_auc_competition": 0.75,
        "paper_auc_random": 0.55,
    }
    write_text(args.json, json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
