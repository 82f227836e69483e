"""Train a method on its splits: feature index -> models, predictions of the test slides, loss curves.

Methods named in --together that are not in the store yet are trained with it, because their ensembles share each
reading of the features; the jobs of those methods then take theirs from the store.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from chowder.data.cohort import read_rows
from chowder.features.bags import Bags, read_index, read_sampled
from chowder.files import DiskFull, UserError, run, write_text
from chowder.models import build, memory, names, store
from chowder.models.predictions import log_losses, log_undertrained, write_curve, write_predictions
from chowder.models.splits import labels_of, outputs, read_splits


class Plan:
    """What decides the models of some methods on some splits, and their keys in the store.

    ``methods``: by name ``{"settings": {...}, "code": text}``.
    """

    def __init__(self, args: argparse.Namespace, methods: dict[str, dict[str, Any]], splits: dict[str, Any]) -> None:
        self.args, self.methods, self.splits = args, methods, splits
        self.labels = labels_of(read_rows(args.slides))
        sampled, (_, entries) = read_sampled(args.summary), read_index(args.index)
        self.keys = {
            (name, split): store.fingerprint(
                name, split, sides, what["settings"], what["code"], self.labels, sampled, entries
            )
            for name, what in methods.items()
            for split, sides in splits.items()
        }

    def missing(self, models: store.Store, only: str = "") -> list[tuple[str, str]]:
        """(method, split) that are not in the store, of all methods or of one."""
        return [key for key, name in self.keys.items() if name not in models and only in ("", key[0])]

    def settings(self, name: str) -> dict[str, Any]:
        """A method's settings, with the device that it is to train on."""
        settings = dict(self.methods[name]["settings"])
        section = names.KINDS[names.parse(name).kind].settings
        if self.args.device and section != "baselines":
            settings[section] = settings.get(section, {}) | {"device": self.args.device}
        return settings


def train(plan: Plan, models: store.Store, wanted: list[tuple[str, str]]) -> None:
    """Train what is ``wanted`` and put it into the store, split by split. Features are read once for each repeat."""
    methods = {name: names.parse(name) for name, _ in wanted}
    groups: dict[tuple[int, str, int], list[str]] = {}
    for name, method in methods.items():
        settings = plan.methods[name]["settings"]
        sample = settings.get("sample", {}).get("seed", 1802), str(settings.get("dataset", "")), method.repeat
        groups.setdefault(sample, []).append(name)
    for (seed, dataset, repeat), members in groups.items():
        splits = {split: sides for split, sides in plan.splits.items() if any((m, split) in wanted for m in members)}
        slides = sorted({slide for sides in splits.values() for side in sides.values() for slide in side})
        started = time.perf_counter()
        bags = Bags.from_index(
            plan.args.index,
            plan.args.summary,
            slides,
            seed=seed,
            dataset=dataset,
            repeat=repeat,
            in_memory=in_memory(plan),
            scratch=models.folder,
        )
        size, took = f"{len(bags.features)} tiles x {bags.dim}", time.perf_counter() - started
        where = " into a file that is mapped" if bags.mapped else ""
        print(f"read {len(bags)} slides, {size}{where} in {took:.1f} s", file=sys.stderr)
        for split, sides in splits.items():
            ours = [name for name in members if (name, split) in wanted]
            bags_of = {side: bags.subset(sides[side]) for side in ("train", "test")}
            estimators = [build.build(methods[m], plan.settings(m), stream=(dataset, split)) for m in ours]
            labels = [plan.labels[slide] for slide in bags_of["train"].names]
            build.fit_together(estimators, bags_of["train"], labels, f"{dataset} {split}")
            test = bags_of["test"]
            predicted = build.predict_together(estimators, test)
            for name, estimator, proba in zip(ours, estimators, predicted, strict=True):
                keep(plan, models, (name, split), estimator, test.names, proba)


def in_memory(plan: Plan) -> float:
    """Return how many bytes of features may lie in memory."""
    if plan.args.in_memory_gb:
        return plan.args.in_memory_gb * 1e9
    (dim, _), (sampled, tiles) = memory.of_index(plan.args.index), memory.of_summary(plan.args.summary)
    sections = (what["settings"].get("training", {}) for what in plan.methods.values())
    training = next((section for section in sections if section), {})
    members, batch = training.get("members", 1), training.get("batch", 10)
    needed = memory.train(sampled, tiles, dim, plan.methods, members, batch)
    return memory.in_memory(needed, plan.args.memory_mb)


