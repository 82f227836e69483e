"""Declared memory beside what the jobs took: the peak in every job's log of a finished run, rule by rule.

    python bench/bench_memory.py                                       the demo, which must have run
    python bench/bench_memory.py --configfile tests/workflow/tiny.yaml

A rule's peak is that of its largest job. Where the arithmetic of chowder.models.memory gives each job its own number,
"declared" is that of the job with the largest.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def declared(text: str) -> dict[str, tuple[int, str]]:
    """Largest mem_mb and the folder of logs of each rule, from what Snakemake printed of its jobs."""
    found: dict[str, tuple[int, str]] = {}
    for block in re.split(r"\n(?! )", text):
        rule = re.match(r"(?:local)?rule (\w+):", block)
        memory, log = re.search(r"\bmem_mb=(\d+)", block), re.search(r"^    log: (\S+)", block, re.MULTILINE)
        if rule and memory and log:
            folder = log[1].partition("/logs/")[0] + "/logs"
            found[rule[1]] = max(found.get(rule[1], (0, "")), (int(memory[1]), folder))
    return found


def peaks(folder: Path, rule: str) -> list[float]:
    """MB in the last line of each log of a rule."""
    paths = [folder / f"{rule}.log", *(folder / rule).rglob("*.log")]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths if path.is_file()]
    return [float(found[1]) for text in texts if (found := re.search(r"peak memory (\d+) MB\s*$", text))]


def main() -> None:
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--forceall", *sys.argv[1:]]
    plan = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    print("| rule | jobs | MB, most | MB declared | declared : most |\n|---|---|---|---|---|")
    for rule, (asked, folder) in sorted(declared(plan).items()):
        values = peaks(REPOSITORY / folder, rule)
        if values:
            print(f"| {rule} | {len(values)} | {max(values):.0f} | {asked} | {asked / max(values):.2f} |")


if __name__ == "__main__":
    main()
