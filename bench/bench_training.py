"""Table 1 of the paper on made-up features of the real size: how long, and against training one network at a time.

    python bench/bench_training.py                  the real size: 399 slides x 5,000 tiles x 2,048 float16 (8.2 GB)
    python bench/bench_training.py --scale 0.02     a fiftieth of the tiles, for a quick look
    python bench/bench_training.py --ratios-only    only the comparison with the plain loops (5 GB of memory)
    python bench/bench_training.py --extrapolate    few epochs of one split; the rest by arithmetic

Trains MeanPool, MaxPool, WELDON R = 1, 10, 100, 300 and CHOWDER R = 1, 5, 10, 100, 300 on the competition split and
three folds, E = 10 members, 30 epochs, batch 10, as in the paper. The ensembles of a split share each reading of the
features (--separate trains them one after another). No result of a training here means anything: the features are
noise.

The comparison is with two plain loops that train one CHOWDER R = 5 network, both in tests/unit/reference_models.py: a
fast one (float32 tensors in memory, torch.topk, torch.optim.Adam, all threads), and the readable reference, which
converts float16 and sorts all tiles at every step. They and the ensembles run on the same 100 slides x 2,000 tiles x
2,048, one after another in every round. Shown are the least times, which other work on the machine disturbs least,
their ratio, and the median of the rounds' ratios. An epoch's time is the difference between a fit of 30 epochs and one
of 12. "Whole fit" divides the long one by its epochs, so it includes the start and the calibration. The bound is the
time of the products alone (members x tiles x dimensions) at the rate that a large product of square matrices reaches.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "workflow" / "scripts"), str(REPOSITORY / "tests" / "unit")]

import torch  # noqa: E402
from reference_models import PlainNetwork, glorot, train_fast_plain, train_plain  # noqa: E402

from chowder import seeds  # noqa: E402
from chowder.features.bags import Bags  # noqa: E402
from chowder.models import build, names  # noqa: E402
from chowder.models import splits as protocols  # noqa: E402
from chowder.models.estimators import Chowder  # noqa: E402

BASELINES = ["meanpool", "maxpool"]
ENSEMBLES = [f"weldon_r{r}" for r in (1, 10, 100, 300)] + [f"chowder_r{r}" for r in (1, 5, 10, 100, 300)]


def made_up(slides: int, tiles: int, dim: int) -> tuple[Bags, list[dict[str, str]]]:
    """Non-negative features as after a ReLU and an average pool, one block of noise shifted from slide to slide."""
    block = (seeds.generator("bench").standard_exponential((tiles, dim), dtype=np.float32) * 0.4).astype(np.float16)
    features = np.empty((slides * tiles, dim), np.float16)
    for i in range(slides):
        shift = (i * 7919) % tiles
        features[i * tiles : (i + 1) * tiles] = np.roll(np.roll(block, shift, axis=0), i * 31 % dim, axis=1)
    counts = np.full(slides, tiles)
    names = [f"s{i:03d}" for i in range(slides)]
    train = round(slides * 270 / 399)
    order = seeds.generator("bench", "split").permutation(slides)
    side = np.where(np.isin(np.arange(slides), order[:train]), "train", "test")
    rows = [{"slide": name, "label": str(i % 5 // 3), "split": str(side[i])} for i, name in enumerate(names)]
    return Bags(names, features, np.arange(slides) * tiles, counts), rows


def reference_epoch(bags: Bags, slides: int) -> float:
    """Seconds of one epoch of the reference loop, from its first ``slides`` slides."""
    model = Chowder(r=5, members=1).make(bags.dim)
    model.initialise((0,))
    network = PlainNetwork(model, 0)
    arrays = [bags[i] for i in range(slides)]
    labels = np.arange(slides) % 2
    started = time.perf_counter()
    train_plain(network, arrays, labels, [np.arange(slides)], batch=10, learning_rate=0.001, l2=0.5)
    return (time.perf_counter() - started) * len(bags) / slides


def fast_epoch(slides: list[torch.Tensor], epochs: int) -> float:
    """Seconds of one epoch of the fast plain loop."""
    labels = torch.arange(len(slides)) % 2
    orders = [seeds.generator("bench", epoch).permutation(len(slides)) for epoch in range(epochs)]
    network = glorot(slides[0].shape[1], 5)
    started = time.perf_counter()
    train_fast_plain(network, slides, labels.float(), orders, r=5)
    return (time.perf_counter() - started) / epochs


def ensemble_epoch(bags: Bags, members: int, epochs: int) -> tuple[float, float]:
    """Seconds of one epoch of the batched trainer, and of a whole fit divided by its ``epochs``; CHOWDER R = 5."""
    seconds, short = [], epochs * 2 // 5
    for number in (short, epochs):
        bags.shared.clear()
        started = time.perf_counter()
        Chowder(r=5, members=members, epochs=number).fit(bags, np.arange(len(bags)) % 2)
        seconds.append(time.perf_counter() - started)
    return (seconds[1] - seconds[0]) / (epochs - short), seconds[1] / epochs


def product_rate() -> float:
    """Floating-point operations per second of a product of square float32 matrices, all threads, the best of 5."""
    x = torch.ones(2048, 2048)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        x @ x
        seconds.append(time.perf_counter() - started)
    return 2 * 2048**3 / min(seconds)


def compare(rounds: int, epochs: int, slides: int = 100, tiles: int = 2000, dim: int = 2048) -> dict[str, float]:
    """Print how much faster a member is trained than by the plain loops, and return the figures."""
    bags, _ = made_up(slides, tiles, dim)
    tensors = [torch.from_numpy(bags[i]).float() for i in range(slides)]
    fast_epoch(tensors, 1)
    times: dict[str, list[float]] = {}
    sizes = (1, 10, 50)
    for _ in range(rounds):
        row = {"rate": product_rate(), "fast": fast_epoch(tensors, 2), "reference": reference_epoch(bags, 20)}
        for members in sizes:
            row[f"epoch {members}"], row[f"whole {members}"] = ensemble_epoch(bags, members, epochs)
        for key, value in row.items():
            times.setdefault(key, []).append(value)
    rate = max(times.pop("rate"))
    least = {key: min(values) for key, values in times.items()}
    print(f"\nCHOWDER R=5, {slides} slides x {tiles} tiles x {dim}: {rounds} rounds, {epochs} epochs per fit; load now "
          f"{os.getloadavg()[0]:.1f}; products at {rate / 1e9:.0f} GFLOP/s\n")  # fmt: skip
    print("| | s per epoch | per member faster than the fast plain loop: least times | median of rounds | whole fit | "
          "than the reference | bound, s | share of the bound |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    print(f"| fast plain loop, one network | {least['fast']:.3f} | 1 | | | | | |")
    print(f"| reference loop, one network | {least['reference']:.3f} | | | | 1 | | |")
    result = {"rate": rate} | least
    for members in sizes:
        epoch, bound = least[f"epoch {members}"], 2 * slides * tiles * dim * members / rate
        rounds_ratio = np.divide(times["fast"], times[f"epoch {members}"]) * members
        figures = {
            "least": members * least["fast"] / epoch,
            "median": float(np.median(rounds_ratio)),
            "whole": members * least["fast"] / least[f"whole {members}"],
            "reference": members * least["reference"] / epoch,
        }
        result |= {f"ratio {members} {key}": value for key, value in figures.items()}
        cells = " | ".join(f"{value:.1f}" for value in figures.values())
        print(f"| batched trainer, E = {members} | {epoch:.3f} | {cells} | {bound:.3f} | {bound / epoch:.0%} |")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the tiles a slide (5,000)")
    parser.add_argument("--slides", type=int, default=399)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    parser.add_argument("--separate", action="store_true", help="no sharing of readings between methods")
    parser.add_argument("--ratios-only", action="store_true", help="only the comparison with the plain loops")
    parser.add_argument("--extrapolate", action="store_true", help="Table 1 from few epochs of one split")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison")
    parser.add_argument("--ratio-epochs", type=int, default=30, help="epochs of a fit in the comparison")
    parser.add_argument("--output", help="also write the figures as JSON")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{platform.machine()}, {device}", flush=True)
    result: dict[str, object] = {"device": device} | compare(args.rounds, args.ratio_epochs)
    if not args.ratios_only:
        tiles = max(10, round(5000 * args.scale))
        started = time.perf_counter()
        bags, rows = made_up(args.slides, tiles, args.dim)
        size = f"{args.slides} slides x {tiles} tiles x {args.dim} float16 = {bags.features.nbytes / 1e9:.2f} GB"
        print(f"\n{size}, made in {time.perf_counter() - started:.0f} s", flush=True)
        result |= {"tiles": tiles} | (extrapolated if args.extrapolate else table_one)(bags, rows, args)
    result["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\npeak memory {result['peak_gb']:.1f} GB")
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=1) + "\n")


def table_one(bags: Bags, rows: list[dict[str, str]], args: argparse.Namespace) -> dict[str, object]:
    """Train all of Table 1, print the seconds by method, and return them."""
    labels = protocols.labels_of(rows)
    splits = protocols.splits(rows, folds=3)
    settings = {"training": {"members": args.members, "epochs": args.epochs}}
    seconds = dict.fromkeys(BASELINES + ENSEMBLES, 0.0)
    steps = 0
    started = time.perf_counter()
    for split, sides in splits.items():
        train, test = bags.subset(sides["train"]), bags.subset(sides["test"])
        y = [labels[slide] for slide in train.names]
        steps += args.epochs * -(-len(y) // 10)
        groups = [[name] for name in BASELINES + ENSEMBLES] if args.separate else [BASELINES + ENSEMBLES]
        for group in groups:
            fitted = build.fit([names.parse(name) for name in group], train, y, settings, ("bench", split))
            before = time.perf_counter()
            build.predict_together(fitted, test)
            each = (time.perf_counter() - before) / len(group)
            for name, estimator in zip(group, fitted, strict=True):
                seconds[name] += estimator.seconds_ + each
    total = time.perf_counter() - started
    print(f"\nTable 1, {len(splits)} splits, E = {args.members}, {args.epochs} epochs      s")
    for name, value in seconds.items():
        print(f"{names.label(name):<40} {value:9.1f}")
    print(f"{'all (wall clock)':<40} {total:9.1f}  = {total / 60:.1f} min")
    return {"seconds": seconds, "total_seconds": total, "steps": steps}


def extrapolated(bags: Bags, rows: list[dict[str, str]], args: argparse.Namespace) -> dict[str, object]:
    """Print what Table 1 of 399 slides would take, from one and three epochs of the competition split of these."""
    labels = protocols.labels_of(rows)
    splits = protocols.splits(rows, folds=3)
    sides = splits["competition"]
    train, test = bags.subset(sides["train"]), bags.subset(sides["test"])
    y = [labels[slide] for slide in train.names]
    seconds = []
    for epochs in (1, 3):
        settings = {"training": {"members": args.members, "epochs": epochs}}
        group = [names.parse(name) for name in ENSEMBLES]
        started = time.perf_counter()
        fitted = build.fit(group, train, y, settings, ("bench", "competition"))
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        build.predict_together(fitted, test)
        predict = time.perf_counter() - started
    started = time.perf_counter()
    for pool in ("mean", "max"):
        bags.pooled(pool)
    pooled = time.perf_counter() - started
    started = time.perf_counter()
    build.fit([names.parse(name) for name in BASELINES], train, y, {}, ("bench", "competition"))
    regression = time.perf_counter() - started
    epoch = (seconds[1] - seconds[0]) / 2
    rest = seconds[0] - epoch
    whole = 399 / len(bags)
    factor = whole * sum(len(one["train"]) for one in splits.values()) / len(y)
    parts = {
        f"{args.epochs} epochs of nine ensembles, {len(splits)} splits": factor * args.epochs * epoch,
        "start and calibration": factor * rest,
        "predictions": whole * len(splits) * predict,
        "slides pooled (once), logistic regressions": whole * (pooled + len(splits) * regression),
    }
    flops = 2 * len(train.names) * bags.counts.mean() * bags.dim * args.members * len(ENSEMBLES)
    bound = flops / product_rate()
    print(f"\nTable 1, {len(splits)} splits, E = {args.members}: EXTRAPOLATED from epochs of the competition split and "
          f"{len(bags)} of 399 slides\n")  # fmt: skip
    print(f"one epoch of nine ensembles: {epoch:.1f} s; its products alone {bound:.1f} s ({bound / epoch:.0%})\n")
    print("| | s |\n|---|---|")
    for name, value in parts.items():
        print(f"| {name} | {value:.0f} |")
    total = sum(parts.values())
    print(f"| all | {total:.0f} = {total / 60:.1f} min |")
    return {"extrapolated": parts, "epoch": epoch, "bound": bound}


if __name__ == "__main__":
    main()
