"""Ways to turn an ensemble's embedding values into a lesion score, on planted signals (docs/decisions/lesion_score.md).

    python -m bench lesion_scores                 the whole suite (about half an hour on two cores)
    python bench/bench_lesion_scores.py --seeds 1 --output table.csv

Every run trains on one set of simulated bags and scores the tiles of another. The candidates share each trained
ensemble, so that they differ in the rule alone. Simulated data throughout.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "workflow" / "scripts")]

import torch  # noqa: E402

from chowder.data.cohort import read_rows  # noqa: E402
from chowder.features.bags import Bags  # noqa: E402
from chowder.models.calibration import Evidence, selected  # noqa: E402
from chowder.models.estimators import Chowder, Weldon, fit_many  # noqa: E402
from chowder.models.pooled import MaxPool, MeanPool  # noqa: E402
from chowder.models.scorer import FeatureStore  # noqa: E402
from chowder.models.splits import rank_auc  # noqa: E402

SIGNALS = ("few", "one", "distract", "opposite", "negative", "two-sided", "two kinds", "diffuse")
RECTIFIED = ("few", "distract", "negative", "two-sided", "two kinds")
RS = (1, 5, 10, 100, 300)
SHIFT, MARKED = 0.1, 10
REFERENCE = 40  # training slides to which the evidence candidates add tiles: half of them positive
FAST = {"learning_rate": 0.005, "l2": 0.05, "epochs": 30}
PAPER = {"learning_rate": 0.001, "l2": 0.5, "epochs": 150}


# ------------------------------------------------------------------------------------------------- planted signals


def planted(signal: str, seed: int, slides: int = 40, dim: int = 16):
    """Bags, labels (n,) and the marks of every slide: (tiles,) 1 must score high, -1 must score low, 0 is neither."""
    rng = np.random.default_rng([SIGNALS.index(signal), seed])
    axes = np.linalg.qr(np.random.default_rng(SIGNALS.index(signal)).normal(size=(dim, dim)))[0]
    labels = np.arange(slides) % 2
    arrays, marks = [], []
    for slide, label in enumerate(labels):
        tiles = int(rng.integers(300, 901))
        x = rng.normal(0, 1, (tiles, dim)) + rng.normal(0, SHIFT, dim)
        mark = np.zeros(tiles, dtype=int)
        chosen = rng.choice(tiles, 2 * MARKED, replace=False)
        first, second = chosen[:MARKED], chosen[MARKED:]
        if signal == "diffuse":
            x += 3 * label * axes[0]
            mark[:] = 1 if label else -1
        elif signal == "one":
            x[first[:1]] += 8 * label * axes[0]
            mark[first[:1]] = label
        elif signal == "negative":
            x[first] += 6 * (1 - label) * axes[0]
            mark[first] = label - 1
        elif signal == "two-sided":
            x[first] += (6 if label else -6) * axes[0]
            mark[first] = 1 if label else -1
        else:
            kind = slide // 2 % 2 if signal == "two kinds" else 0
            x[first] += 6 * label * axes[kind]
            mark[first] = label
            if signal == "distract":
                x[second] += 12 * axes[1]
            if signal == "opposite":
                x[second] -= 6 * axes[0]
        arrays.append(x.astype(np.float32))
        marks.append(mark)
    return Bags.from_arrays(arrays), labels, marks


def rectified(signal: str, seed: int, slides: int, dim: int = 64):
    """As :func:`planted`, with features that are never negative, as after a ReLU, and 200 to 400 tiles per slide."""
    rng = np.random.default_rng([len(SIGNALS), SIGNALS.index(signal), seed])
    labels = np.arange(slides) % 2
    arrays, marks = [], []
    for slide, label in enumerate(labels):
        x = rng.gamma(1.0, 0.5, (int(rng.integers(200, 401)), dim))
        mark = np.zeros(len(x), dtype=int)
        has = 1 - label if signal == "negative" else 1 if signal == "two-sided" else label
        at = 6 if (signal == "two-sided" and not label) or (signal == "two kinds" and slide // 2 % 2) else 0
        x[:5, at : at + 6] += 3 * has
        mark[:5] = has * (1 if label else -1)
        if signal == "distract":
            x[5:10, 6:12] += 6
        arrays.append(x.astype(np.float32))
        marks.append(mark)
    return Bags.from_arrays(arrays), labels, marks


def instance_auc(signal: str, scores: list[np.ndarray], marks: list[np.ndarray]) -> float:
    """Instance AUC in the right direction: within slides, or pooled for the diffuse signal."""
    if signal == "diffuse":
        return float(rank_auc(np.concatenate(marks) > 0, np.concatenate(scores))[0])
    found = []
    for score, mark in zip(scores, marks, strict=True):
        found += [float(rank_auc(mark == sign, sign * score)[0]) for sign in (1, -1) if (mark == sign).any()]
    return float(np.mean(found))


# ------------------------------------------------------------------------------------------------- candidates


class Trained:
    """What the candidates need of a trained ensemble: selected values and logits of the training slides."""

    def __init__(self, estimator, train: Bags):
        self.estimator, self.model = estimator, estimator.model_
        store = FeatureStore(train, torch.device("cpu"), "fp32", 1)
        self.values = selected([self.model], store)[0]  # (E, S, J, 2R)
        (scores,) = store.scores(range(len(train)), [self.model.weight.flatten(0, 1)])
        scores = scores.double()
        if self.model.offset is not None:
            scores += self.model.offset.detach().flatten()[:, None]
        shape = (self.model.members, self.model.embeddings)
        self.mean = scores.mean(dim=1).view(shape).numpy()
        self.sd = scores.std(dim=1, unbiased=False).view(shape).numpy()
        self.low, self.high = (getattr(scores, end)(dim=1).values.view(shape).float() for end in ("min", "max"))
        self.counts = torch.from_numpy(train.counts)
        with torch.no_grad():
            self.logits = self.model.head(self.values)  # (E, S)
        self.reference, self.tables = slice(0, REFERENCE), {}
        values = self.values.clone().requires_grad_()
        (self.slopes,) = torch.autograd.grad(self.model.head(values).sum(), values)

    def oriented(self, weight: np.ndarray, e: np.ndarray) -> np.ndarray:
        """Mean over members of weight (E, J) times standardised e (E, J, n)."""
        z = (e - self.mean[:, :, None]) / np.where(self.sd > 0, self.sd, 1)[:, :, None]
        return (weight[:, :, None] * z).sum(axis=1).mean(axis=0)


def _signed(effect: np.ndarray) -> np.ndarray:
    """(E, J) weights of absolute sum 1 per member: the sign for J = 1."""
    scale = np.abs(effect).sum(axis=1, keepdims=True)
    return np.where(scale > 0, effect / np.where(scale > 0, scale, 1), 1 / effect.shape[1])


def top_slopes(t: Trained):
    r = t.model.r
    weight = _signed(t.slopes[..., :r].double().sum(dim=(1, 3)).numpy() * t.sd)
    return lambda e: t.oriented(weight, e)


def all_slopes(t: Trained):
    weight = _signed(t.slopes.double().sum(dim=(1, 3)).numpy() * t.sd)
    return lambda e: t.oriented(weight, e)


def spread(t: Trained):
    effect = t.slopes.mean(dim=1) * t.values.std(dim=1)
    weight = _signed(effect.double().sum(dim=2).numpy())
    return lambda e: t.oriented(weight, e)


def _correlations(t: Trained) -> np.ndarray:
    mean = t.values.mean(dim=3)
    out = np.zeros(mean.shape[::2])
    for m in range(out.shape[0]):
        for j in range(out.shape[1]):
            c = np.corrcoef(t.logits[m].numpy(), mean[m, :, j].numpy())[0, 1]
            out[m, j] = c if np.isfinite(c) else 0
    return out


def correlation(t: Trained):
    weight = _signed(_correlations(t))
    return lambda e: t.oriented(weight, e)


def weighted_correlation(t: Trained):
    weight = _signed(_correlations(t)) * t.logits.std(dim=1).numpy()[:, None]
    return lambda e: t.oriented(weight, e)


@torch.no_grad()
def added(t: Trained, j: int, e: torch.Tensor, copies: int) -> torch.Tensor:
    """Logits (E, k, S) of the reference slides after ``copies`` tiles with values e (E, k) of embedding j are added."""
    kept, r, n = t.values[:, t.reference], t.model.r, t.counts[t.reference]
    rank = torch.arange(r)
    copies = min(copies, r)
    last = torch.minimum(rank, n[:, None] + copies - 1)
    out = []
    for part, sign in ((slice(0, r), 1), (slice(r, 2 * r), -1)):
        old = sign * kept[:, None, :, j, part]
        old = old.masked_fill(rank >= n[:, None], -torch.inf)  # repeats of the last are not tiles
        before = torch.cat([torch.full_like(old[..., :copies], torch.inf), old[..., : r - copies]], dim=-1)
        new = torch.maximum(old, torch.minimum(before, sign * e[:, :, None, None]))
        out.append(sign * new.gather(3, last.expand_as(new)))
    values = kept[:, None].expand(-1, e.shape[1], -1, -1, -1).clone()
    values[:, :, :, j] = torch.cat(out, dim=-1)
    return t.model.head(values.flatten(1, 2)).view(len(e), e.shape[1], -1)


@torch.no_grad()
def _tables(t: Trained, copies: int, nodes: int = 65) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Nodes (E, J, K) and the evidence there in each unit, computed once per ensemble and number of copies."""
    if copies not in t.tables:
        base = t.logits[:, None, t.reference]
        scale = t.logits.std(dim=1)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        steps = torch.linspace(-0.5, 1.5, nodes)
        grid = t.low[..., None] + (t.high - t.low)[..., None] * steps
        out = {unit: torch.zeros_like(grid) for unit in ("logit", "probability", "sd")}
        for j in range(t.model.embeddings):
            for at in range(0, nodes, 5):
                logits = added(t, j, grid[:, j, at : at + 5], copies)
                change = (logits - base).mean(dim=2)
                out["logit"][:, j, at : at + 5] = change
                out["sd"][:, j, at : at + 5] = change / scale[:, None]
                change = (torch.sigmoid(logits) - torch.sigmoid(base)).mean(dim=2)
                out["probability"][:, j, at : at + 5] = change
        t.tables[copies] = grid.double().numpy(), {unit: table.double().numpy() for unit, table in out.items()}
    return t.tables[copies]


