"""Do the intervals of the second table hold the truth in 95 % of the draws?

Simulated probabilities (normal scores, moved to 0 to 1) with a known AUPRC, sensitivity at a specificity and Brier
score, from 250,000 slides. Every draw has its own seed: a table is the same on every machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from scipy.stats import norm  # noqa: E402

from chowder.evaluation import operating  # noqa: E402

MEASURES = {
    "AUPRC": operating.average_precision,
    "sensitivity at 90 %": lambda y, s, n: operating.sensitivity_at(y, s, 0.90, n),
    "sensitivity at 95 %": lambda y, s, n: operating.sensitivity_at(y, s, 0.95, n),
    "Brier score": operating.brier,
}


def cohort(seed: int, positives: int, negatives: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
    return labels, norm.cdf(np.random.default_rng(seed).normal(shift * (labels - 0.5), 1))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400, help="cohorts per row, default 400")
    parser.add_argument("--resamples", type=int, default=300, help="of each cohort, default 300")
    args = parser.parse_args(argv)
    started = time.perf_counter()
    print("coverage of the 95 % interval (truth; mean width)\n")
    print("| positives / negatives | shift | " + " | ".join(MEASURES) + " |")
    print("|" + "---|" * (2 + len(MEASURES)))
    for positives, negatives in ((49, 80), (15, 24)):
        for shift in (1.0, 2.0, 3.0):
            large = cohort(0, 100_000, 163_265, shift)
            truth = {name: measure(*large, 1).value for name, measure in MEASURES.items()}
            held, width = dict.fromkeys(MEASURES, 0), dict.fromkeys(MEASURES, 0.0)
            for draw in range(args.draws):
                labels, scores = cohort(draw + 1, positives, negatives, shift)
                for name, measure in MEASURES.items():
                    one = measure(labels, scores, args.resamples)
                    held[name] += one.low <= truth[name] <= one.high
                    width[name] += one.high - one.low
            cells = [
                f"{held[name] / args.draws:.3f} ({truth[name]:.3f}; {width[name] / args.draws:.3f})"
                for name in MEASURES
            ]
            print(f"| {positives} / {negatives} | {shift:g} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{args.draws} draws, {args.resamples} resamples each, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
