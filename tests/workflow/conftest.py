"""One fresh clone, and one run of the tiny configuration, that the workflow tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflow_clone import TINY, clone, snakemake


def pytest_collection_modifyitems(items):
    """With pytest-xdist these tests stay in two processes, so that what they share is run once in each.

    The stand-in of the public server waits a lot: the other tests use the cores meanwhile.
    """
    for item in items:
        if Path(__file__).parent in item.path.parents:
            group = "stand_in" if item.path.stem == "test_stand_in" else "workflow"
            item.add_marker(pytest.mark.xdist_group(group))
    # the longest group first, then the other one, then what fills the gaps
    ranks = {"stand_in": 0, "workflow": 1}
    items.sort(key=lambda item: ranks.get(next((m.args[0] for m in item.iter_markers("xdist_group")), ""), 2))


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
