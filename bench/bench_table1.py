"""Table 1 of the paper through the workflow's own rules, on made-up features of the real size.

    python bench/bench_table1.py                   399 slides x 5,000 tiles x 2,048 float16 (8.2 GB; 17 GB of disk)
    python bench/bench_table1.py --memory 6000     jobs may take 6 GB: the features lie in a mapped file
    python bench/bench_table1.py --scale 0.02      a fiftieth of the tiles, for a quick look

The feature files come in as from another tool (`slides.source: features`), and Snakemake makes benchmark.csv of them:
MeanPool, MaxPool, WELDON R = 1, 10, 100, 300 and CHOWDER R = 1, 5, 10, 100, 300 on the competition split and three
folds, E = 10, 30 epochs, batch 10. No result of a training here means anything: the features are noise. Shown are the
seconds and the peak memory of each rule's longest job, as Snakemake measured them, beside the memory that the rule
declares.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "workflow" / "scripts"), str(REPOSITORY)]

import h5py  # noqa: E402

from bench.bench_memory import declared  # noqa: E402
from bench.bench_training import BASELINES, ENSEMBLES  # noqa: E402
from chowder import seeds  # noqa: E402


def write_features(folder: Path, slides: int, tiles: int, dim: int) -> None:
    """Feature files as this workflow writes them, and slides.csv: 270 of 399 train, two of five are tumours."""
    block = (seeds.generator("bench").standard_exponential((tiles, dim), dtype=np.float32) * 0.4).astype(np.float16)
    side = 256 * (np.arange(tiles)[:, None] // np.array([[1, 100]]) % 100)
    order = set(seeds.generator("bench", "split").permutation(slides)[: round(slides * 270 / 399)].tolist())
    rows = []
    for i in range(slides):
        with h5py.File(folder / f"s{i:03d}.h5", "w") as handle:
            handle["features"] = np.roll(np.roll(block, i * 7919 % tiles, axis=0), i * 31 % dim, axis=1)
            handle["coords"] = side.astype(np.int32)
            handle.attrs["extent"] = 256.0
        rows.append(f"s{i:03d},{i % 5 // 3},{'train' if i in order else 'test'},0.5,30000,30000")
    (folder / "slides.csv").write_text("\n".join(["slide,label,split,mpp,width,height", *rows]) + "\n")


def measured(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """(seconds, MB) of each rule's jobs, from Snakemake's benchmark files."""
    found: dict[str, list[tuple[float, float]]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(newline="") as handle:
            row = next(csv.DictReader(handle, delimiter="\t"))
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        if row["max_rss"] not in ("NA", "-"):
            found.setdefault(rule, []).append((float(row["s"]), float(row["max_rss"])))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the tiles a slide (5,000)")
    parser.add_argument("--slides", type=int, default=399)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--memory", type=int, default=12000, help="MB that jobs may take together")
    parser.add_argument("--folder", type=Path, help="where to work, and to find features of an earlier run")
    args = parser.parse_args()
    work = args.folder or Path(tempfile.mkdtemp(prefix="table1-"))
    features, tiles = work / "features", max(10, round(5000 * args.scale))
    if not (features / "slides.csv").is_file():
        features.mkdir(parents=True, exist_ok=True)
        write_features(features, args.slides, tiles, args.dim)
    results = work / f"results-{args.memory}"
    settings = {
        "dataset": "table1",
        "results": str(results),
        "slides": {"source": "features", "table": str(features / "slides.csv")},
        "features": {"folder": str(features), "name": "made-up"},
        "methods": BASELINES + ENSEMBLES,
        "training": {"members": 10, "epochs": args.epochs},
        "sample": {"fraction": 1.0},
        "figures": {"heatmaps": []},
    }
    overlay = work / "config.json"
    overlay.write_text(json.dumps(settings))
    snakemake = [sys.executable, "-m", "snakemake", "--resources", f"mem_mb={args.memory}"]
    snakemake += ["--configfile", str(overlay), "--cores", str(os.cpu_count())]
    made = f"{results}/table1"
    inputs = [f"{made}/{name}" for name in ("features/made-up/index.json", "tiles/summary.csv", "splits.json")]
    targets = ["benchmark", f"{made}/split_bias/made-up.json"]
    said, seconds = "", []
    for some in (inputs, targets):
        started = time.perf_counter()
        run = subprocess.run([*snakemake, *some], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - started)
        said += run.stdout + run.stderr
        if run.returncode:
            sys.exit(said[-4000:])
    size = args.slides * tiles * args.dim * 2 / 1e9
    print(f"{args.slides} slides x {tiles} tiles x {args.dim} float16 = {size:.2f} GB; jobs together at most "
          f"{args.memory} MB\n")  # fmt: skip
    print(f"features read in: {seconds[0]:.0f} s; from there to benchmark.csv: **{seconds[1] / 60:.1f} min**\n")
    asked_by, times = declared(said), measured(results / "table1" / "benchmarks")
    print("| rule | jobs | s, longest | MB, most | MB declared | declared : most |\n|---|---|---|---|---|---|")
    for rule, values in sorted(times.items()):
        most, asked = max(mb for _, mb in values), asked_by.get(rule, (0, ""))[0]
        longest = max(s for s, _ in values)
        print(f"| {rule} | {len(values)} | {longest:.0f} | {most:.0f} | {asked} | {asked / max(most, 1):.2f} |")


if __name__ == "__main__":
    main()
