"""Fresh copies of the repository, and Snakemake run in them as a user would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = ("--configfile", "tests/workflow/tiny.yaml")
PARTS = ("Snakefile", "config.yaml", "config", "workflow", "profiles", "envs", "tests")


def clone(target: Path) -> Path:
    """Copy what a clone has (no results, no environment) to ``target``."""
    target.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
        else:
            shutil.copy2(source, target / part, follow_symlinks=False)
    return target


def begin(folder: Path, *arguments: str, own_session: bool = False) -> subprocess.Popen:
    """Start the environment's snakemake in ``folder`` without a network; stderr comes with stdout.

    ``own_session``: in a group of processes of its own, which can be killed at once.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "OMP_", "MKL_"))}
    environment |= {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=own_session,
    )


def snakemake(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run it to its end."""
    running = begin(folder, *arguments)
    output, _ = running.communicate()
    if check and running.returncode:
        raise AssertionError(f"snakemake {' '.join(arguments)} ended with {running.returncode}:\n{output[-6000:]}")
    return subprocess.CompletedProcess(running.args, running.returncode, output)


def planned(output: str) -> dict[str, int]:
    """Jobs by rule from the ``Job stats`` table of a dry run (the first one printed)."""
    match = re.search(r"^job +count\n-+ +-+\n(.*?)^total", output, re.M | re.S)
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", match[1], re.M)} if match else {}
