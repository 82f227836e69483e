"""Folds: patients together, classes and centres even, and hardly any slide moves when another comes or goes."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from chowder.data import cohort
from chowder.files import UserError
from chowder.models import splits
from chowder.models.folds import Member, assign

CAMELYON = Path(__file__).resolve().parents[3] / "config" / "camelyon16.csv"


@pytest.fixture(scope="module")
def camelyon():
    with CAMELYON.open() as handle:
        rows = list(csv.DictReader(handle))
    return [Member(row["slide"], cohort.LABELS[row["label"].lower()], row["center"]) for row in rows]


def counts(members, place, folds):
    """Slides of each (label, centre) in each fold."""
    tally = Counter((member.label, member.center, place[member.slide]) for member in members)
    strata = {(member.label, member.center) for member in members}
    return {stratum: [tally[(*stratum, fold)] for fold in range(folds)] for stratum in strata}


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
@pytest.mark.parametrize("seed", [0, 1802])
def test_every_label_and_centre_is_spread_evenly(camelyon, folds, seed):
    place = assign(camelyon, folds, seed)
    assert set(place) == {member.slide for member in camelyon}
    for stratum, numbers in counts(camelyon, place, folds).items():
        assert max(numbers) - min(numbers) <= 1, (stratum, numbers)
    for label in (0, 1):
        numbers = Counter(place[member.slide] for member in camelyon if member.label == label)
        assert max(numbers.values()) - min(numbers.values()) <= 2


def test_a_slide_less_or_more_moves_at_most_two_others(camelyon):
    """Two cuts between three folds; each moves by one place at most, in the slide's own stratum alone."""
    before = assign(camelyon, 3, 1802)
    moved = []
    for gone in camelyon:
        rest = [member for member in camelyon if member is not gone]
        after = assign(rest, 3, 1802)
        others = [member for member in rest if before[member.slide] != after[member.slide]]
        assert all((member.label, member.center) == (gone.label, gone.center) for member in others)
        moved.append(len(others))
    assert max(moved) <= 2
    assert np.mean(moved) < 1.1
    old = splits.splits(_rows(camelyon), stratify="label")
    new = splits.splits(_rows(camelyon[1:]), stratify="label")
    reshuffled = sum(len(set(new[f"cv{n}"]["test"]) - set(old[f"cv{n}"]["test"])) for n in (1, 2, 3))
    assert reshuffled > 50, "what the shuffled folds of earlier versions do"


def _rows(members):
    return [
        {"slide": m.slide, "label": str(m.label), "center": m.center, "patient": m.patient, "split": ""}
        for m in members
    ]


def test_the_order_of_the_rows_has_no_effect_and_the_seed_has(camelyon):
    assert assign(camelyon, 3, 1) == assign(camelyon[::-1], 3, 1)
    other = assign(camelyon, 3, 2)
    assert sum(fold != other[slide] for slide, fold in assign(camelyon, 3, 1).items()) > 150


def cohort_of_patients(seed, patients=40, centres=3):
    """One to five slides each; some patients have normal and tumour slides; every tenth slide is of nobody."""
    rng = np.random.default_rng(seed)
    members = []
    for number in range(patients):
        tumour, center = rng.random() < 0.5, f"c{rng.integers(centres)}"
        for _ in range(rng.integers(1, 6)):
            name = f"s{len(members):03d}"
            label = int(tumour and rng.random() < 0.6)
            members.append(Member(name, label, center, "" if rng.random() < 0.1 else f"p{number}"))
    return members


@pytest.mark.parametrize("seed", range(20))
def test_a_patient_is_never_on_both_sides(seed):
    """Against a plain loop over all pairs of slides."""
    members = cohort_of_patients(seed)
    got = splits.splits(_rows(members), folds=3, seed=seed)
    patient = {member.slide: member.patient for member in members}
    for number in (1, 2, 3):
        sides = got[f"cv{number}"]
        for a in sides["train"]:
            for b in sides["test"]:
                assert a != b
                assert not patient[a] or patient[a] != patient[b]
        assert sorted(sides["train"] + sides["test"]) == sorted(patient)
        assert {member.label for member in members if member.slide in sides["test"]} == {0, 1}
        assert len(sides["test"]) == pytest.approx(len(members) / 3, rel=0.35)
    assert sorted(slide for n in (1, 2, 3) for slide in got[f"cv{n}"]["test"]) == sorted(patient)


def test_a_patient_and_a_slide_of_one_name_are_two():
    members = [Member(f"a{i}", i % 2) for i in range(12)] + [Member("x", 0, "", "a1"), Member("y", 0, "", "a1")]
    place = assign(members, 2, 0)
    assert place["x"] == place["y"]
    assert {place[f"a{i}"] for i in range(12)} == {0, 1}


def test_centres_that_are_too_small_are_not_told_apart():
    """Tumour slides: two of centre A and one of B; apart they would leave a fold without any."""
    members = [Member(f"n{i}", 0, "AB"[i % 2]) for i in range(9)]
    members += [Member("t1", 1, "A"), Member("t2", 1, "A"), Member("t3", 1, "B")]
    for seed in range(20):
        place = assign(members, 3, seed)
        assert {place[f"t{i}"] for i in (1, 2, 3)} == {0, 1, 2}


def test_too_few_patients_are_named():
    members = [Member(f"n{i}", 0) for i in range(9)] + [Member(f"t{i}", 1, "", "p" if i else "q") for i in range(5)]
    with pytest.raises(UserError, match="tumour slides of 3 patients, there are 2"):
        assign(members, 3, 0)
    with pytest.raises(UserError, match="use label_center"):
        splits.splits(_rows(members), folds=2, stratify="label")
    with pytest.raises(UserError, match="stratify is 'centre'"):
        splits.splits(_rows(members), folds=2, stratify="centre")


def test_label_alone_is_as_in_earlier_versions():
    """Written down from the version before: slides of the first fold."""
    rows = [{"slide": f"s{i:02d}", "label": str(int(i >= 12)), "split": ""} for i in range(20)]
    got = splits.splits(rows, folds=3, seed=1, stratify="label")
    assert got["cv1"]["test"] == ["s01", "s03", "s09", "s11", "s12", "s13", "s16"]
