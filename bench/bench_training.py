"""Table 1 of the paper on made-up features of the real size: how long, and against training one network at a time.

    python bench/bench_training.py                  the real size: 399 slides x 5,000 tiles x 2,048 float16 (8.2 GB)
    python bench/bench_training.py --scale 0.02     a fiftieth of the tiles, for a quick look
    python bench/bench_training.py --ratios-only    only the comparison with the plain loops (5 GB of memory)

Trains MeanPool, MaxPool, WELDON R = 1, 10, 100, 300 and CHOWDER R = 1, 5, 10, 100, 300 on the competition split and
three folds, E = 10 members, 30 epochs, batch 10, as in the paper. The ensembles of a split share each reading of the
features (--separate trains them one after another). No result of a training here means anything: the features are
noise.

The comparison is with two plain loops that train one CHOWDER R = 5 network, both in tests/unit/reference_models.py: a
fast one (float32 tensors in memory, torch.topk, torch.optim.Adam, all threads), and the readable reference, which
converts float16 and sorts all tiles at every step. They and the ensembles run on the same 100 slides x 2,000 tiles x
2,048, one after another in every round; the figure is the median of the rounds' ratios. An epoch's time is the
difference between a long and a short fit. "Whole fit" divides the long one by its epochs, so it includes the start and
the calibration.
"""

from __future__ import annotations

import argparse
import json
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
    seconds = []
    for number in (2, epochs):
        bags.shared.clear()
        started = time.perf_counter()
        Chowder(r=5, members=members, epochs=number).fit(bags, np.arange(len(bags)) % 2)
        seconds.append(time.perf_counter() - started)
    return (seconds[1] - seconds[0]) / (epochs - 2), seconds[1] / epochs


def compare(rounds: int, epochs: int, slides: int = 100, tiles: int = 2000, dim: int = 2048) -> dict[str, float]:
    """Print how much faster a member is trained than by the plain loops, and return the medians of the ratios."""
    bags, _ = made_up(slides, tiles, dim)
    tensors = [torch.from_numpy(bags[i]).float() for i in range(slides)]
    fast_epoch(tensors, 1)
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        fast, reference = fast_epoch(tensors, 2), reference_epoch(bags, 20)
        row = {"fast": fast, "reference": reference}
        for members in (1, 10, 50):
            epoch, whole = ensemble_epoch(bags, members, epochs)
            row |= {f"epoch_{members}": epoch, f"ratio_{members}": fast / epoch * members}
            row |= {f"ratio_whole_{members}": fast / whole * members}
            row |= {f"ratio_reference_{members}": reference / epoch * members}
        for key, value in row.items():
            found.setdefault(key, []).append(value)
    median = {key: float(np.median(values)) for key, values in found.items()}
    print(f"\nCHOWDER R=5, {slides} slides x {tiles} tiles x {dim}: median of {rounds} rounds, {epochs} epochs a fit")
    print(f"{'':28}s an epoch   faster a member than   whole fit   than the")
    print(f"{'':28}             the fast plain loop    as well     reference")
    print(f"{'fast plain loop':28}{median['fast']:10.3f}")
    print(f"{'reference loop':28}{median['reference']:10.3f}")
    for members in (1, 10, 50):
        ratios = [median[f"{key}_{members}"] for key in ("ratio", "ratio_whole", "ratio_reference")]
        figures = f"{ratios[0]:22.1f}x {ratios[1]:10.1f}x {ratios[2]:10.1f}x"
        print(f"{f'batched trainer, E = {members}':28}{median[f'epoch_{members}']:10.3f} {figures}")
    return median


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
        result |= {"tiles": tiles} | table_one(bags, rows, args)
    result["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory {result['peak_gb']:.1f} GB")
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


if __name__ == "__main__":
    main()