def _evidence(t: Trained, number: list[int], unit: str = "logit"):
    scores = [Evidence(grid, out[unit]) for grid, out in (_tables(t, copies) for copies in number)]
    return lambda e: sum(score(e) for score in scores) / len(scores)


CANDIDATES = {
    "top slopes": top_slopes,
    "all slopes": all_slopes,
    "spread": spread,
    "correlation": correlation,
    "weighted correlation": weighted_correlation,
    "evidence": lambda t: _evidence(t, [1]),
    "evidence, probability": lambda t: _evidence(t, [1], "probability"),
    "evidence, R copies": lambda t: _evidence(t, [t.model.r]),
    "evidence, some copies": lambda t: _evidence(t, [c for c in (1, 10, 100) if c <= t.model.r]),
    "evidence, unit": lambda t: _evidence(t, [1], "sd"),
}


# ------------------------------------------------------------------------------------------------- runs


def run(job: tuple[str, str, int]) -> list[dict[str, object]]:
    """Train all methods of a setting on one signal and seed; a row per method and candidate."""
    setting, signal, seed = job
    torch.set_num_threads(1)
    make = rectified if setting == "rectified" else planted
    train, labels, _ = make(signal, 2 * seed, slides=80)
    test, truth, marks = make(signal, 2 * seed + 1, slides=40)
    common = {"seed": seed, "stream": (signal,)}
    if setting in ("fast", "rectified"):
        models = [Chowder(r=r, **common, **FAST) for r in RS]
    elif setting == "paper":
        models = [Chowder(r=r, **common, **PAPER) for r in RS]
    else:
        models = [Chowder(r=r, embeddings=4, name=f"chowder_r{r}_j4", **common, **FAST) for r in (5, 100)]
        models += [Weldon(r=r, **common, **FAST) for r in (1, 10, 100)]
    fit_many(models, train, labels)
    rows = []
    for model in models:
        about = {"setting": setting, "signal": signal, "seed": seed, "method": model.name}
        about["slide_auc"] = float(rank_auc(truth, model.predict(test))[0])
        trained = Trained(model, train)
        values = [model.embedding_scores(test[i]).astype(float) for i in range(len(test))]
        for name, candidate in CANDIDATES.items():
            started = time.perf_counter()
            score = candidate(trained)
            scores = [score(e) for e in values]
            rows.append(about | {"candidate": name, "auc": instance_auc(signal, scores, marks),
                                 "seconds": time.perf_counter() - started})  # fmt: skip
        scores = [model.instance_scores(test[i]) for i in range(len(test))]
        rows.append(about | {"candidate": "the library", "auc": instance_auc(signal, scores, marks), "seconds": 0})
    if setting == "other":
        for model in (MeanPool(), MaxPool()):
            model.fit(train, labels)
            auc = float(rank_auc(truth, model.predict(test))[0])
            scores = [model.instance_scores(test[i]) for i in range(len(test))]
            about = {"setting": setting, "signal": signal, "seed": seed, "method": model.name, "slide_auc": auc}
            rows.append(about | {"candidate": "the library", "auc": instance_auc(signal, scores, marks), "seconds": 0})
    return rows


