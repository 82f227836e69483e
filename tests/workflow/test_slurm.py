"""profiles/slurm without a Slurm: how many jobs it sends, what they ask for, how it asks for their states.

tests/slurm/run.sh runs it for real.
"""

from __future__ import annotations

import os
import re
from collections import Counter

import pytest
import yte

from workflow_clone import ROOT, TINY, planned, snakemake

PROFILE = ("--workflow-profile", "profiles/slurm")


def sent(output: str) -> dict[str, int]:
    """Slurm jobs by group, or by rule where it is in none, from a dry run. Local rules and targets are none."""
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    rules = re.findall(r"^ *rule (\w+):\n((?:(?! *rule ).*\n)*)", text, re.M)
    here = {name for name, body in rules if "localrule: True" in body or "shell:" not in body} | {"all", "everything"}
    groups = re.findall(r"^\[[^]]+\] Group job (\w+)", output, re.M)
    alone = [name for name in re.findall(r"^rule (\w+):", output, re.M) if name not in here]
    return dict(Counter(groups + alone))


def test_camelyon16_is_less_than_a_hundred_slurm_jobs(fresh, tmp_path, monkeypatch):
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho gpu:a100:4\n")
    (tmp_path / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    plan = snakemake(fresh, "-n", *PROFILE, "--configfile", "config/camelyon16.yaml").stdout
    jobs, rules = sent(plan), planned(plan)
    assert rules["tissue"] == rules["tiles"] == 399 and rules["embed"] == 50, rules
    assert jobs["slides"] == 50, "one for each shard: its slides are on the disk together"
    assert jobs["method"] == rules["evaluate"] == 11 and jobs["figures"] == 1, jobs
    assert sum(jobs.values()) < 100, jobs
    assert plan.count("gpu=1") == rules["embed"] + rules["train"], "device: auto, and this Slurm has GPUs"
    assert f"are {sum(jobs.values())} Slurm jobs" in " ".join((ROOT / "docs/operations.md").read_text().split())


def asked(output: str) -> dict[str, tuple[int, int]]:
    """The largest mem_mb and runtime of each rule in a dry run; 0 where they are not known yet."""
    found: dict[str, tuple[int, int]] = {}
    for rule, resources in re.findall(r"^ *(?:local)?rule (\w+):\n(?:.+\n)*? *resources: (.*)", output, re.M):
        values = dict(part.split("=", 1) for part in resources.split(", "))
        new = tuple(int(values[key]) if values.get(key, "").isdigit() else 0 for key in ("mem_mb", "runtime"))
        found[rule] = max(new, found.get(rule, (0, 0)))
    return found


def test_each_further_try_asks_for_half_as_much_again(fresh):
    first, third = (asked(snakemake(fresh, "-n", "--attempt", str(number), *TINY).stdout) for number in (1, 3))
    first.pop("everything")
    unknown = {rule for rule, (memory, minutes) in first.items() if not memory or not minutes}
    assert len(first) > 20 and unknown == {"train", "localise", "split_bias"}, first  # from files that come later
    for rule, (memory, minutes) in first.items():
        assert third[rule] == (pytest.approx(2.25 * memory, abs=1.5), pytest.approx(2.25 * minutes, abs=1.5)), rule


@pytest.mark.parametrize(("accounting", "asks"), [(0, "sacct"), (1, "squeue"), (None, "squeue")])
def test_states_come_from_sacct_where_there_is_accounting(monkeypatch, tmp_path, accounting, asks):
    if accounting is not None:
        (tmp_path / "sacct").write_text(f"#!/bin/sh\nexit {accounting}\n")
        (tmp_path / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with (ROOT / "profiles/slurm/profile.yaml").open() as handle:
        profile = yte.process_yaml(handle, require_use_yte=True)
    assert profile["slurm-status-command"] == asks
