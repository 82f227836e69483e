"""One fresh clone, and one run of the tiny configuration, that the workflow tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflow_clone import TINY, clone, snakemake


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
