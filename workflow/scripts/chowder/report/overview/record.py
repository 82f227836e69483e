"""How a run was made: versions, time and memory of its jobs."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "snakemake", "torch", "torchvision", "timm", "numpy", "scipy", "pandas", "scikit-learn", "scikit-image", "shapely",
    "pyvips", "openslide-python", "matplotlib",
)  # fmt: skip


def versions() -> list[tuple[str, str]]:
    """Return Python and the packages that results depend on, as far as they are installed."""
    rows = [("python", platform.python_version())]
    for name in PACKAGES:
        try:
            rows.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return rows


def commit(folder: Path) -> str:
    """Return the commit of the code in a folder, with a word where files differ from it; "" where there is no git."""
    git = ["git", "-C", str(folder)]
    try:
        found = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=20)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno", "--", "."], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if found.returncode:
        return ""
    return found.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


@dataclass(frozen=True)
class Job:
    """A job that Snakemake measured: rule, end (s since 1970), seconds, processor seconds, peak memory in MB."""

    rule: str
    end: float
    seconds: float
    processor: float
    memory: float


def jobs(folder: Path) -> list[Job]:
    """Return the jobs of a folder of Snakemake's benchmark files, <rule>.tsv or <rule>/...tsv; without broken ones."""
    found = []
    for path in sorted(folder.rglob("*.tsv")):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        with open(path, encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle, delimiter="\t"):
                seconds, processor, memory = (_number(row.get(key)) for key in ("s", "cpu_time", "max_rss"))
                if seconds:
                    found.append(Job(rule, path.stat().st_mtime, seconds, processor, memory))
    return found


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return 0.0


def busy(found: Sequence[Job]) -> float:
    """Return for how many seconds at least one of the jobs was running; pauses between runs do not count."""
    total, reached = 0.0, -float("inf")
    for start, end in sorted((job.end - job.seconds, job.end) for job in found):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def by_rule(found: Sequence[Job]) -> list[tuple[str, int, float, float, float]]:
    """Return for each rule: name, jobs, their seconds, processor seconds, highest memory (MB); the longest first."""
    rows = []
    for rule in dict.fromkeys(job.rule for job in found):
        own = [job for job in found if job.rule == rule]
        sums = (sum(job.seconds for job in own), sum(job.processor for job in own))
        rows.append((rule, len(own), *sums, max(job.memory for job in own)))
    return sorted(rows, key=lambda row: -row[2])


def machine() -> str:
    """Return the machine in words: system, processors."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
