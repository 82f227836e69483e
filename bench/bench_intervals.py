"""Do the 95 % intervals hold the truth in 95 % of the draws? Simulated scores with a known AUC, or a known FROC score.

AUC: normal scores of positives and negatives, 0.858 being the paper's CHOWDER. FROC: each lesion is found with a known
chance, above all false positives, so that the true score is that chance.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from scipy import stats  # noqa: E402

from chowder import froc, metrics, resampling  # noqa: E402


def auc_row(truth: float, positives: int, negatives: int, draws: int, resamples: int) -> list[float]:
    """Share of draws whose interval holds the truth: DeLong on the logit scale, bootstrap, plain percentiles."""
    held = np.zeros(3)
    labels = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
    shift = math.sqrt(2) * stats.norm.ppf(truth)
    for draw in range(draws):
        scores = np.random.default_rng(draw).normal(size=len(labels)) + labels * shift
        sample = metrics.bootstrap_auc(labels, scores, resamples, draw)
        limits = [
            metrics.delong_interval(labels, scores),
            (sample.low, sample.high),
            tuple(np.quantile(sample.values, [0.025, 0.975])),
        ]
        held += [low <= truth <= high for low, high in limits]
    return (held / draws).tolist()


def froc_row(truth: float, slides: int, draws: int, resamples: int) -> list[float]:
    """Share of draws whose FROC interval holds the truth: as given, and with plain percentiles."""
    held = np.zeros(2)
    for draw in range(draws):
        rng = np.random.default_rng(5000 + draw)
        hits = []
        for index in range(slides):
            # two of five slides have lesions, as in the test set; lesions of a slide come one to four
            found = rng.random(int(rng.integers(1, 5)) if index % 5 < 2 else 0) < truth
            best = np.where(found, rng.uniform(0.5, 1, len(found)), -np.inf)
            names = np.arange(1, len(best) + 1)
            hits.append(froc.SlideHits(f"s{index}", rng.uniform(0, 0.5, 20), names, best))
        sample = resampling.bootstrap_froc(hits, resamples, draw, mode="corrected")
        limits = [sample.interval, tuple(np.nanquantile(sample.scores, [0.025, 0.975]))]
        held += [low <= truth <= high for low, high in limits]
    return (held / draws).tolist()


def _cells(values: list[float]) -> str:
    return " | ".join(f"{value:.3f}" for value in values)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    args = parser.parse_args(argv)
    started = time.perf_counter()
    print(
        f"{platform.processor() or platform.machine()}, {args.draws} draws, {args.resamples} resamples, nominal 0.95\n"
    )
    print("| true AUC | positives / negatives | DeLong, logit | bootstrap, expanded | bootstrap, plain |")
    print("|---|---|---|---|---|")
    for truth, positives, negatives in ((0.858, 49, 80), (0.7, 49, 80), (0.95, 49, 80), (0.858, 15, 20)):
        values = auc_row(truth, positives, negatives, args.draws, args.resamples)
        print(
            f"| {truth} | {positives} / {negatives} | " + " | ".join(f"{value:.3f}" for value in values) + " |",
            flush=True,
        )
    print("\n| true FROC score | slides | bootstrap, expanded | bootstrap, plain |\n|---|---|---|---|")
    for truth, slides in ((0.31, 129), (0.6, 129), (0.6, 40)):
        values = froc_row(truth, slides, args.draws, args.resamples)
        print(f"| {truth} | {slides} | {_cells(values)} |", flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
