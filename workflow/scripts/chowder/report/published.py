"""Numbers that others published, from config/published.csv. They stand beside ours and are never mixed with ours.

The paper's own (Courtiol et al., arXiv 1802.02212) have columns in the table and markers in two figures; those of
others are sentences under the table, where they fit one of its rows. Each carries its status: ``confirmed`` was read
in the source that is named, ``remembered`` was written down from memory or at second hand. Standard library only: the
Snakefile reads the file while it is parsed.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from chowder.files import UserError
from chowder.report import paper

PAPER = "arXiv 1802.02212"  # how the source of its numbers begins
CONTEXT = "Camelyon-16, ResNet-50"  # of the paper's numbers
STATUSES = ("confirmed", "remembered")
SPLITS = ("cv", "test", "random")
METRICS = {
    "auc": "AUC",
    "froc": "FROC",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "split_bias": "AUC of telling test from training slides",
}
#: column of benchmark.csv: (split, metric) of the paper's number in it.
COLUMNS = {"paper_auc_cv": ("cv", "auc"), "paper_auc_test": ("test", "auc"), "paper_froc": ("test", "froc")}
#: Sampling error on 49 tumour and 80 normal slides: 95 % interval of an AUC of 0.858, and what follows from it.
SAMPLING = {"auc": 0.858, "low": 0.79, "high": 0.93, "positives": 49, "negatives": 80, "no_difference": 0.07}


@dataclass(frozen=True)
class Number:
    """One published number: a row of the file.

    ``encoder`` is empty where the source's is not recorded; ``ensemble`` is None where it is not one or not known.
    """

    method: str
    encoder: str
    ensemble: int | None
    dataset: str
    split: str
    metric: str
    value: float
    status: str
    source: str
    note: str

    @property
    def of_paper(self) -> bool:
        """Whether the paper that this workflow reproduces is the source."""
        return self.source.startswith(PAPER)


HEADER = tuple(field.name for field in fields(Number))
NEEDED = ("method", "dataset", "split", "metric", "value", "status", "source")


def read(path: str | os.PathLike) -> list[Number]:
    """Read published numbers, in the order of the file.

    Errors: :class:`UserError` with file and line for a column that is missing, unknown or there twice, an empty cell
    that is needed, a word that is not known, a value that is no number from 0 to 1, and a number given twice.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle, strict=True)
            columns, rows = reader.fieldnames or [], [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: take it from the repository") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV in UTF-8 ({error}): save it again") from None
    for wrong, what in (
        ([name for name in HEADER if name not in columns], "is missing: add it"),
        ([name for name in columns if name not in HEADER], f"is not known: use {', '.join(HEADER)}"),
        ([name for name in columns if columns.count(name) > 1], "is there twice: keep one"),
    ):
        if wrong:
            raise UserError(f"{path}: column {wrong[0]!r} {what}")
    found: dict[tuple, int] = {}
    numbers = []
    for line, row in rows:
        number = _number(f"{path}: line {line}", row)
        what = (*astuple(number)[:6], number.source)
        if what in found:
            raise UserError(f"{path}: line {line}: the number of line {found[what]} again: keep one")
        found[what] = line
        numbers.append(number)
    return numbers


def _number(where: str, row: Mapping[str | None, str | None]) -> Number:
    if None in row or None in row.values():
        raise UserError(f"{where}: does not have {len(HEADER)} cells: quote text with commas")
    cells = {name: (row[name] or "").strip() for name in HEADER}
    for name in NEEDED:
        if not cells[name]:
            raise UserError(f"{where}: {name} is empty: fill it in")
    for name, known in (("split", SPLITS), ("metric", METRICS), ("status", STATUSES)):
        if cells[name] not in known:
            raise UserError(f"{where}: {name} is {cells[name]!r}: use {', '.join(known)}")
    try:
        value = float(cells["value"])
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise UserError(f"{where}: value is {cells['value']!r}: give a number from 0 to 1")
    ensemble = cells["ensemble"]
    if ensemble and not re.fullmatch(r"[1-9]\d*", ensemble):
        raise UserError(f"{where}: ensemble is {ensemble!r}: give a whole number of at least 1, or nothing")
    return Number(**cells | {"value": value, "ensemble": int(ensemble) if ensemble else None})


def fingerprint(numbers: Iterable[Number]) -> str:
    """Return what decides a table or figure that shows ``numbers``: layout and order of other cells do not count."""
    return hashlib.sha256(json.dumps([astuple(number) for number in numbers]).encode()).hexdigest()


def of_paper(numbers: Iterable[Number], *metrics: str) -> list[Number]:
    """Return the paper's own numbers, of all metrics or of those named."""
    return [number for number in numbers if number.of_paper and (not metrics or number.metric in metrics)]


def with_r(numbers: Iterable[Number]) -> list[Number]:
    """Return the paper's AUC of methods that have an R, of the first ensemble size listed (Table 1)."""
    first = {}
    for number in of_paper(numbers, "auc"):
        if paper.parse(number.method).r:
            first.setdefault((number.method, number.split), number)
    return list(first.values())


