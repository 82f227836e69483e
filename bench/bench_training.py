"""Table 1 of the paper on made-up features of the real size: how long, and against training one network at a time.

    python bench/bench_training.py                  the real size: 399 slides x 5,000 tiles x 2,048 float16 (8.2 GB)
    python bench/bench_training.py --scale 0.02     a fiftieth of the tiles, for a quick look

Trains MeanPool, MaxPool, WELDON R = 1, 10, 100, 300 and CHOWDER R = 1, 5, 10, 100, 300 on the competition split and
three folds, E = 10 members, 30 epochs, batch 10, as in the paper. The ensembles of a split share each reading of the
features (--separate trains them one after another). Beside it stands the plain loop of tests/unit/reference_models.py:
one network, slide after slide, autograd through the whole bag; a few of its steps are timed. No result of a training
here means anything: the features are noise.
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
from reference_models import PlainNetwork, train_plain  # noqa: E402

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


def plain_step_seconds(bags: Bags, steps: int) -> float:
    """Seconds of one step (10 slides) of the plain loop, one CHOWDER R = 5 network."""
    model = Chowder(r=5, members=1).make(bags.dim)
    model.initialise((0,))
    network = PlainNetwork(model, 0)
    arrays = [bags[i] for i in range(10)]  # float16, converted slide by slide: float32 would take 16 GB
    labels = np.arange(10) % 2
    orders = [np.arange(10)]
    arguments = {"batch": 10, "learning_rate": 0.001, "l2": 0.5}
    train_plain(network, arrays, labels, orders, **arguments)
    started = time.perf_counter()
    train_plain(network, arrays, labels, orders * steps, **arguments)
    return (time.perf_counter() - started) / steps


def ensemble_step_seconds(bags: Bags, members: int, steps: int) -> float:
    """Seconds of one step (10 slides) of the batched trainer, alone, CHOWDER R = 5."""
    ten = bags.subset(bags.names[:10])
    Chowder(r=5, members=members, epochs=1).fit(ten, np.arange(10) % 2)
    model = Chowder(r=5, members=members, epochs=steps)
    started = time.perf_counter()
    model.fit(ten, np.arange(10) % 2)
    return (time.perf_counter() - started) / (steps + 1)  # the calibration reads everything once more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the tiles a slide (5,000)")
    parser.add_argument("--slides", type=int, default=399)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    parser.add_argument("--separate", action="store_true", help="no sharing of readings between methods")
    parser.add_argument("--ratios-only", action="store_true", help="only the comparison with the plain loop")
    parser.add_argument("--output", help="also write the figures as JSON")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    tiles = max(10, round(5000 * args.scale))
    started = time.perf_counter()
    bags, rows = made_up(args.slides, tiles, args.dim)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    size = bags.features.nbytes / 1e9
    print(f"{platform.machine()}, {device}; {args.slides} slides x {tiles} tiles x {args.dim} float16 = {size:.2f} GB "
          f"made in {time.perf_counter() - started:.0f} s")  # fmt: skip

    steps = max(3, min(50, round(0.3 / args.scale)))
    plain = plain_step_seconds(bags, steps)
    result: dict[str, object] = {"device": device, "tiles": tiles, "plain_ms": plain * 1e3}
    print("\none step of 10 slides, CHOWDER R=5      ms a step   ms a member   faster a member")
    print(f"plain loop, one network                {plain * 1e3:10.1f} {plain * 1e3:13.2f} {1:16.1f}x")
    for members in (1, 10, 50):
        seconds = ensemble_step_seconds(bags, members, steps)
        each = seconds / members
        figures = f"{seconds * 1e3:10.1f} {each * 1e3:13.2f} {plain / each:16.1f}x"
        print(f"batched trainer, E = {members:<3}               {figures}")
        result[f"ratio_{members}"] = plain / each
    if not args.ratios_only:
        result |= table_one(bags, rows, args)
        plain_total = plain * result["steps"] * args.members * len(ENSEMBLES)
        print(f"the plain loop would take about {plain_total / 60:.1f} min for the nine ensembles (R = 5 for all)")
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
            for name, estimator in zip(group, fitted, strict=True):
                before = time.perf_counter()
                estimator.predict(test)
                seconds[name] += estimator.seconds_ + time.perf_counter() - before
    total = time.perf_counter() - started
    print(f"\nTable 1, {len(splits)} splits, E = {args.members}, {args.epochs} epochs      s")
    for name, value in seconds.items():
        print(f"{names.label(name):<40} {value:9.1f}")
    print(f"{'all (wall clock)':<40} {total:9.1f}  = {total / 60:.1f} min")
    return {"seconds": seconds, "total_seconds": total, "steps": steps}


if __name__ == "__main__":
    main()