def keep(plan: Plan, models: store.Store, key: tuple[str, str], estimator: Any, slides: list[str], proba: Any) -> None:
    """Write the log's lines, and put all files of a trained method into the store; ``proba`` is of the test slides."""
    title, epochs = " ".join(key), len(estimator.history_)
    if getattr(estimator, "epochs", None) == "auto":
        number, batch = len(plan.splits[key[1]]["train"]), estimator.batch
        steps = epochs * -(-number // batch)
        print(
            f"{title}: epochs auto: {epochs}, {steps} steps on {number} slides in batches of {batch}", file=sys.stderr
        )
    for line in log_losses(title, estimator.history_):
        print(line, file=sys.stderr)
    stayed = estimator.undertrained_
    for line in log_undertrained(title, proba.shape[1], stayed):
        print(line, file=sys.stderr)
    timing = {
        "seconds": round(estimator.seconds_, 3),
        "epochs": epochs,
        "undertrained": [int(member) + 1 for member in stayed],
    }
    with models.adding(plan.keys[key]) as folder:
        estimator.save(folder / store.MODEL)
        labels = [plan.labels[slide] for slide in slides]
        write_predictions(folder / store.PREDICTIONS, slides, labels, proba, estimator.averaged)
        write_curve(folder / store.CURVE, estimator.history_, stayed)
        write_text(folder / store.TIMING, json.dumps(timing))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", required=True, help="for example chowder_r5")
    parser.add_argument("--index", required=True, help="features/<encoder>/index.json")
    parser.add_argument("--summary", required=True, help="tiles/summary.csv (M_S of every slide)")
    parser.add_argument("--slides", required=True, help="slides table (labels)")
    parser.add_argument("--splits", required=True, help="splits.json")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: training or baselines, sample, dataset")
    parser.add_argument("--code", default="", help="fingerprint of the method's code")
    parser.add_argument(
        "--together",
        type=json.loads,
        default={},
        help='JSON: {method: {"settings": ..., "code": ...}} of other methods',
    )
    parser.add_argument("--store", required=True, help="folder that keeps what was trained")
    parser.add_argument("--models", nargs="+", required=True, metavar="SPLIT=PATH", help="model files to write")
    parser.add_argument("--predictions", nargs="+", required=True, metavar="SPLIT=PATH")
    parser.add_argument("--curves", nargs="+", default=[], metavar="SPLIT=PATH", help="training losses")
    parser.add_argument("--timing", help="seconds, epochs and undertrained members, JSON")
    parser.add_argument("--device", help="auto, cpu or cuda, for methods trained by gradient descent")
    parser.add_argument("--in-memory-gb", type=float, help="features of more are mapped from a file")
    parser.add_argument("--memory-mb", type=float, default=float("inf"), help="likewise where the job needs more")
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 leaves torch's own choice")
    args = parser.parse_args(argv)

    method = args.method
    names.parse(method)
    files = {
        store.MODEL: outputs(args.models),
        store.PREDICTIONS: outputs(args.predictions),
        store.CURVE: outputs(args.curves),
    }
    splits = read_splits(args.splits, files[store.MODEL])
    plan = Plan(args, args.together | {method: {"settings": args.settings, "code": args.code}}, splits)
    models = store.Store(args.store)
    if plan.missing(models, method):
        with models.alone():  # another job may have trained it meanwhile
            if plan.missing(models, method):
                if args.threads:
                    import torch

                    torch.set_num_threads(args.threads)
                train_all(plan, models, method)
            else:
                print(f"{method} was trained meanwhile by another job: see {args.store}", file=sys.stderr)
    else:
        print(f"{method} was trained before: see {args.store}", file=sys.stderr)
    seconds, epochs, undertrained = {}, {}, {}
    for split in splits:
        key = plan.keys[method, split]
        for name, paths in files.items():
            if split in paths:
                models.take(key, name, paths[split])
        found = models.timing(key)
        seconds[split], epochs[split], undertrained[split] = (found[k] for k in ("seconds", "epochs", "undertrained"))
    if args.timing:
        content = {"method": method, "train_seconds": round(sum(seconds.values()), 3), "splits": seconds}
        content |= {"epochs": epochs, "undertrained": undertrained}
        write_text(args.timing, json.dumps(content, indent=1) + "\n")


def train_all(plan: Plan, models: store.Store, method: str) -> None:
    """Train all that is missing; when that fails because of another method, ``method`` alone."""
    try:
        train(plan, models, plan.missing(models))
    except DiskFull:  # training once more would not make room
        raise
    except UserError as error:
        left = plan.missing(models, method)
        if not left or len(plan.methods) == 1:
            raise
        print(f"not all methods can be trained together ({error}): training {method} alone", file=sys.stderr)
        train(plan, models, left)


if __name__ == "__main__":
    run(main)
