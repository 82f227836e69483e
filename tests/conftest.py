"""Which process runs which test, with pytest-xdist."""

from __future__ import annotations

import pytest


def scope(nodeid: str) -> str:
    """Return what a test shares with others, so that one process runs them all; other tests share nothing.

    The workflow tests share one run of the tiny configuration. The stand-in of the public server, which waits a lot,
    has one of its own, so that the other tests use the cores meanwhile.
    """
    path = nodeid.partition("::")[0]
    if not path.startswith("tests/workflow/"):
        return nodeid
    return "stand-in" if path.endswith("test_stand_in.py") else "workflow"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of a scope in one process. (Groups by pytest.mark.xdist_group have no effect with pytest 9.2.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Scopes(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope(nodeid)

    return Scopes(config, log)
