"""Paired tests between methods: against scikit-learn's AUC, a plain Holm, known truth and the program's files."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

import tests_table
from chowder.data.annotations import Outline, write_asap
from chowder.evaluation import comparisons, froc, lesions, reports, resampling, roc, tables
from chowder.files import UserError

SLIDES = [f"s{index:02d}" for index in range(40)]
LABELS = {slide: index % 2 for index, slide in enumerate(SLIDES)}
SPLITS = {"competition": SLIDES[:24], "cv1": SLIDES[::3], "cv2": SLIDES[1::3], "cv3": SLIDES[2::3]}


def predictions(gain: float, seed: int = 0) -> dict[str, dict[str, tuple[int, float]]]:
    """Scores that share their noise between methods; a larger gain separates the classes better."""
    noise = dict(zip(SLIDES, np.random.default_rng(99).normal(size=40), strict=True))
    own = dict(zip(SLIDES, np.random.default_rng(seed).normal(size=40), strict=True))
    score = {s: LABELS[s] * gain + noise[s] + 0.7 * own[s] for s in SLIDES}
    return {split: {s: (LABELS[s], score[s]) for s in names} for split, names in SPLITS.items()}


def hits(best: float, seed: int = 0) -> list[froc.SlideHits]:
    rng = np.random.default_rng(seed)
    found = []
    for index in range(24):
        lesions = np.where(rng.random(2) < best, rng.uniform(0.4, 1, 2), -np.inf) if index % 2 else np.zeros(0)
        found.append(froc.SlideHits(SLIDES[index], rng.uniform(0, 0.6, 4), np.arange(len(lesions)) + 1, lesions))
    return found


def entry(method: str, gain: float, best: float | None = 0.5, seed: int = 0, encoder: str = "e") -> comparisons.Entry:
    draws = None if best is None else resampling.paired_draws(hits(best, seed), 400, 1)
    return comparisons.Entry(encoder, method, predictions(gain, seed), draws)


FOUR = [entry("meanpool", 0.5, 0.3, 1), entry("maxpool", 1.2, 0.5, 2), entry("weldon_r1", 3.0, 0.9, 3)]
FOUR += [entry("chowder_r5", 2.8, 0.95, 4)]


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.5: times 4, 3, 2, 1 and never falling
    assert comparisons.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert comparisons.holm([0.6, 0.9]) == [1.0, 1.0]
    assert comparisons.holm([]) == []


@pytest.mark.parametrize("seed", range(20))
def test_holm_rejects_what_the_step_down_procedure_rejects(seed):
    rng = np.random.default_rng(seed)
    p = rng.random(int(rng.integers(1, 9))) ** 3
    corrected = np.array(comparisons.holm(p))
    for level in (0.01, 0.05, 0.2):
        rejected = np.zeros(len(p), bool)
        for rank, index in enumerate(np.argsort(p)):
            if p[index] > level / (len(p) - rank):
                break
            rejected[index] = True
        assert (corrected <= level).tolist() == rejected.tolist()


def test_every_method_is_tested_against_the_best_of_each_column():
    rows = comparisons.table(FOUR)
    values = {
        "auc_test": lambda one: roc_auc_score(*zip(*one.predictions["competition"].values(), strict=True)),
        "auc_cv": lambda one: np.mean(
            [roc_auc_score(*zip(*one.predictions[f"cv{k}"].values(), strict=True)) for k in (1, 2, 3)]
        ),
        "froc": lambda one: froc.froc(hits({"meanpool": 0.3, "maxpool": 0.5, "weldon_r1": 0.9, "chowder_r5": 0.95}[
            one.method], FOUR.index(one) + 1)).score,
    }  # fmt: skip
    for column, value in values.items():
        known = {one.method: value(one) for one in FOUR}
        best = max(known, key=known.get)
        part = [row for row in rows if row["column"] == column]
        assert {row["method"] for row in part} == set(known) - {best}
        assert {row["against"] for row in part} == {best}
        for row in part:
            assert row["difference"] == pytest.approx(known[row["method"]] - known[best], abs=1e-12)
            assert row["low"] <= row["difference"] <= row["high"]
            assert (row["high"] < 0) == (row["p"] < 0.05)
            assert row["test"] == comparisons.TESTS[column]
        assert [row["p_holm"] for row in part] == comparisons.holm([row["p"] for row in part])
    assert len({row["column"] for row in rows if row["p"] < 0.05}) > 1, "some differences are found"


def test_the_tests_are_those_of_the_library():
    row = next(r for r in comparisons.table(FOUR) if (r["column"], r["method"]) == ("auc_test", "meanpool"))
    against = next(one for one in FOUR if one.method == row["against"])
    names = SPLITS["competition"]
    scores = [[one.predictions["competition"][s][1] for s in names] for one in (FOUR[0], against)]
    assert row["p"] == pytest.approx(roc.delong_test([LABELS[s] for s in names], *scores).p)
    row = next(r for r in comparisons.table(FOUR) if (r["column"], r["method"]) == ("froc", "meanpool"))
    assert row["against"] == "weldon_r1"
    paired = resampling.paired_bootstrap(hits(0.3, 1), hits(0.9, 3), 400, 1)
    assert (row["p"], row["low"], row["high"]) == (paired.p, paired.low, paired.high)


def test_a_reference_is_a_second_opponent_and_a_pair_is_tested_once():
    rows = comparisons.table(FOUR, reference="meanpool")
    pairs = [(row["column"], frozenset((row["method"], row["against"]))) for row in rows]
    assert len(pairs) == len(set(pairs)) == 3 * (3 + 2)
    for column in comparisons.TESTS:
        part = [row for row in rows if row["column"] == column]
        assert [row["p_holm"] for row in part] == comparisons.holm([row["p"] for row in part])
    best = next(row["against"] for row in rows if row["column"] == "froc")
    alone = comparisons.table(FOUR, reference=best)
    assert [r for r in alone if r["column"] == "froc"] == [r for r in comparisons.table(FOUR) if r["column"] == "froc"]
    with pytest.raises(UserError, match=r"evaluation\.reference: 'weldon_r9' is not among the methods"):
        comparisons.table(FOUR, reference="weldon_r9")


def test_encoders_are_tested_apart_and_missing_columns_are_left_out():
    two = [entry("meanpool", 1, None, encoder=e) for e in "ab"] + [entry("maxpool", 2, None, 5, encoder="a")]
    rows = comparisons.table(two)
    assert {(row["encoder"], row["column"]) for row in rows} == {("a", "auc_test"), ("a", "auc_cv")}
    for one in two:
        del one.predictions["competition"]
        one.predictions["cv3"] = {"s00": (0, 0.5), "s02": (0, 0.1)}  # one class: no AUC in this fold
    rows = comparisons.table(two)
    assert [row["column"] for row in rows] == ["auc_cv"]


def test_predictions_of_other_slides_are_refused():
    other = entry("maxpool", 1)
    other.predictions["cv2"].pop("s01")
    with pytest.raises(UserError, match=r"meanpool .*cv2: not the same slides"):
        comparisons.table([entry("meanpool", 2), other])


def test_equal_methods_are_rarely_told_apart():
    """Type I error of the pooled test over folds, noise shared in part."""
    p = []
    for seed in range(150):
        one, two = (entry("meanpool", 1.0, None, 2 * seed + side) for side in (0, 1))
        for made in (one, two):
            del made.predictions["competition"]
        noise = np.random.default_rng(seed + 10_000).normal(size=40)
        for made in (one, two):
            for split, rows in made.predictions.items():
                made.predictions[split] = {s: (y, v + noise[SLIDES.index(s)]) for s, (y, v) in rows.items()}
        p.append(comparisons.compare(one, two, "auc_cv")["p"])
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.1
    assert stats.kstest(p, "uniform").statistic < 0.14


# ------------------------------------------------------------------------------------------------------- the program


@pytest.fixture
def files(tmp_path):
    """Predictions, detections and lesions of two methods on eight test slides, four of them with one lesion."""
    names = [f"t{index}" for index in range(8)]
    lines = [f"{name},{index % 2},test" for index, name in enumerate(names)]
    (tmp_path / "slides.csv").write_text("slide,label,split\n" + "\n".join(lines) + "\n")
    square = np.array([[0, 0], [1600, 0], [1600, 1600], [0, 1600]], dtype=float) + 3200
    (tmp_path / "lesions").mkdir()
    for index, name in enumerate(names):
        xml = tmp_path / f"{name}.xml"
        if index % 2:
            write_asap(xml, [Outline("lesion", "Tumor", square)])
        one = lesions.lesions_of(xml if index % 2 else None, 10_000, 10_000, 0.25, {})
        lesions.save(tmp_path / "lesions" / f"{name}.npz", one)
    for method, good in (("meanpool", 0), ("chowder_r5", 1)):
        for kind in ("predictions", "detections"):
            (tmp_path / kind / "timm:x" / method).mkdir(parents=True)
        rows = [f"{n},{i % 2},{(i % 2) * 0.5 * good + i * 0.01},0.5" for i, n in enumerate(names)]
        for split in ("competition", "cv1"):
            text = "slide,label,probability,member_1\n" + "\n".join(rows) + "\n"
            (tmp_path / "predictions" / "timm:x" / method / f"{split}.csv").write_text(text)
        for name in names:
            hit = "0.9,4000,4000\n" if good else "0.9,100,100\n"
            (tmp_path / "detections" / "timm:x" / method / f"{name}.csv").write_text(hit)
    return tmp_path


def run_tests(files, **more):
    options = ["--entries", "timm:x:meanpool", "timm:x:chowder_r5", "--splits", "competition", "cv1"]
    options += ["--slides", str(files / "slides.csv"), "--output", str(files / "tests.csv")]
    for kind in ("predictions", "detections", "lesions"):
        options += [f"--{kind}-dir", str(files / kind)]
    tests_table.main([*options, "--settings", json.dumps({"bootstrap": 300, "seed": 1} | more)])
    with (files / "tests.csv").open() as handle:
        return list(csv.DictReader(handle))


def test_the_program_tests_all_columns(files):
    rows = run_tests(files)
    assert tuple(rows[0]) == comparisons.COLUMNS
    assert [(row["column"], row["method"], row["against"]) for row in rows] == [
        (column, "meanpool", "chowder_r5") for column in ("auc_test", "auc_cv", "froc")
    ]
    assert {row["encoder"] for row in rows} == {"timm:x"}
    # meanpool ranks by number: 10 of the 16 pairs are right; chowder finds every lesion, and 4 of 8 hits are false
    assert float(rows[0]["difference"]) == pytest.approx(10 / 16 - 1)
    assert float(rows[2]["difference"]) == pytest.approx(-evaluation_score(files))
    assert all(0 < float(row["p"]) == float(row["p_holm"]) for row in rows)


def evaluation_score(files) -> float:
    """FROC of chowder_r5, by the report of `evaluate`: all lesions and all false positives score 0.9."""
    slides = tables.read_slides(files / "slides.csv")
    found = {name: files / "detections" / "timm:x" / "chowder_r5" / f"{name}.csv" for name in slides}
    lesions = {name: files / "lesions" / f"{name}.npz" for name in slides}
    report, _, _ = reports.froc_report(slides, found, lesions, reports.Settings(bootstrap=5))
    assert math.isfinite(report["official"]["score"]) and report["official"]["score"] > 0
    return report["official"]["score"]


def test_the_program_without_lesions_has_no_froc(files):
    for path in (files / "lesions").glob("*.npz"):
        path.unlink()
    assert [row["column"] for row in run_tests(files)] == ["auc_test", "auc_cv"]


def test_the_program_refuses_an_unknown_reference(files):
    with pytest.raises(UserError, match="reference"):
        run_tests(files, reference="maxpool")
    assert len(run_tests(files, reference="meanpool")) == 3
