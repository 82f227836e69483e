"""One fresh clone, and one run of the tiny configuration, that the workflow tests share."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from workflow_clone import TINY, clone, snakemake


@pytest.fixture(scope="session")
def fresh(tmp_path_factory) -> Path:
    """A clone in which nothing has run. Tests must not change it."""
    return clone(tmp_path_factory.mktemp("fresh") / "clone")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A clone in which the tiny configuration has run once. Tests that change it put it back.

    The first of pytest-xdist's workers that needs it makes it; each of the others takes a copy (a clone can be moved).
    """
    folder = tmp_path_factory.mktemp("tiny") / "clone"
    shared = tmp_path_factory.getbasetemp().parent / "tiny-once" if os.environ.get("PYTEST_XDIST_WORKER") else folder
    with open(folder.parent / "lock" if shared == folder else shared.with_suffix(".lock"), "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not (shared / "results/tiny/report.html").is_file():
            shutil.rmtree(shared, ignore_errors=True)
            snakemake(clone(shared), "--cores", "2", *TINY)
    if shared != folder:
        shutil.copytree(shared, folder, symlinks=True)
    return folder
