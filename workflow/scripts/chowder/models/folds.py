"""Folds of a cross-validation: patients together, classes and centres even, stable when slides come or go.

Within a stratum (label and centre) patients are put in an order that a seeded hash of their names gives, and that row
is cut into as many pieces as there are folds. So a slide more or less moves the cuts of its own stratum by one place:
at most ``folds - 1`` other patients change their fold. Fully independent hashes would move none, but leave the folds as
uneven as coin tosses; dealing in turn, or shuffling, moves a large share (docs/decisions/folds.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chowder import seeds
from chowder.files import UserError


@dataclass(frozen=True)
class Member:
    """What the folds need of a slide: its label (0, 1), its centre, and its patient (empty: a patient of its own)."""

    slide: str
    label: int
    center: str = ""
    patient: str = ""

    @property
    def unit(self) -> tuple[str, str]:
        """What stays together. The kind keeps a patient apart from a slide of the same name."""
        return ("patient", self.patient) if self.patient else ("slide", self.slide)


def assign(members: Sequence[Member], folds: int, seed: int) -> dict[str, int]:
    """Return the fold, 0 to ``folds`` - 1, of every slide.

    A patient counts as tumour when one of its slides does, and belongs to the centre of its first slide by name. Where
    a class has too few patients for its centres, so that a fold would lack it, its centres are not told apart.

    Raises
    ------
    UserError : a fold that lacks a class all the same, because there are fewer patients of it than folds.
    """
    units: dict[tuple[str, str], list[Member]] = {}
    for member in sorted(members, key=lambda member: member.slide):
        units.setdefault(member.unit, []).append(member)
    place: dict[tuple[str, str], int] = {}
    for label in (0, 1):
        mine = {unit: own for unit, own in units.items() if max(member.label for member in own) == label}
        centers = sorted({own[0].center for own in mine.values()})
        found: dict[tuple[str, str], int] = {}
        for turn, center in enumerate(centers):
            stratum = {unit: own for unit, own in mine.items() if own[0].center == center}
            # the rest of a division goes to another fold in each stratum
            found |= {unit: (cut + turn + label) % folds for unit, cut in _cut(stratum, folds, seed).items()}
        if len(centers) > 1 and len(set(found.values())) < folds:
            found = {unit: (cut + label) % folds for unit, cut in _cut(mine, folds, seed).items()}
        place |= found
    result = {member.slide: place[unit] for unit, own in units.items() for member in own}
    _check(members, result, folds)
    return result


def _cut(units: Mapping[tuple[str, str], Sequence[Member]], folds: int, seed: int) -> dict[tuple[str, str], int]:
    """Return the piece of each unit: all in the order of their hashes, cut into pieces of equally many slides."""
    total = sum(len(own) for own in units.values())
    before, pieces = 0, {}
    for unit in sorted(units, key=lambda unit: (seeds.seed_of(seed, "folds", *unit), unit)):
        size = len(units[unit])
        pieces[unit] = (2 * before + size) * folds // (2 * total)  # where the middle of the unit is
        before += size
    return pieces


def _check(members: Sequence[Member], place: Mapping[str, int], folds: int) -> None:
    for label, name in ((0, "normal"), (1, "tumour")):
        there = {place[member.slide] for member in members if member.label == label}
        if len(there) < folds:
            units = len({member.unit for member in members if member.label == label})
            raise UserError(
                f"{folds}-fold cross-validation needs {name} slides of {folds} patients, there are {units}, and a fold "
                "would have none: lower cv.folds, or add slides"
            )
