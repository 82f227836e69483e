"""A run as a Workflow Run RO-Crate: workflow, config, slides table and results in one zip, described as JSON-LD.

Source: Workflow Run Crate 0.5 (https://w3id.org/ro/wfrun/workflow/0.5) on RO-Crate 1.1, written with ro-crate-py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

PROFILES = (
    "https://w3id.org/ro/wfrun/process/0.5",
    "https://w3id.org/ro/wfrun/workflow/0.5",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
)
LOCK = "envs/requirements.lock"
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
MEDIA = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".tex": "application/x-tex",
}


def moment(seconds: float) -> str:
    """A time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def media_type(path: Path) -> str:
    return MEDIA.get(path.suffix, "application/octet-stream")


def write(
    output: Path,
    *,
    workflow: Path,
    config: Mapping[str, Any],
    results: Path,
    slides: Path,
    made: Iterable[Path],
    simulated: bool,
    version: str,
    snakemake: str,
) -> None:
    """Write the crate of a run.

    Parameters
    ----------
    output : the zip.
    workflow : folder with Snakefile, workflow/, config/, profiles/ and envs/requirements.lock. The checkout of a module
        has neither Snakefile nor lock: the workflow is workflow/Snakefile then.
    config : the config of the run, as merged from all files.
    results : results/<dataset>; what is in ``made`` keeps its place below it.
    slides : the slides table that the run read.
    made : files that the run made, below ``results``. The latest change among them is the run's end; the slides
        table, which is made first, is its start.
    """
    made = sorted(made)
    dataset = str(config["dataset"])
    kind = "simulated slides: no number says how good a method is" if simulated else "slides"
    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append(TERMS)
    crate.name = f"CHOWDER benchmark workflow, run {dataset}"
    crate.description = f"Table and figures of the run {dataset} on {kind}, with the workflow that made them."
    crate.license = crate.add(
        ContextEntity(
            crate,
            "https://spdx.org/licenses/MIT",
            {"@type": "CreativeWork", "name": "MIT License", "url": "https://spdx.org/licenses/MIT"},
        )
    )
    crate.root_dataset["conformsTo"] = [
        crate.add(
            ContextEntity(crate, name, {"@type": "CreativeWork", "name": title, "version": name.rpartition("/")[2]})
        )
        for name, title in zip(PROFILES, ("Process Run Crate", "Workflow Run Crate", "Workflow RO-Crate"), strict=True)
    ]
    entry = "Snakefile" if (workflow / "Snakefile").is_file() else "workflow/Snakefile"
    main = crate.add_workflow(
        workflow / entry,
        entry,
        main=True,
        lang="snakemake",
        lang_version=snakemake,
        properties={
            "name": "CHOWDER benchmark workflow",
            "version": version,
            "license": crate.license,
            "encodingFormat": "text/plain",
            **({"softwareRequirements": {"@id": LOCK}} if (workflow / LOCK).is_file() else {}),
        },
    )
    crate.root_dataset["author"] = crate.add(
        ContextEntity(crate, "#authors", {"@type": "Organization", "name": "The authors of this repository"})
    )
    if (workflow / "README.md").is_file():
        about = {"name": "README", "encodingFormat": "text/markdown", "about": {"@id": "./"}}
        crate.add_file(workflow / "README.md", "README.md", properties=about)
    parts = []
    for path in code(workflow):
        place = path.relative_to(workflow).as_posix()
        if place == entry:
            continue
        parts.append(crate.add_file(path, place, properties={"name": place, "encodingFormat": "text/plain"}))
    main["hasPart"] = parts
    whole = output.with_name(f".{output.name}.config.json")
    whole.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    given = [
        crate.add_file(whole, "config.json", properties=_file("config of the run", Path("config.json"))),
        crate.add_file(slides, "slides.csv", properties=_file("slides table", slides)),
    ]
    main["input"] = [_parameter(crate, one, name) for one, name in zip(given, ("config", "slides"), strict=True)]
    found = []
    for path in made:
        place = (Path("results") / path.relative_to(results)).as_posix()
        found.append(crate.add_file(path, place, properties=_file(place, path)))
    table = next((one for one in found if one.id.endswith("results/benchmark.csv")), found[0])
    main["output"] = _parameter(crate, table, "benchmark")
    crate.add_action(
        main,
        identifier="#run",
        object=given,
        result=found,
        properties={
            "name": f"Run {dataset}",
            "description": "The table and figures, made by the workflow from its config and slides table.",
            "startTime": moment(slides.stat().st_mtime),
            "endTime": moment(max(path.stat().st_mtime for path in made)),
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
    )
    crate.root_dataset["mentions"] = crate.get("#run")
    try:
        crate.write_zip(output)
    finally:
        whole.unlink()


def code(workflow: Path) -> list[Path]:
    """The files of the workflow that a run is made with: rules, programs, library, configs, profiles, lock."""
    found = [workflow / LOCK]
    for folder in ("workflow", "config", "profiles"):
        found += [path for path in (workflow / folder).rglob("*") if path.is_file()]
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


def _file(name: str, path: Path) -> dict[str, Any]:
    return {"name": name, "encodingFormat": media_type(path)}


def _parameter(crate: ROCrate, file: Any, name: str) -> Any:
    kind = {"encodingFormat": file["encodingFormat"]}
    parameter = crate.add_formal_parameter(name, "File", identifier=f"#{name}", properties=kind)
    file["exampleOfWork"] = parameter
    return parameter
