"""Do the 95 % intervals hold the truth in 95 % of the draws, and do the tests reject equal methods in 5 %?

Simulated scores with a known AUC (normal; 0.858 is the paper's CHOWDER) and simulated lesions with a known FROC score,
which the library's own intervals and tests are held against. ``--candidates`` repeats the comparison of methods in
docs/decisions/intervals.md. Every draw has its own seed: a table is the same on every machine.
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

from chowder.evaluation import comparisons, froc, resampling, roc  # noqa: E402

Z = 1.959963984540054
CAMELYON, SMALL = (49, 80), (15, 20)


def binormal(rng: np.random.Generator, truth: float, positives: int, negatives: int):
    labels = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
    return labels, rng.normal(size=len(labels)) + labels * math.sqrt(2) * stats.norm.ppf(truth)


def auc_row(truth: float, sizes: tuple[int, int], draws: int, resamples: int) -> list[float]:
    """Share of draws whose interval holds the truth: as reported, DeLong's on the logit scale, plain percentiles."""
    held = np.zeros(3)
    for draw in range(draws):
        labels, scores = binormal(np.random.default_rng(draw), truth, *sizes)
        sample = roc.bootstrap_auc(labels, scores, resamples, draw)
        limits = [(sample.low, sample.high), roc.delong_interval(labels, scores)]
        limits.append(tuple(np.quantile(sample.values, [0.025, 0.975])))
        held += [low <= truth <= high for low, high in limits]
    return (held / draws).tolist()


def counts(rng: np.random.Generator, slides: int, kind: str) -> np.ndarray:
    """Lesions per slide; two in five slides have some."""
    number = round(slides * 0.4)
    few = rng.integers(1, 5, number) if kind != "skewed" else np.minimum(rng.geometric(1 / 4.7, number), 40)
    return np.r_[few, np.zeros(slides - number, int)]


def found(rng: np.random.Generator, lesions: np.ndarray, truth: float, kind: str) -> np.ndarray:
    """How many lesions of each slide are found (correlation inside a slide 0.3, but for ``independent``)."""
    chance = np.full(len(lesions), truth)
    if kind != "independent" and 0 < truth < 1:
        chance = rng.beta(truth * 7 / 3, (1 - truth) * 7 / 3, len(lesions))
    return rng.binomial(lesions, chance)


def as_hits(rng: np.random.Generator, lesions: np.ndarray, hit: np.ndarray) -> list[froc.SlideHits]:
    """Lesions that are found lie above all false positives, so that the FROC score is the share found."""
    made = []
    for index, (number, good) in enumerate(zip(lesions, hit, strict=True)):
        best = np.r_[rng.uniform(0.5, 1, good), np.full(number - good, -np.inf)]
        made.append(froc.SlideHits(f"s{index}", rng.uniform(0, 0.5, 5), np.arange(1, number + 1), best))
    return made


def froc_row(truth: float, slides: int, kind: str, draws: int, resamples: int) -> list[float]:
    """Coverage, share of draws above and below the interval, mean width, draws of width 0."""
    low, high = np.empty(draws), np.empty(draws)
    for draw in range(draws):
        rng = np.random.default_rng((draw, slides, round(truth * 100)))
        lesions = counts(rng, slides, kind)
        hits = as_hits(rng, lesions, found(rng, lesions, truth, kind))
        low[draw], high[draw] = resampling.bootstrap_froc(hits, resamples, draw, mode="corrected").interval
    inside = (low <= truth) & (truth <= high)
    return [inside.mean(), (truth < low).mean(), (truth > high).mean(), (high - low).mean(), (high <= low).sum()]


def mixed_hits(rng: np.random.Generator, slides: int, shift: float) -> list[froc.SlideHits]:
    """Lesions N(shift, 1), correlated 0.3 inside a slide, among 20 false positives N(0, 1) per slide."""
    made = []
    for index, number in enumerate(counts(rng, slides, "few")):
        best = shift + math.sqrt(0.3) * rng.normal() + math.sqrt(0.7) * rng.normal(size=number)
        made.append(froc.SlideHits(f"s{index}", rng.normal(size=20), np.arange(1, number + 1), best))
    return made


def mixed_row(shift: float, slides: int, draws: int, resamples: int) -> list[float]:
    """True score, and the coverage of the score and of the sensitivities at 1/4, 1 and 8."""
    cut = stats.norm.isf(np.array(froc.RATES) / 20)
    truth = stats.norm.sf(cut - shift)
    held = np.zeros(4)
    for draw in range(draws):
        sample = resampling.bootstrap_froc(
            mixed_hits(np.random.default_rng((draw, slides)), slides, shift), resamples, draw, mode="corrected"
        )
        limits = [sample.interval, *(sample.sens_interval[rate] for rate in (0.25, 1.0, 8.0))]
        held += [low <= t <= high for (low, high), t in zip(limits, (truth.mean(), *truth[[0, 2, 5]]), strict=True)]
    return [truth.mean(), *(held / draws)]


