"""The workflow used from elsewhere: as a module of a project, from a folder or from git, as snakedeploy sets it up."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from workflow_clone import clone, planned, snakemake

PROJECT = """\
from snakemake.utils import min_version

min_version("6.10.0")


configfile: "config/config.yaml"


# declare the workflow as a module
module chowder:
    snakefile:
        {snakefile}
    config:
        config


# use all rules from it
use rule * from chowder
"""  # the file that snakedeploy writes


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A git repository with the workflow at the tag v1, and something broken after it."""
    folder = clone(tmp_path_factory.mktemp("repository") / "chowder")
    git(folder, "init")
    git(folder, "add", "--all")
    git(folder, "commit", "-m", "first")
    git(folder, "tag", "v1")
    (folder / "workflow/Snakefile").write_text("this is no Snakefile\n")
    git(folder, "commit", "--all", "-m", "second")
    return folder


def project(folder: Path, workflow: Path, snakefile: str) -> Path:
    """What snakedeploy makes: config/ copied, a Snakefile that names the module, and nothing else."""
    shutil.copytree(workflow / "config", folder / "config")
    (folder / "workflow").mkdir()
    (folder / "workflow/Snakefile").write_text(PROJECT.format(snakefile=snakefile))
    return folder


def tiny_config(folder: Path, workflow: Path) -> None:
    """The user's edits of the copied config, and a slides table: those of the tiny run."""
    (folder / "tests/workflow").mkdir(parents=True)
    shutil.copy2(workflow / "tests/workflow/tiny.csv", folder / "tests/workflow/tiny.csv")
    config = yaml.safe_load((folder / "config/config.yaml").read_text())
    for key, value in yaml.safe_load((workflow / "tests/workflow/tiny.yaml").read_text()).items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))


def with_results(folder: Path, tiny: Path) -> None:
    """Lend the project the slides, features and models of the clone's run, and what Snakemake knows of them."""
    shutil.copytree(tiny / "results", folder / "results", copy_function=shutil.copy2)
    shutil.copytree(tiny / ".snakemake/metadata", folder / ".snakemake/metadata", copy_function=shutil.copy2)


def test_a_project_by_snakedeploy_runs_from_nothing_to_the_table(fresh, tmp_path):
    folder = project(tmp_path, fresh, f'"{fresh}/workflow/Snakefile"')
    tiny_config(folder, fresh)
    if not os.environ.get("CHOWDER_LONG"):  # two minutes
        assert planned(snakemake(folder, "-n").stdout)["train"] == 3
        snakemake(folder, "results/tiny/splits.json", "results/tiny/slides/test_001.tif", "--cores", "2")
        assert (folder / "results/tiny/slides/test_001.tif").is_file()
        return
    snakemake(folder, "--cores", "2")
    for name in ("benchmark.csv", "benchmark.html", "report.html"):
        assert (folder / "results/tiny" / name).stat().st_size > 0, name
    assert "Nothing to be done" in snakemake(folder, "-n").stdout
    assert {path.name for path in folder.iterdir()} == {"config", "workflow", "tests", "results", ".snakemake"}


def test_a_module_from_git_runs_at_its_tag(tiny, repository, tmp_path):
    """Features come from the clone's run: that they are taken as they are shows that the code has one fingerprint."""
    folder = project(tmp_path, tiny, f'"git+file://{repository}/workflow/Snakefile@v1"')
    tiny_config(folder, tiny)
    with_results(folder, tiny)
    jobs = planned(snakemake(folder, "-n", "--config", "baselines={c: 2.0}").stdout)
    assert jobs["train"] == 1
    assert not {"simulate", "tissue", "tiles", "embed"} & set(jobs)
    snakemake(folder, "--cores", "2", "--config", "baselines={c: 2.0}")
    assert (folder / "results/tiny/report.html").stat().st_mtime > (tiny / "results/tiny/report.html").stat().st_mtime
    assert "Nothing to be done" in snakemake(folder, "-n", "--config", "baselines={c: 2.0}").stdout
    checkouts = list((folder / ".snakemake/chowder").iterdir())
    assert len(checkouts) == 1, "one checkout, made once"


def test_a_module_from_github_is_found_in_snakemakes_own_copy_of_it(repository, tmp_path, monkeypatch):
    """No network: Snakemake keeps a bare clone of what it has fetched, and that is put in place here."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))  # Linux
    copy = cache / "snakemake/snakemake/source-cache/snakemake-git-cache/github.com/someone/chowder"
    copy.parent.mkdir(parents=True)
    git(tmp_path, "clone", "--bare", str(repository), str(copy))
    (tmp_path / "project").mkdir()
    source = 'github("someone/chowder", path="workflow/Snakefile", tag="v1")'
    folder = project(tmp_path / "project", repository, source)
    jobs = planned(snakemake(folder, "-n").stdout)
    assert jobs["train"] == 6
    assert jobs["report_html"] == 1


def test_rules_can_be_renamed_and_extended(fresh, tmp_path):
    (tmp_path / "Snakefile").write_text(
        f'configfile: "{fresh}/config/config.yaml"\n'
        f'module chowder:\n    snakefile: "{fresh}/workflow/Snakefile"\n    config: config\n'
        "use rule * from chowder as chowder_*\n"
        "rule mine:\n    input: rules.chowder_benchmark.input\n    default_target: True\n"
    )
    jobs = planned(snakemake(tmp_path, "-n").stdout)
    assert jobs["chowder_train"] == 6


def test_the_config_of_the_clone_is_one_file(fresh):
    assert os.readlink(fresh / "config.yaml") == "config/config.yaml"