def report(rows: list[dict], settings: tuple[str, ...] = ("rectified", "fast", "paper", "other")) -> None:
    """Print, by setting, each candidate's lowest and mean instance AUC over the runs that count."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    counted = frame[frame["slide_auc"] >= 0.95]
    for setting in settings:
        part = counted[(counted["setting"] == setting) & ~counted["method"].isin(["meanpool", "maxpool"])]
        every = frame[frame["setting"] == setting]
        if not len(every):
            continue
        if len(part):
            table = part.groupby("candidate")["auc"].agg(["min", "mean"])
            where = part.loc[part.groupby("candidate")["auc"].idxmin()].set_index("candidate")
            table["worst case"] = where["signal"] + ", " + where["method"]
            below = part.assign(below=part["auc"] < 0.9).groupby("candidate")["below"].sum()
            table["runs below 0.9"] = below
            runs = len(part) // part["candidate"].nunique()
            print(f"\n{setting}: {runs} runs with slide AUC of at least 0.95")
            print(table.sort_values("min", ascending=False).round(3).to_string())
        rest = every[(every["slide_auc"] < 0.95)]
        if len(rest):
            table = rest.groupby("candidate")["auc"].agg(["min", "mean", "count"])
            print(f"\n{setting}: the other runs")
            print(table.sort_values("mean", ascending=False).round(3).to_string())


def held_out(results: Path, encoder: str, epochs: int, names: list[str], outlines: Path) -> None:
    """Print, by method, the tile AUC of every candidate on the tumour test slides of a finished run."""
    import pandas as pd
    import pyarrow.parquet as pq

    from chowder.data import annotations
    from chowder.features.bags import read_entry, read_index
    from chowder.models import build, splits
    from chowder.models import names as methods
    from chowder.report.figures import gallery

    labels = splits.labels_of(read_rows(results / "slides.csv"))
    split = splits.read_splits(results / "splits.json", ["competition"])["competition"]
    index = results / "features" / encoder / "index.json"
    train = Bags.from_index(index, results / "tiles" / "summary.csv", split["train"], dataset=results.name)
    entries = read_index(index)[1]
    tiles = {}
    for slide in [s for s in split["test"] if labels[s]]:
        table = pq.read_table(results / "tiles" / f"{slide}.parquet")
        extent = json.loads(table.schema.metadata[b"tiles"])["extent"]
        path = next(path / f"{slide}.xml" for path in (results / "annotations", outlines) if path.is_dir())
        marks = gallery.in_lesion(table.to_pandas(), annotations.read_asap(path).tumor, extent)["in_lesion"].to_numpy()
        entry = entries[slide]
        features, _ = read_entry(index, entry, train.dim)
        tiles[slide] = features, marks
    settings = {"training": {"epochs": epochs}}
    rows = []
    for name in names:
        (model,) = build.fit(
            [methods.parse(name)], train, [labels[s] for s in train.names], settings, (results.name, "competition")
        )
        trained = Trained(model, train)
        values = {slide: model.embedding_scores(features).astype(float) for slide, (features, _) in tiles.items()}
        for candidate, make in CANDIDATES.items():
            score = make(trained)
            scores = {slide: score(e) for slide, e in values.items()}
            pooled = rank_auc(np.concatenate([m for _, m in tiles.values()]), np.concatenate(list(scores.values())))[0]
            each = [rank_auc(m, scores[s])[0] for s, (_, m) in tiles.items() if 0 < m.sum() < len(m)]
            rows.append({"candidate": candidate, "method": name, "pooled": pooled, "per slide": np.mean(each)})
        print(name, "undertrained members:", (model.undertrained_ + 1).tolist(), file=sys.stderr)
    print(pd.DataFrame(rows).pivot(index="candidate", columns="method").round(3).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--settings", nargs="+", default=["rectified", "fast", "paper", "other"])
    parser.add_argument("--signals", nargs="+", default=list(SIGNALS))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, help="every run as CSV")
    parser.add_argument("--results", type=Path, help="held-out check on a finished run instead: results/<dataset>")
    parser.add_argument("--annotations", type=Path, help="its annotations, where not in results")
    parser.add_argument("--encoder", default="efficientnet_lite0")
    parser.add_argument("--epochs", type=int, default=270, help="of the held-out check")
    parser.add_argument("--methods", nargs="+", default=["chowder_r1", "chowder_r5", "weldon_r1", "weldon_r10"])
    args = parser.parse_args()
    if args.results:
        torch.set_num_threads(1)
        held_out(args.results, args.encoder, args.epochs, args.methods, args.annotations)
        return
    jobs = []
    for setting in args.settings:
        seeds = args.seeds if setting in ("fast", "rectified") else min(args.seeds, 3)
        signals = [signal for signal in args.signals if setting != "rectified" or signal in RECTIFIED]
        jobs += [(setting, signal, seed) for seed in range(seeds) for signal in signals]
    rows = []
    with ProcessPoolExecutor(args.processes) as pool:
        for number, found in enumerate(pool.map(run, jobs), start=1):
            rows += found
            print(f"{number}/{len(jobs)} {jobs[number - 1]}", file=sys.stderr)
            if args.output:
                with args.output.open("w", newline="", encoding="utf-8") as handle:
                    writer = csv.DictWriter(handle, list(rows[0]))
                    writer.writeheader()
                    writer.writerows(rows)
    report(rows)


if __name__ == "__main__":
    main()
