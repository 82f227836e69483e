"""A fresh copy of the repository, and one run of the tiny configuration in it that the workflow tests share."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
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
            shutil.copy2(source, target / part)
    return target


def snakemake(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run the environment's snakemake in ``folder`` without a network; stdout and stderr come together in ``stdout``."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "OMP_", "MKL_"))}
    environment |= {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if check and result.returncode:
        raise AssertionError(f"snakemake {' '.join(arguments)} ended with {result.returncode}:\n{result.stdout[-6000:]}")
    return result


def planned(output: str) -> dict[str, int]:
    """Jobs by rule from the ``Job stats`` table of a dry run (the first one printed)."""
    match = re.search(r"^job +count\n-+ +-+\n(.*?)^total", output, re.M | re.S)
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", match[1], re.M)} if match else {}


@pytest.fixture(scope="session")
def fresh(tmp_path_factory) -> Path:
    """A clone in which nothing has run. Tests must not change it."""
    return clone(tmp_path_factory.mktemp("fresh") / "clone")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A clone in which the tiny configuration has run once. Tests that change it put it back."""
    folder = clone(tmp_path_factory.mktemp("tiny") / "clone")
    snakemake(folder, "--cores", "2", *TINY)
    return folder
