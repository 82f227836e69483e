"""What Snakemake needs to plan a large cohort: a dry run of N slides from nothing, and one where nothing is to be done.

    python bench/bench_scale.py --slides 400 4000 40000

The cohort is a slides table whose images are empty files (planning reads none), two of five slides with an annotation,
30 % test slides, the default methods. For the second dry run every output is there: empty files, all with one time, and
shard records with the slides that they hold. Shown are jobs, seconds and the peak memory of the Snakemake process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def cohort(folder: Path, number: int, dataset: str = "scale") -> Path:
    """Write a slides table of ``number`` slides with empty images and annotations; return the config overlay."""
    rows = []
    for i in range(number):
        name = f"{dataset}_{i:05d}"
        (folder / f"{name}.tif").touch()
        marked = i % 5 // 3
        if marked:
            (folder / f"{name}.xml").touch()
        rows.append(f"{name},{marked},{'test' if i % 10 < 3 else 'train'},{name}.tif,{name + '.xml' if marked else ''}")
    (folder / "slides.csv").write_text("\n".join(["slide,label,split,image,annotation", *rows]) + "\n")
    settings = {
        "dataset": dataset,
        "results": str(folder / "results"),
        "slides": {"source": "table", "table": str(folder / "slides.csv"), "root": str(folder)},
        "training": {"epochs": "auto"},
        "figures": {"heatmaps": "auto"},
    }
    overlay = folder / "config.json"
    overlay.write_text(json.dumps(settings))
    return overlay


def dry_run(overlay: Path, *options: str) -> tuple[str, float, str]:
    """(seconds and, in brackets, seconds of processor time; peak MB; what it printed) of a dry run."""
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "2", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += [*options, "--directory", str(overlay.parent), "--configfile"]
    command += [str(REPOSITORY / "config" / "config.yaml"), str(overlay)]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    started = time.perf_counter()
    with (overlay.parent / "said.txt").open("w") as said:
        child = subprocess.Popen(command, cwd=overlay.parent, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    text = (overlay.parent / "said.txt").read_text()
    if child.returncode:
        sys.exit(f"error: {' '.join(command)}:\n{text[-3000:]}")
    return f"{seconds:.1f} ({used.ru_utime + used.ru_stime:.1f})", used.ru_maxrss / 1024, text


def jobs(text: str) -> int:
    return int((re.findall(r"^total\s+(\d+)", text, re.MULTILINE) or ["0"])[-1])


def pretend(text: str, folder: Path) -> None:
    """Make every output that a dry run names, as empty files of one age; shard records name their slides."""
    moment = time.time()
    for block in re.split(r"^\[.*\]$", text, flags=re.MULTILINE):
        found = re.search(r"^    output: (.*)$", block, re.MULTILINE)
        for name in found[1].split(", ") if found else ():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if path.suffix else path.mkdir(exist_ok=True)
            if path.parent.name == "shards":
                images = re.search(r"^    input: (.*)$", block, re.MULTILINE)[1].split(", ")
                slides = {Path(image).stem: {} for image in images if image.endswith(".parquet")}
                path.write_text(json.dumps({"slides": slides}))
            os.utime(path, (moment, moment))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, nargs="+", default=[400, 4000])
    args = parser.parse_args()
    print(
        "| slides | jobs | jobs per slide | dry run, s (processor) | MB | nothing to be done, s (processor) | MB |\n"
        + "|---" * 7
        + "|"
    )
    for number in args.slides:
        with tempfile.TemporaryDirectory(prefix="scale-") as scratch:
            overlay = cohort(Path(scratch), number)
            seconds, peak, text = dry_run(overlay)
            pretend(text, Path(scratch))
            idle, idle_peak, rest = dry_run(overlay)
            left = jobs(rest)
            note = "" if not left else f" ({left} jobs)"
            print(f"| {number:,} | {jobs(text):,} | {jobs(text) / number:.1f} | {seconds} | {peak:.0f} | "
                  f"{idle}{note} | {idle_peak:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
