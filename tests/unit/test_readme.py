"""Every command of README.md names files, targets and options that exist, and is run by a test or said not to be."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
RULES = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("workflow/rules/*.smk"))
RULES += (ROOT / "workflow/Snakefile").read_text(encoding="utf-8") + (ROOT / "Snakefile").read_text(encoding="utf-8")
# What runs each command. "plans": a dry run, because the run itself needs a network or a cluster; README says so.
RUN_BY = {
    "make demo": "by hand before each release; its rules by tests/workflow on the tiny configuration",
    "make test": "itself",
    "snakemake --cores all": "tests/workflow/conftest.py",
    "make init SLIDES=/data/slides LABELS=/data/labels.csv NAME=mine": "tests/unit/data/test_first_table.py",
    ".venv/bin/snakemake --cores all --configfile own/mine/config.yaml": "tests/workflow/test_workflow.py",
    ".venv/bin/snakemake viewer --cores all --configfile own/mine/config.yaml": "tests/unit/report/test_viewer.py",
    "snakemake --cores all --configfile config/camelyon16-mini.yaml": "plans: tests/workflow/test_workflow.py",
    "snakemake --cores all --configfile config/camelyon16.yaml": "plans: tests/workflow/test_workflow.py",
    "snakemake --cores all --configfile config/features.yaml --config "
    "'features={folder: /path/to/features, name: uni}' 'slides={table: slides.csv}'": "tests/workflow/test_workflow.py",
    "snakemake --cores all --configfile config/camelyon16.yaml config/camelyon16-modern.yaml": "plans: by hand",
    "snakemake --cores all --configfile config/own_slides.yaml --config 'slides={root: /path/to/slides}'": (
        "tests/workflow/test_workflow.py"
    ),
    "snakemake --workflow-profile profiles/slurm --configfile config/camelyon16.yaml": (
        "plans: tests/workflow/test_slurm.py"
    ),
    "pip install .": "tests/unit/evaluation/test_scorer.py",
    "camelyon-froc --help": "tests/unit/evaluation/test_scorer.py",
    "camelyon-froc --detections my_csvs --annotations xmls --slides slides.csv": "tests/unit/evaluation/test_scorer.py",
}
FIRST = ("make ", "snakemake ", ".venv/bin/snakemake ", "pip install .", "camelyon-froc ")


def commands() -> list[str]:
    """Commands in fenced blocks and in cells of tables."""
    blocks = [line for block in re.findall(r"```\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
    cells = [text for row in re.findall(r"^\|.*\|$", README, re.MULTILINE) for text in re.findall(r"`([^`]+)`", row)]
    inline = re.findall(r"`(snakemake --cores all)`", README)
    return [text for text in (*blocks, *cells, *inline) if text.startswith(FIRST)]


def test_every_command_is_run_by_something_and_none_is_listed_in_vain():
    assert set(commands()) == set(RUN_BY)
    for where in RUN_BY.values():
        for path in re.findall(r"tests/[\w/.]+\.py", where):
            assert (ROOT / path).is_file(), path


def test_commands_name_configs_profiles_and_targets_that_exist():
    for command in commands():
        for path in re.findall(r"(?:config|profiles)/[\w.-]+", command):
            assert (ROOT / path).exists(), f"{command}: {path}"
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", MAKEFILE, re.MULTILINE), command


def test_targets_that_it_lists_are_rules_and_links_lead_to_files():
    table = README.partition("## What you can ask for")[2].partition("\n## ")[0]
    targets = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert len(targets) > 8
    for target in targets:
        assert re.search(rf"^ *rule {target}:", RULES, re.MULTILINE), target
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / link).exists(), link


def test_what_needs_a_network_is_marked_as_not_run():
    assert "Those on Camelyon-16 need the network and were not run" in " ".join(README.split())
