"""The doctor's round: the config first, then all that depends on it and all that does not, at the same time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from chowder import preflight, settings
from chowder.data import cohort
from chowder.doctor import machine, material
from chowder.doctor.case import OK, SKIPPED, WARNING, WRONG, Case, Line, wrong
from chowder.files import UserError, reason
from chowder.models import names

LONGEST = 110  # characters of a line


def examine(case: Case) -> list[Line]:
    """Return what was found, a line or a few per topic; never raises for what is wrong with config or machine.

    Where the config is wrong, what depends on it is skipped.
    """
    lines = [*_tried("config", config, case)]
    usable = all(line.state != WRONG for line in lines)
    with ThreadPoolExecutor(8) as pool:
        made = []
        for topic, (look, needs_config) in LOOKS.items():
            if needs_config and not usable:
                made.append([Line(topic, SKIPPED, "not looked at: it depends on the config")])
            else:
                made.append(pool.submit(_tried, topic, look, case))
        for one in made:
            lines += one if isinstance(one, list) else one.result()
    return lines


def _tried(topic: str, look: Callable[[Case], Iterable[Line]], case: Case) -> list[Line]:
    try:
        return list(look(case))
    except UserError as error:
        return [wrong(topic, error)]
    except Exception as error:
        return [Line(topic, WARNING, f"could not be looked at ({type(error).__name__}: {reason(error)})")]


def shown(lines: Iterable[Line]) -> str:
    """Return the lines as one screen of text."""
    rows = []
    for line in lines:
        rows.append(f"{line.state:<8}{line.topic:<10}{line.found}")
        if line.todo and line.state != OK:
            rows.append(f"{'':<18}-> {line.todo}")
    return "\n".join(row if len(row) <= LONGEST else f"{row[: LONGEST - 3]}..." for row in rows)


def config(case: Case) -> Iterable[Line]:
    """Check config and slides table as the Snakefile does, and read the table."""
    values = copy.deepcopy(case.config)
    settings.check(values, case.home / "workflow" / "schemas" / "config.schema.yaml")
    case.config = values
    slides, ready = values["slides"], values["slides"]["source"] == "features"
    preflight.patterns(slides)
    preflight.paths(values)
    for name in values["methods"]:
        names.parse(name)
    if not ready:
        preflight.folders(values["encoders"])
        preflight.encoders(values["encoders"], values["embedding"]["weights"])
        preflight.models(values["encoders"], values["embedding"]["weights"])
    if slides["source"] == "table" and slides["root"] is None:
        raise UserError("config: slides.root is not set: give the folder of your slides")
    table = slides["table"].replace("{root}", slides["root"] or ".")
    path = case.at(table) if case.at(table).exists() else case.home / table
    root = case.at(slides["root"]) if slides["source"] == "table" else None
    case.rows = cohort.read(path, slides["image"], slides["annotation"], root)
    preflight.folds(values["cv"]["folds"], values["cv"]["over"], case.rows, values["cv"]["stratify"])
    what = f"{len(case.rows)} slides ({slides['source']}), {len(values['methods'])} methods"
    yield Line("config", OK, f"{values['dataset']}: {what}, {', '.join(values['encoders'][:3])}")


LOOKS: dict[str, tuple[Callable[[Case], Iterable[Line]], bool]] = {
    "python": (machine.python, False),
    "packages": (machine.packages, False),
    "cpu": (machine.processor, False),
    "cores": (machine.cores, True),
    "gpu": (machine.gpu, True),
    "disk": (machine.disk, True),
    "source": (material.source, True),
    "weights": (material.weights, True),
    "slides": (material.slides, True),
    "locks": (machine.locks, False),
}