def pair(rng: np.random.Generator, slides: int, chances: tuple[float, float], kind: str) -> list[list[froc.SlideHits]]:
    """Two methods on the same lesions: what is hard for one is hard for the other (correlation 0.5)."""
    lesions = counts(rng, slides, kind)
    inside = 0.0 if kind == "independent" else 0.3
    of = np.repeat(np.arange(slides), lesions)
    shared = math.sqrt(inside) * rng.normal(size=slides)[of] + math.sqrt(0.5 - inside) * rng.normal(size=len(of))
    sides = []
    for chance in chances:
        hit = shared + math.sqrt(0.5) * rng.normal(size=len(of)) < stats.norm.ppf(chance)
        sides.append(as_hits(rng, lesions, np.bincount(of, hit, slides).astype(int)))
    return sides


def paired_row(slides: int, chances: tuple[float, float], kind: str, draws: int, resamples: int) -> list[float]:
    """Share of draws with p < 0.05, coverage of the true difference, draws where interval and p disagree."""
    rejected = held = apart = 0
    for draw in range(draws):
        rng = np.random.default_rng((draw, slides, *(round(chance * 100) for chance in chances)))
        result = resampling.paired_bootstrap(*pair(rng, slides, chances, kind), resamples, draw, mode="corrected")
        rejected += result.p < 0.05
        held += result.low <= chances[0] - chances[1] <= result.high
        apart += (result.p < 1 - 0.95) != (result.low > 0 or result.high < 0)
    return [rejected / draws, held / draws, apart]


def delong_row(truths: tuple[float, float], sizes: tuple[int, int], folds: int, draws: int) -> list[float]:
    """The same for two AUCs of correlated scores (0.5), the mean over ``folds``."""
    rejected = held = 0
    for draw in range(draws):
        rng = np.random.default_rng((draw, *sizes, folds))
        parts = []
        for _ in range(folds):
            labels = np.r_[np.ones(sizes[0] // folds, int), np.zeros(sizes[1] // folds, int)]
            shared, shifts = rng.normal(size=len(labels)), math.sqrt(2) * stats.norm.ppf(truths)
            scores = [labels * shift + (shared + rng.normal(size=len(labels))) / math.sqrt(2) for shift in shifts]
            parts.append((labels, *scores))
        result = roc.delong_folds(parts)
        rejected += result.p < 0.05
        held += result.low <= truths[0] - truths[1] <= result.high
    return [rejected / draws, held / draws]


def family_row(methods: int, draws: int) -> list[float]:
    """Share of draws in which one of several equal methods is told apart from the best, by p and by Holm's p."""
    told = np.zeros(2)
    for draw in range(draws):
        rng = np.random.default_rng((draw, methods))
        labels, base = binormal(rng, 0.858, *CAMELYON)
        noise = rng.normal(size=(methods, len(labels)))
        scores = base + noise
        values = [roc.auc(labels, row) for row in scores]
        best = int(np.argmax(values))
        p = [roc.delong_test(labels, scores[i], scores[best]).p for i in range(methods) if i != best]
        told += [min(p) < 0.05, min(comparisons.holm(p)) < 0.05]
    return (told / draws).tolist()


def candidates(lesions: np.ndarray, hit: np.ndarray, resamples: int, rng: np.random.Generator) -> dict:
    """Limits of the share of lesions found, by every method that was tried (docs/decisions/intervals.md)."""
    units, total = int((lesions > 0).sum()), int(lesions.sum())
    share, size = hit.sum() / total, total / units
    weights = rng.multinomial(len(lesions), np.full(len(lesions), 1 / len(lesions)), size=resamples)
    some = weights @ lesions > 0
    values = (weights @ hit)[some] / (weights @ lesions)[some]
    tail = roc.expanded_tail(0.95, units)
    limits = {"percentile": np.quantile(values, [0.025, 0.975]), "expanded": np.quantile(values, [tail, 1 - tail])}
    spread = values.var() * units / (units - 1)
    known = 0 < share < 1 and spread > 0
    number = min(share * (1 - share) / spread, total) if known else units
    number *= (Z / stats.t.ppf(0.975, units - 1)) ** 2
    centre = (share + Z**2 / (2 * number)) / (1 + Z**2 / number)
    half = Z / (1 + Z**2 / number) * math.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2))
    limits["Wilson, effective number"] = roc.holding(share, centre - half, centre + half)
    good, bad = share * number, (1 - share) * number
    exact = stats.beta.ppf(0.025, good, bad + 1), stats.beta.ppf(0.975, good + 1, bad)
    limits["exact, effective number"] = roc.holding(share, *np.nan_to_num(exact, nan=share))
    drawn, two = rng.standard_exponential((resamples, len(lesions))), rng.standard_gamma(0.5, (resamples, 2))
    for name, each in (("Bayesian, imagined slides", size), ("Bayesian, imagined lesions", 1.0)):
        values = (drawn @ hit + two[:, 0] * each) / (drawn @ lesions + two.sum(axis=1) * each)
        limits[name] = roc.holding(share, *np.quantile(values, [0.025, 0.975]))
        if name.endswith("slides"):
            wide = stats.norm.cdf(stats.t.ppf(0.025, units - 1) * math.sqrt((units + 1) / (units - 1)))
            limits[f"{name}, expanded"] = roc.holding(share, *np.quantile(values, [wide, 1 - wide]))
    return limits


