"""Digit bags: an independent check of all aggregators on scikit-learn's handwritten digits.

    python bench/digit_bags.py            # five seeds, a table for docs/models.md

A bag holds 20 to 40 images of digits (8 x 8 pixels, from load_digits). A positive bag has one to three 9s, a negative
one has none. Training and test bags are drawn from different images. AUC over 100 test bags, and over their
images (is it a 9?) by the lesion score of a tile.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow/scripts"))

from chowder.models import build, names

#: Settings, chosen on training losses alone: raised until the members had left the plateau.
SETTINGS = {
    "training": {"members": 5, "epochs": 150, "learning_rate": 0.003, "l2": 0.001, "hidden": [50, 20], "dropout": 0.2},
    "baselines": {},
    "abmil": {"members": 3, "epochs": 25, "hidden": 64, "attention": 32, "learning_rate": 0.001},
    "clam_sb": {"members": 3, "epochs": 25, "hidden": 64, "attention": 32, "learning_rate": 0.001},
    "dsmil": {"members": 3, "epochs": 60, "attention": 32, "learning_rate": 0.003},
    "transmil": {"members": 1, "epochs": 25, "attention": 32, "heads": 4, "landmarks": 16, "learning_rate": 0.001},
    "dtfd": {"members": 3, "epochs": 25, "hidden": 64, "attention": 32, "learning_rate": 0.001},
}
METHODS = ["meanpool", "maxpool", "weldon_r1", "chowder_r1", "chowder_r3"]
METHODS += ["abmil", "abmil_gated", "clam_sb", "dsmil", "transmil", "dtfd"]


def bags(images: np.ndarray, nine: np.ndarray, count: int, rng: np.random.Generator):
    """``count`` bags, every second one positive: lists of (n, 64) features, labels, and which images are a 9."""
    found, labels, marks = [], [], []
    for number in range(count):
        size, positive = int(rng.integers(20, 41)), number % 2
        wanted = int(rng.integers(1, 4)) if positive else 0
        rows = [*rng.choice(np.flatnonzero(nine), wanted, replace=False)]
        rows += [*rng.choice(np.flatnonzero(~nine), size - wanted, replace=False)]
        rows = rng.permutation(rows)
        found.append(images[rows])
        labels.append(positive)
        marks.append(nine[rows])
    return found, labels, marks


def main() -> None:
    """Print the table."""
    from sklearn.datasets import load_digits
    from sklearn.metrics import roc_auc_score

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    options = parser.parse_args()
    digits = load_digits()
    images, nine = (digits.data / 16).astype(np.float32), digits.target == 9
    lines = [
        "| method | AUC, bags | spread | AUC, images | spread | undertrained | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in options.methods:
        section = names.KINDS[names.parse(name).kind].settings
        kept = {k: v for k, v in SETTINGS[section].items() if k not in names.KINDS[names.parse(name).kind].unused}
        over, inside, stayed, started = [], [], 0, time.perf_counter()
        for seed in range(options.seeds):
            rng = np.random.default_rng(seed)
            half = rng.permutation(len(images))
            train, test = half[: len(half) // 2], half[len(half) // 2 :]
            model = build.build(name, {section: kept}, seed=seed)
            found, labels, _ = bags(images[train], nine[train], 100, rng)
            model.fit(found, labels)
            found, labels, marks = bags(images[test], nine[test], 100, rng)
            over.append(roc_auc_score(labels, model.predict(found)))
            scores = np.concatenate([model.instance_scores(bag) for bag in found])
            inside.append(roc_auc_score(np.concatenate(marks), scores))
            stayed += len(model.undertrained_)
        total = options.seeds * (1 if section == "baselines" else kept["members"])
        cells = [f"{np.mean(over):.3f}", f"{np.std(over):.3f}", f"{np.mean(inside):.3f}", f"{np.std(inside):.3f}"]
        lines.append(
            f"| {names.label(name)} | {' | '.join(cells)} | {stayed} of {total} | {time.perf_counter() - started:.0f} |"
        )
        print(lines[-1], file=sys.stderr, flush=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
