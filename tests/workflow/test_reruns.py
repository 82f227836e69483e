"""The promise of the workflow: a change reruns exactly the jobs whose result it can change."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from rerun_table import CHANGES, dry_run, markdown, wanted

from chowder.models.kinds import KINDS
from workflow_clone import ROOT


@pytest.mark.parametrize("change", CHANGES, ids=[f"{c.what} {c.key}".strip() for c in CHANGES])
def test_a_change_plans_exactly_the_jobs_whose_result_it_can_change(tiny, change):
    assert dry_run(tiny, change) == wanted(change.jobs)


def test_every_key_of_the_config_has_a_row():
    """Sections of aggregators that the tiny run does not train need one row each: a method takes its whole section."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    keys = {f"{name}.{key}" if key else name for name, part in config.items() for key in
            (part if isinstance(part, dict) else [""])}  # fmt: skip
    changed = {change.key for change in CHANGES} - {""}
    assert changed <= keys
    whole = {kind.settings for kind in KINDS.values()} - {"training", "baselines"}
    assert whole <= {key.partition(".")[0] for key in changed}
    assert {key for key in keys - changed if key.partition(".")[0] not in whole} == set()


def test_the_documentation_has_the_table_as_it_is():
    assert markdown() in (ROOT / "docs/operations.md").read_text(), "put the output of `make reruns` there"