def candidate_tables(draws: int, resamples: int) -> None:
    names: list[str] = []
    for slides in (129, 40, 16):
        for kind in ("independent", "correlated", "skewed"):
            for truth in (0.31, 0.6, 0.82, 0.95, 1.0):
                every = []
                for draw in range(draws):
                    rng = np.random.default_rng((draw, slides, round(truth * 100), len(kind)))
                    lesions = counts(rng, slides, kind)
                    limits = candidates(lesions, found(rng, lesions, truth, kind), resamples, rng)
                    every.append([(low <= truth <= high, high - low) for low, high in limits.values()])
                if not names:
                    names = list(limits)
                    print(f"| slides | lesions | truth | {' | '.join(names)} |\n|{'---|' * (3 + len(names))}")
                mean = np.mean(every, axis=0)
                cells = " | ".join(f"{held:.3f} ({width:.2f})" for held, width in mean)
                print(f"| {slides} | {kind} | {truth} | {cells} |", flush=True)


def show(head: str, *rows: tuple[str, list[float]]) -> None:
    print(f"\n{head}\n|{'---|' * (head.count('|') - 1)}")
    for name, values in rows:
        print(
            f"| {name} | {' | '.join(f'{value:.3f}' if isinstance(value, float) else str(value) for value in values)} |"
        )
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="simulated cohorts per row")
    parser.add_argument("--resamples", type=int, default=1000, help="draws of each interval")
    parser.add_argument("--candidates", action="store_true", help="compare the methods that were tried, too")
    args = parser.parse_args(argv)
    started, size = time.perf_counter(), (args.draws, args.resamples)
    print(f"{platform.machine()}, {args.draws} draws, {args.resamples} resamples, nominal 0.95")
    show(
        "| true AUC | positives / negatives | reported | DeLong, logit | plain percentiles |",
        *(
            (f"{truth} | {n[0]} / {n[1]}", auc_row(truth, n, *size))
            for truth, n in [(t, CAMELYON) for t in (0.7, 0.858, 0.95, 0.97, 0.99)]
            + [(t, SMALL) for t in (0.858, 0.97)]
        ),
    )
    show(
        "| true FROC | slides | lesions of a slide | coverage | truth below | truth above | width | width 0 |",
        *(
            (f"{truth} | {slides} | {kind}", froc_row(truth, slides, kind, *size))
            for slides in (129, 16)
            for kind in ("independent", "skewed")
            for truth in (0.31, 0.82, 0.95, 1.0)
        ),
    )
    show(
        "| slides, mixed scores | true FROC | score | sensitivity at 1/4 | at 1 | at 8 |",
        *((f"{slides}", mixed_row(shift, slides, *size)) for slides, shift in ((129, 2.0), (129, 3.5), (40, 2.0))),
    )
    show(
        "| FROC of two methods | slides | lesions of a slide | p < 0.05 | coverage | p and interval disagree |",
        *(
            (f"{a} and {b} | {slides} | {kind}", paired_row(slides, (a, b), kind, *size))
            for slides, kind in ((129, "independent"), (129, "skewed"), (16, "skewed"))
            for a, b in ((0.6, 0.6), (0.95, 0.95), (0.8, 0.6))
        ),
    )
    show(
        "| AUC of two methods | positives / negatives | folds | p < 0.05 | coverage |",
        *(
            (f"{a} and {b} | {n[0]} / {n[1]} | {folds}", delong_row((a, b), n, folds, args.draws))
            for n, folds in ((CAMELYON, 1), (SMALL, 1), ((159, 240), 3), ((24, 24), 3))
            for a, b in ((0.858, 0.858), (0.97, 0.97), (0.9, 0.8))
        ),
    )
    show(
        "| equal methods | any p against the best < 0.05 | any Holm p < 0.05 |",
        *((f"{methods}", family_row(methods, args.draws)) for methods in (2, 6, 11)),
    )
    if args.candidates:
        print()
        candidate_tables(*size)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
