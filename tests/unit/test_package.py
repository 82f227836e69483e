"""The library can be installed; its public names load when first used; importing it costs nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import chowder
from chowder.features import identity

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow" / "scripts"


def python(program: str, path: Path = SCRIPTS) -> str:
    """What ``program`` prints in a new process that finds the library in ``path``."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path)!r})\n{program}"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_the_library_is_fast_and_loads_nothing_heavy():
    program = """
import time
before, started = set(sys.modules), time.process_time()
import chowder
seconds = time.process_time() - started
print(seconds, *(set(sys.modules) - before))
"""
    seconds, *loaded = python(program).split()
    assert float(seconds) < 0.05
    assert "chowder" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"torch", "numpy", "pandas", "matplotlib", "sklearn"}


@pytest.mark.parametrize("name", sorted(set(chowder.__all__) - {"__version__"}))
def test_public_names_are_the_classes_of_their_modules(name):
    found = getattr(chowder, name)
    assert found.__name__ == name
    assert getattr(sys.modules[found.__module__], name) is found
    assert name in dir(chowder)


def test_a_name_that_does_not_exist_is_an_ordinary_error():
    with pytest.raises(ImportError, match="cannot import name 'Chowda'"):
        from chowder import Chowda  # noqa: F401
    with pytest.raises(AttributeError, match="module 'chowder' has no attribute 'froc_curve'"):
        chowder.froc_curve  # noqa: B018


def test_there_is_one_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == chowder.__version__
    assert f"## {chowder.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert identity.library_versions()["chowder"] == chowder.__version__


def test_dependencies_are_bounded_and_agree_with_the_lock():
    lock = re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / "envs" / "requirements.lock").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for requirement in map(Requirement, [*project["dependencies"], *extras["figure"], *extras["full"]]):
        assert {part.operator for part in requirement.specifier} == {">=", "<"}, requirement
        locked = [version for name, version in lock if name == requirement.name]
        assert locked, f"{requirement.name}: not in envs/requirements.lock"
        assert all(version in requirement.specifier for version in locked), f"{requirement}: the lock has {locked}"


@pytest.mark.slow
def test_pip_installs_the_library_in_editable_form(tmp_path):
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--prefix", str(tmp_path), "--editable", str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (site,) = tmp_path.rglob("site-packages")
    program = f"""
import importlib.metadata, json, site
site.addsitedir({str(site)!r})
from chowder import Bags, Chowder, MaxPool, MeanPool, Weldon
print(json.dumps([importlib.metadata.version("chowder"), sys.modules["chowder"].__file__]))
"""
    result = subprocess.run(
        [sys.executable, "-c", "import sys" + program], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [chowder.__version__, str(SCRIPTS / "chowder" / "__init__.py")]


def test_pre_commit_runs_the_linters_of_the_lock():
    lock = (ROOT / "envs" / "requirements.lock").read_text()
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    revisions = {repository["repo"].rpartition("/")[2]: repository["rev"] for repository in config["repos"]}
    for repository, package in (("ruff-pre-commit", "ruff"), ("snakefmt", "snakefmt")):
        assert f"\n{package}=={revisions[repository].removeprefix('v')} " in lock


def test_the_public_hosts_workflow_calls_the_common_script():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step] == [".ci/run"]
