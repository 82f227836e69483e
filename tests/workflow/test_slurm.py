"""profiles/slurm without a Slurm: how many jobs it sends, what they ask for, how it asks for their states.

tests/slurm/run.sh runs it for real.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter

import pytest
import yte

from workflow_clone import ROOT, TINY, clone, planned, snakemake

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
    for name, says in (("sinfo", "gpu:a100:4"), ("squeue", "")):  # without squeue or sacct the plugin does not start
        (tmp_path / name).write_text(f"#!/bin/sh\necho {says}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    plan = snakemake(fresh, "-n", *PROFILE, "--configfile", "config/camelyon16.yaml").stdout
    jobs, rules = sent(plan), planned(plan)
    assert rules["tissue"] == rules["tiles"] == 399 and rules["embed"] == 50, rules
    assert jobs["slides"] == 50, "one for each shard: its slides are on the disk together"
    assert jobs["method"] == rules["evaluate"] == 11 and jobs["figures"] == 1, jobs
    assert sum(jobs.values()) < 100, jobs
    assert plan.count("gpu=1") == rules["embed"] + rules["train"], "device: auto, and this Slurm has GPUs"
    assert f"are {sum(jobs.values())} Slurm jobs" in " ".join((ROOT / "docs/operations.md").read_text().split())


def test_each_further_try_asks_for_half_as_much_again(fresh):
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    rules = re.findall(r"^ *rule (\w+):\n((?:(?! *rule ).*\n)*)", text, re.M)
    first = {name: dict(re.findall(r"\b(mem_mb|runtime)=(.+),\n", body)) for name, body in rules if "shell:" in body}
    for rule, values in first.items():
        kinds = r"growing\(\d+( if SIMULATED else \d+)?\)|(training|split_bias|localise)_memory"
        grow = re.fullmatch(kinds, values["mem_mb"])
        assert grow and re.fullmatch(r"growing\(\d+\)", values["runtime"]), rule
    plan = snakemake(fresh, "-n", "--attempt", "3", *TINY).stdout
    found = re.findall(r"^(?:local)?rule (\w+):\n(?:.+\n)*? *resources: (.+)", plan, re.M)
    assert len({rule for rule, _ in found}) > 20
    for rule, resources in found:
        if rule != "everything":
            for key, value in first[rule].items():
                number = re.match(r"growing\((\d+)", value)  # others come from files that are not there yet
                asked = math.ceil(int(number[1]) * 2.25) if number else "<TBD>"
                assert f", {key}={asked}" in resources, (rule, resources)


@pytest.mark.parametrize(("accounting", "asks"), [(0, "sacct"), (1, "squeue"), (None, "squeue")])
def test_states_come_from_sacct_where_there_is_accounting(monkeypatch, tmp_path, accounting, asks):
    if accounting is not None:
        (tmp_path / "sacct").write_text(f"#!/bin/sh\nexit {accounting}\n")
        (tmp_path / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with (ROOT / "profiles/slurm/profile.yaml").open() as handle:
        profile = yte.process_yaml(handle, require_use_yte=True)
    assert profile["slurm-status-command"] == asks


def test_on_a_node_one_snakemake_runs_all_jobs_of_a_group_side_by_side(tmp_path, monkeypatch):
    """What the batch script of a Slurm job does, with a stand-in for srun that says how it was called."""
    (tmp_path / "srun").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nwhile [ "${{1#-}}" != "$1" ]; do shift; done\nexec "$@"\n'
    )
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    folder = clone(tmp_path / "clone")
    jobs = [f"simulate:slide={slide}" for slide in ("normal_001", "test_001", "tumor_001")]
    given = ("--executor", "slurm-jobstep", "--jobs", "1", "--mode", "remote", "--cores", "all", "--force", "--nolock")
    small = ("--config", "simulation={area_mm2: 0.2}")
    snakemake(folder, *given, "--allowed-rules", "simulate", *TINY, *small, "--target-jobs", *jobs)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 1 and calls[0].count("simulate:slide=") == 3, calls
    assert "--cpus-per-task=2" in calls[0], "two at a time: what Slurm gave"
    assert len(list(folder.glob("results/tiny/slides/*.tif"))) == 3
