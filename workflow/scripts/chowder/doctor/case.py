"""What the doctor looks at, and the lines that say what it found."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from chowder.data import cohort
from chowder.features.encoders.networks import NETWORKS
from chowder.files import UserError

OK, WARNING, WRONG, SKIPPED = "ok", "warning", "wrong", "-"
SECONDS = 2.0  # for a server, or the driver, to answer
TILES = 8000  # of a real slide, about (the paper's mean)


@dataclasses.dataclass(frozen=True)
class Line:
    """What was looked at, ``state`` (:data:`OK`, ...), what was found, and what to do when that is not ok."""

    topic: str
    state: str
    found: str
    todo: str = ""


@dataclasses.dataclass
class Case:
    """What is looked at.

    ``home``: folder of the workflow (config/, envs/, workflow/); ``directory``: where Snakemake is started; ``config``:
    merged as Snakemake does it, checked by nobody; ``rows``: of the slides table, once it was read.
    """

    home: Path
    directory: Path
    config: dict[str, Any]
    rows: list[cohort.Slide] = dataclasses.field(default_factory=list)

    def at(self, path: str) -> Path:
        """A path of the config as seen from where Snakemake is started."""
        return self.directory / path


def wrong(topic: str, error: UserError) -> Line:
    """Return the line for an error of the form ``where: what: to do``."""
    text = str(error).removeprefix("config: ")
    if known := re.fullmatch(r"(.*): (known here: .*)", text):
        return Line(topic, WRONG, known[1], known[2])
    found, separator, todo = text.rpartition(": ")
    return Line(topic, WRONG, found if separator else todo, todo if separator else "")


def tiles_of(case: Case) -> int:
    """Tiles of a slide, about."""
    if case.config["slides"]["source"] != "simulated":
        return TILES
    edge = case.config["tiles"]["size"] * case.config["tiles"]["mpp"] / 1000
    return max(1, round(case.config["simulation"]["area_mm2"] / edge**2))


def dim_of(case: Case) -> int:
    """Length of the longest feature vector; that of a ResNet-50 where it is not known."""
    return max(NETWORKS[name].dim if name in NETWORKS else 2048 for name in case.config["encoders"])
