"""A run as RO-Crate: what the profile asks for is there, and the files are the run's."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

import crate as program
from chowder.report import crate as library

RESULTS = {"benchmark.csv": "method,auc\nmaxpool,0.5\n", "figures/curves.png": "not a picture", "index.html": "<p>"}


@pytest.fixture
def crate(tmp_path):
    for name in ("Snakefile", "README.md", "workflow/rules/common.smk", "envs/requirements.lock", "config/config.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "workflow/scripts/__pycache__").mkdir(parents=True)
    (tmp_path / "workflow/scripts/__pycache__/a.pyc").touch()
    results = tmp_path / "results" / "mini"
    for name, text in RESULTS.items():
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(text)
        os.utime(results / name, (1_700_000_100, 1_700_000_100))
    (results / "slides.csv").write_text("slide,label\na,1\n")
    os.utime(results / "slides.csv", (1_700_000_000, 1_700_000_000))
    made = [str(results / name) for name in RESULTS]
    arguments = ["--workflow", str(tmp_path), "--config", '{"dataset": "mini", "seed": 7}', "--results", str(results)]
    arguments += ["--slides", str(results / "slides.csv"), "--made", *made, "--simulated", "--version", "1.2"]
    program.main([*arguments, "--output", str(results / "crate.zip")])
    assert not list(results.glob(".*")), "scratch files are left"
    return zipfile.ZipFile(results / "crate.zip")


def test_the_zip_holds_what_its_metadata_names_and_nothing_else(crate):
    graph = {one["@id"]: one for one in json.loads(crate.read("ro-crate-metadata.json"))["@graph"]}
    named = {part["@id"] for part in graph["./"]["hasPart"]}
    assert named == set(crate.namelist()) - {"ro-crate-metadata.json"}
    assert {"Snakefile", "README.md", "workflow/rules/common.smk", "envs/requirements.lock"} < named
    assert not any("pycache" in name for name in named)
    for name, text in RESULTS.items():
        assert crate.read(f"results/{name}").decode() == text
    assert json.loads(crate.read("config.json")) == {"dataset": "mini", "seed": 7}


def test_the_run_is_an_action_of_the_main_workflow_with_inputs_outputs_and_times(crate):
    text = json.loads(crate.read("ro-crate-metadata.json"))
    graph = {one["@id"]: one for one in text["@graph"]}
    assert "https://w3id.org/ro/terms/workflow-run/context" in text["@context"]
    profiles = {one["@id"] for one in graph["./"]["conformsTo"]}
    assert {"https://w3id.org/ro/wfrun/workflow/0.5", "https://w3id.org/ro/wfrun/process/0.5"} < profiles
    assert graph["./"]["mainEntity"] == {"@id": "Snakefile"}
    assert graph["Snakefile"]["version"] == "1.2" and "simulated" in graph["./"]["description"]
    run = graph["#run"]
    assert run["@type"] == "CreateAction" and run["instrument"] == {"@id": "Snakefile"}
    assert {one["@id"] for one in run["object"]} == {"config.json", "slides.csv"}
    assert {one["@id"] for one in run["result"]} == {f"results/{name}" for name in RESULTS}
    assert (run["startTime"], run["endTime"]) == ("2023-11-14T22:13:20+00:00", "2023-11-14T22:15:00+00:00")
    inputs = {one["@id"] for one in graph["Snakefile"]["input"]}
    assert inputs == {"#config", "#slides"} and graph["config.json"]["exampleOfWork"] == {"@id": "#config"}


def test_a_modules_checkout_without_snakefile_and_lock_is_packed(tmp_path):
    for name in ("workflow/Snakefile", "workflow/rules/common.smk", "results/mini/benchmark.csv", "results/mini/s.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    results = tmp_path / "results" / "mini"
    arguments = ["--workflow", str(tmp_path), "--config", '{"dataset": "mini"}', "--results", str(results)]
    arguments += ["--slides", str(results / "s.csv"), "--made", str(results / "benchmark.csv"), "--version", "1"]
    program.main([*arguments, "--output", str(tmp_path / "crate.zip")])
    with zipfile.ZipFile(tmp_path / "crate.zip") as packed:
        graph = {one["@id"]: one for one in json.loads(packed.read("ro-crate-metadata.json"))["@graph"]}
        names = packed.namelist()
    assert graph["./"]["mainEntity"] == {"@id": "workflow/Snakefile"} and len(names) == len(set(names)) == 6
    assert "softwareRequirements" not in graph["workflow/Snakefile"]


def test_a_workflow_below_snakemakes_own_folder_is_packed_too(tmp_path):
    """A module from git is checked out below .snakemake."""
    made = tmp_path / ".snakemake" / "chowder" / "abc" / "workflow" / "rules" / "common.smk"
    made.parent.mkdir(parents=True)
    made.touch()
    assert library.code(tmp_path / ".snakemake" / "chowder" / "abc") == [made]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "text/csv"),
        ("a.html", "text/html"),
        ("a.json", "application/json"),
        ("a.md", "text/markdown"),
        ("a.png", "image/png"),
        ("a.svg", "image/svg+xml"),
        ("a.tex", "application/x-tex"),
        ("a.unheard", "application/octet-stream"),
    ],
)
def test_media_types(name, kind):
    assert library.media_type(Path(name)) == kind