def lookup(numbers: Iterable[Number], method: str, ensemble: int | None = None) -> dict[str, Number]:
    """Return the paper's numbers for a method, by column of benchmark.csv; a column without one is left out.

    ``ensemble`` chooses between rows that differ in it, for example Table 1 (E = 10) and the leaderboard row (E = 50).
    Where none has that size, the first row counts, so that a number known for one size is shown for every size.
    """
    if ensemble is not None and ensemble < 1:
        raise UserError(f"ensemble {ensemble}: an ensemble has at least one member; give 1 or more")
    base = _base(method)
    mine = [number for number in of_paper(numbers) if number.method == base]
    found = {}
    for column, what in COLUMNS.items():
        fitting = [number for number in mine if (number.split, number.metric) == what]
        exact = [number for number in fitting if number.ensemble == ensemble]
        if fitting:
            found[column] = (exact or fitting)[0]
    return found


def _base(method: str) -> str:
    return re.sub(r"_s\d+$", "", method)  # a repeat is the same method


def is_mixed(numbers: Iterable[Number]) -> bool:
    """Whether some are confirmed and some remembered; then those that are remembered carry a question mark."""
    return len({number.status for number in numbers}) > 1


def status(numbers: Iterable[Number]) -> str:
    """Return the status of the paper's numbers that are shown together, for a heading."""
    found = {number.status for number in numbers}
    if len(found) == 1:
        return {"remembered": "as remembered from the paper", "confirmed": "as printed in the paper"}[found.pop()]
    return "from the paper; ? as remembered" if found else "from the paper"


def heading(numbers: Iterable[Number]) -> str:
    """Return the heading of the paper's columns, with the status of ``numbers``, which are shown in them."""
    return f"{status(numbers)} ({CONTEXT})"


def label(numbers: Iterable[Number]) -> str:
    """Return the paper's entry in the legend of a figure that draws ``numbers``."""
    found = {number.status for number in numbers}
    tail = {("confirmed",): "", ("remembered",): ", as remembered"}.get(tuple(found), ", partly as remembered")
    return f"paper, Camelyon-16{tail}"


def remarks(
    numbers: Sequence[Number], shown: Sequence[Number], dataset: str, simulated: bool, encoders: Sequence[str]
) -> list[str]:
    """Return what must be said wherever the paper's numbers are shown beside ours, one sentence per item.

    ``numbers``: all; ``shown``: those in the table's columns.
    """
    lines = []
    if shown:
        what = {"confirmed": "checked against it", "remembered": "not yet checked against the PDF"}
        states = {number.status for number in shown}
        state = what[states.pop()] if len(states) == 1 else "those with ? not yet checked against the PDF"
        text = f"Paper columns: {heading(shown)}, {state}; Table 1 has E = 10."
        for froc in of_paper(numbers, "froc"):
            aucs = [n.value for n in of_paper(numbers, "auc") if (n.method, n.ensemble) == (froc.method, froc.ensemble)]
            about = [paper.parse(froc.method).label, *([f"E = {froc.ensemble}"] if froc.ensemble else [])]
            about += [f"AUC {aucs[0]:.4f}"] if aucs else []
            text += f" The paper's FROC {froc.value:.4f} is its {froc.source.removeprefix(f'{PAPER}, ')} "
            text += f"({', '.join(about)})."
        lines.append(text)
        unlike = [] if dataset.lower().replace("-", "") in ("camelyon16", "camelyon") else [f"dataset {dataset}"]
        unlike += ["simulated slides"] if simulated else []
        other = [name for name in encoders if name != "resnet50"]
        unlike += [f"encoder {', '.join(other)}"] if other else []
        if unlike:
            ours = "; ".join(unlike)
            lines.append(
                f"They are {CONTEXT} numbers, while ours are of {ours}: shown for orientation, not comparable."
            )
    lines.append(
        f"Sampling error at Camelyon-16's size ({SAMPLING['positives']} tumour and {SAMPLING['negatives']} normal test "
        f"slides): an AUC of {SAMPLING['auc']} has a 95 % interval of about {SAMPLING['low']} to {SAMPLING['high']}, "
        f"so a difference below {SAMPLING['no_difference']} is no difference."
    )
    return lines


def by_others(numbers: Iterable[Number], rows: Iterable[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Return sentences on numbers that others published, each with the rows (encoder, method) of a table that it fits.

    A number fits a row of its method and encoder; one whose encoder is not recorded fits every row of its method.
    """
    theirs = [number for number in numbers if not number.of_paper]
    groups: dict[tuple[str, str, str], tuple[list[Number], list[tuple[str, str]]]] = {}
    for row in rows:
        for number in theirs:
            if number.method == _base(row[1]) and number.encoder in ("", row[0]):
                group, fitting = groups.setdefault((number.method, number.encoder, number.dataset), ([], []))
                group += [] if number in group else [number]
                fitting += [] if row in fitting else [row]
    lines = {}
    for (method, encoder, dataset), (group, fitting) in groups.items():
        said = f"encoder {encoder}" if encoder else "encoder not recorded here"
        parts = []
        for number in group:
            about = "; ".join(part for part in (number.status, number.source, number.note) if part)
            parts.append(f"{METRICS[number.metric]}, {number.split}: {number.value:.3f} ({about})")
        what = f"{paper.parse(method).label}, {said}, {dataset}"
        lines[f"Published by others, not in any column: {what}: {'. '.join(parts)}."] = fitting
    return lines
