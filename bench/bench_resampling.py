"""Speed of the intervals of AUC and FROC, beside a loop that computes every resample from the start.

129 slides (49 with lesions). The loop resamples slides and calls scikit-learn's roc_auc_score, or this library's FROC,
each time; a part of its resamples is timed and multiplied. The bound is reading the drawn scores once: an index per
slide and resample.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from sklearn.metrics import roc_auc_score  # noqa: E402

from chowder.evaluation import roc  # noqa: E402
from clock import least  # noqa: E402

POSITIVES, NEGATIVES = 49, 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--part", type=int, default=100, help="resamples of the plain loop that are timed")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = np.r_[np.ones(POSITIVES, int), np.zeros(NEGATIVES, int)]
    scores = rng.normal(size=len(labels)) + labels

    def plain() -> None:
        for _ in range(args.part):
            drawn = np.concatenate([rng.choice(np.flatnonzero(labels == c), (labels == c).sum()) for c in (0, 1)])
            roc_auc_score(labels[drawn], scores[drawn])

    index = rng.integers(0, len(labels), (args.resamples, len(labels)))
    here = least(lambda: roc.bootstrap_auc(labels, scores, args.resamples, 0))
    loop = least(plain, 3) * args.resamples / args.part
    bound = least(lambda: scores[index])
    print(f"| AUC of {len(labels)} slides, {args.resamples:,} resamples | ms | times the loop |\n|---|---|---|")
    print(f"| this library | {here * 1e3:.1f} | {loop / here:.0f} |")
    print(f"| loop over roc_auc_score ({args.part} resamples timed) | {loop * 1e3:.0f} | 1 |")
    print(f"| bound: fetching the drawn scores | {bound * 1e3:.1f} | {loop / bound:.0f} |")


if __name__ == "__main__":
    main()
