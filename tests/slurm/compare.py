"""Whether two runs gave the same results: every file byte by byte, but for times. Called by run.sh."""

from __future__ import annotations

import csv
import io
import re
import sys
from datetime import datetime
from pathlib import Path

# Logs; seconds that jobs took, and pages and pictures that show them (their tables are compared without); stores, whose
# names hold the time of a slide's file (what is taken from them is compared).
TIMES = ("logs", "benchmarks", "timing.json", "benchmark.html", "index.html", "report.html", ".store", "shards")
PICTURES = ("figures/matrix.png", "figures/matrix.svg", "figures/matrix.csv")


def results(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all results in ``folder`` by path; those of tables without seconds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not set(name.parts).intersection(TIMES) and not str(name).endswith(PICTURES):
            found[str(name)] = without_seconds(path.name, path.read_bytes())
    return found


def without_seconds(name: str, content: bytes) -> bytes:
    """Return a table of the benchmark without how long training and embedding took; other files as they are."""
    if name in ("benchmark.csv", "matrix.csv"):
        rows = csv.DictReader(io.StringIO(content.decode()))
        return repr([{k: v for k, v in row.items() if "seconds" not in k} for row in rows]).encode()
    return re.sub(rb"\d+(\.\d+)? s\b", b"", content) if Path(name).stem == "benchmark" else content


def lengths(path: str) -> str:
    """Return how long the jobs in Slurm's list of completed jobs ran."""
    times = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        start, end = (datetime.fromisoformat(re.search(rf"{key}=(\S+)", line)[1]) for key in ("StartTime", "EndTime"))
        times.append((end - start).total_seconds())
    times.sort()
    middle = times[len(times) // 2]
    return f"{len(times)} Slurm jobs in all, of {times[0]:.0f} to {times[-1]:.0f} s, half above {middle:.0f} s"


if __name__ == "__main__":
    if sys.argv[1] == "--lengths":
        print(lengths(sys.argv[2]))
        sys.exit()
    one, other = (results(Path(folder)) for folder in sys.argv[1:])
    differ = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    print("\n".join(f"differs: {name}" for name in differ))
    print(f"{len(one)} files, {len(differ)} differ")
    sys.exit(bool(differ) or not one)
