"""Train methods on splits: feature index -> models, predictions of the test slides, loss curves.

One process reads the features once for all its splits. With several --method the ensembles of a split also share one
pass over the features at each step (the results are the same up to rounding); outputs are then named METHOD/SPLIT=PATH.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from chowder.data.cohort import read_rows
from chowder.features.bags import Bags
from chowder.files import run, write_text
from chowder.models import build, names
from chowder.models.predictions import log_losses, log_undertrained, write_curve, write_predictions
from chowder.models.splits import labels_of, outputs, read_splits


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", required=True, nargs="+", help="for example chowder_r5")
    parser.add_argument("--index", required=True, help="features/<encoder>/index.json")
    parser.add_argument("--summary", required=True, help="tiles/summary.csv (M_S of every slide)")
    parser.add_argument("--slides", required=True, help="slides table (labels)")
    parser.add_argument("--splits", required=True, help="splits.json")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: training, baselines, sample, dataset")
    parser.add_argument("--models", nargs="+", required=True, metavar="SPLIT=PATH", help="model files to write")
    parser.add_argument("--predictions", nargs="+", required=True, metavar="SPLIT=PATH")
    parser.add_argument("--curves", nargs="+", default=[], metavar="SPLIT=PATH", help="training losses")
    parser.add_argument(
        "--timing", nargs="+", default=[], metavar="PATH", help="seconds, undertrained members ([METHOD=]PATH)"
    )
    parser.add_argument("--device", help="auto, cpu or cuda, for methods trained by gradient descent")
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 leaves torch's own choice")
    args = parser.parse_args(argv)

    wanted = [names.parse(name) for name in args.method]
    models, predictions, curves, timing = (
        outputs(given, args.method) for given in (args.models, args.predictions, args.curves, args.timing)
    )
    labels = labels_of(read_rows(args.slides))
    splits = read_splits(args.splits, [split for _, split in models])
    settings = dict(args.settings)
    if args.device and "training" in settings:
        settings["training"] = settings["training"] | {"device": args.device}
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    sample = settings.get("sample", {})
    dataset = str(settings.get("dataset", ""))
    seconds: dict[str, dict[str, float]] = {method.name: {} for method in wanted}
    undertrained: dict[str, dict[str, list[int]]] = {method.name: {} for method in wanted}
    slides = sorted({slide for sides in splits.values() for side in sides.values() for slide in side})
    for repeat in sorted({method.repeat for method in wanted}):
        started = time.perf_counter()
        bags = Bags.from_index(
            args.index, args.summary, slides, seed=sample.get("seed", 1802), dataset=dataset, repeat=repeat
        )
        size, took = f"{len(bags.features)} tiles x {bags.dim}", time.perf_counter() - started
        print(f"read {len(bags)} slides, {size} in {took:.1f} s", file=sys.stderr)
        for split, sides in splits.items():
            train, test = bags.subset(sides["train"]), bags.subset(sides["test"])
            group = [method for method in wanted if method.repeat == repeat and (method.name, split) in models]
            fitted = build.fit(group, train, [labels[s] for s in train.names], settings, (dataset, split))
            for method, estimator in zip(group, fitted, strict=True):
                key = (method.name, split)
                seconds[method.name][split] = round(estimator.seconds_, 3)
                for line in log_losses(f"{method.name} {split}", estimator.history_):
                    print(line, file=sys.stderr)
                proba, stayed = estimator.predict_proba(test), estimator.undertrained_
                for line in log_undertrained(f"{method.name} {split}", proba.shape[1], stayed):
                    print(line, file=sys.stderr)
                undertrained[method.name][split] = [int(member) + 1 for member in stayed]
                estimator.save(models[key])
                test_labels = [labels[s] for s in test.names]
                write_predictions(predictions[key], test.names, test_labels, proba, estimator.averaged)
                if key in curves:
                    write_curve(curves[key], estimator.history_, stayed)
    for (method, _), path in timing.items():
        total = round(sum(seconds[method].values()), 3)
        content = {"method": method, "train_seconds": total, "splits": seconds[method]}
        content["undertrained"] = undertrained[method]
        write_text(path, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
