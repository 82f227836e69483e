"""How long Snakemake takes to find out what to do: a dry run of the demo, beside Snakemake's own start.

The bound is a dry run of an empty Snakefile with as many jobs; the rest is this workflow's own (rules, checks,
fingerprints). Runs take turns; the least is shown.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EMPTY = """
rule all:
    input: expand("{{n}}.txt", n=range({jobs}))
rule one:
    output: "{{n}}.txt"
    shell: "touch {{output}}"
"""


def clock(command: list[str], folder: Path) -> tuple[float, str]:
    started = time.perf_counter()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"error: {' '.join(command)}: {(result.stderr or result.stdout).strip()[-500:]}")
    return time.perf_counter() - started, result.stdout + result.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    snakemake = [sys.executable, "-m", "snakemake"]
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        demo = [*snakemake, "--snakefile", str(ROOT / "Snakefile"), "--directory", scratch, "-n", "--cores", "2"]
        demo += ["--configfile", str(ROOT / "config" / "config.yaml")]
        _, text = clock(demo, ROOT)
        jobs = int((re.findall(r"^total\s+(\d+)", text, re.MULTILINE) or ["0"])[-1])
        (folder / "Empty").write_text(EMPTY.format(jobs=jobs))
        empty = [*snakemake, "--snakefile", "Empty", "--directory", scratch, "-n", "--cores", "2"]
        imports = [sys.executable, "-c", "import snakemake.cli"]
        for _ in range(args.rounds):
            for name, command in (("demo", demo), ("empty", empty), ("import", imports)):
                seconds.setdefault(name, []).append(clock(command, ROOT if name == "demo" else folder)[0])
    least = {name: min(values) for name, values in seconds.items()}
    print(f"| dry run, {jobs} jobs, the least of {args.rounds} | s |\n|---|---|")
    print(f"| this workflow, demo | {least['demo']:.1f} |")
    print(f"| bound: an empty Snakefile with as many jobs | {least['empty']:.1f} |")
    print(f"| `import snakemake.cli` alone | {least['import']:.1f} |")


if __name__ == "__main__":
    main()
