"""Measures of use against scikit-learn, closed forms and plain loops."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy.stats import beta, norm
from sklearn import calibration, metrics

import measure
from chowder.evaluation import lesion_sizes, measures, operating
from chowder.evaluation.reports import Settings
from chowder.files import UserError


def cohort(seed, positives=23, negatives=31, digits=2, shift=1.0):
    """Probabilities with many ties."""
    rng = np.random.default_rng(seed)
    labels = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
    scores = np.round(norm.cdf(rng.normal(shift * (labels - 0.5), 1)), digits)
    order = rng.permutation(len(labels))
    return labels[order], scores[order]


@pytest.mark.parametrize("seed", range(20))
def test_numbers_are_those_of_scikit_learn(seed):
    labels, scores = cohort(seed, digits=1 + seed % 3)
    wanted = metrics.average_precision_score(labels, scores)
    assert operating.average_precision(labels, scores, n=5).value == pytest.approx(wanted, abs=1e-12)
    wanted = metrics.brier_score_loss(labels, scores)
    assert operating.brier(labels, scores, n=5).value == pytest.approx(wanted, abs=1e-12)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    for specificity in (0.5, 0.9, 0.95, 1.0):
        wanted = tpr[fpr <= 1 - specificity + 1e-9].max()
        assert operating.sensitivity_at(labels, scores, specificity, n=5).value == pytest.approx(wanted, abs=1e-12)
    threshold = operating.choose_threshold(labels, scores)
    called = scores >= threshold
    found = {name: estimate.value for name, estimate in operating.at_threshold(labels, scores, threshold, 5).items()}
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, called), abs=1e-12)
    assert found["f1"] == pytest.approx(metrics.f1_score(labels, called), abs=1e-12)
    assert found["sensitivity"] == pytest.approx(metrics.recall_score(labels, called), abs=1e-12)
    others = [metrics.balanced_accuracy_score(labels, scores >= cut) for cut in np.linspace(-0.01, 1.01, 400)]
    assert found["balanced_accuracy"] == pytest.approx(max(others), abs=1e-12), "no threshold is better"
    rows = operating.reliability(labels, scores)
    observed, predicted = calibration.calibration_curve(labels, scores, n_bins=10, strategy="uniform")
    assert [row["observed"] for row in rows] == pytest.approx(observed)
    assert [row["predicted"] for row in rows] == pytest.approx(predicted)
    assert sum(row["slides"] for row in rows) == len(labels)


def test_exactly_the_specificity_is_enough():
    """1 - 0.9 is below 0.1 as a float: one false positive of ten must still be allowed."""
    labels, scores = np.r_[np.ones(4, int), np.zeros(10, int)], np.r_[0.9, 0.7, 0.5, 0.1, 0.8, np.zeros(9)]
    assert operating.sensitivity_at(labels, scores, 0.9, n=5).value == 1.0
    assert operating.sensitivity_at(labels, scores, 0.95, n=5).value == 0.25


def test_resamples_are_weighted_scores_of_scikit_learn():
    """Each draw equals scikit-learn's average precision with the draw's weights and two imagined positives."""
    labels, scores = cohort(3)
    positive, negative = operating._checked(labels, scores)
    n = 6
    rates = operating._Rates(labels, scores, n, seed=5)
    prior = operating.generator(5, "operating prior").standard_gamma(0.5, (n, 2))
    found = rates.average_precision()
    sens = rates.sensitivity_at(0.9)
    for draw in range(n):
        p, q = rates.weights[0][draw], rates.weights[1][draw]
        p_all = np.r_[prior[draw, 0], p, prior[draw, 1]]
        weight = np.r_[p_all / p_all.sum() * len(positive), q / q.sum() * len(negative)]
        y = np.r_[np.ones(len(p_all)), np.zeros(len(q))]
        s = np.r_[2.0, positive, -1.0, negative]
        assert found[draw] == pytest.approx(metrics.average_precision_score(y, s, sample_weight=weight))
        fpr, tpr, _ = metrics.roc_curve(y, s, sample_weight=weight, drop_intermediate=False)
        assert sens[draw] == pytest.approx(tpr[fpr <= 0.1].max())


@pytest.mark.parametrize("shift", [0.5, 5.0, 20.0])
def test_intervals_hold_the_estimate_and_have_a_width(shift):
    labels, scores = cohort(1, shift=shift)
    estimates = [operating.average_precision(labels, scores, 300), operating.sensitivity_at(labels, scores, 0.9, 300)]
    estimates += operating.at_threshold(labels, scores, 0.5, 300).values()
    for one in estimates:
        assert one.low <= one.value <= one.high
        assert one.high - one.low > 0.01
    assert operating.brier(labels, scores, 300).low < operating.brier(labels, scores, 300).high or shift > 6


def test_limits_at_a_fixed_threshold_are_jeffreys():
    labels = np.r_[np.ones(20, int), np.zeros(30, int)]
    scores = np.r_[np.full(15, 0.9), np.full(5, 0.1), np.full(3, 0.8), np.full(27, 0.2)]
    found = operating.at_threshold(labels, scores, 0.5, 40_000)
    assert (found["sensitivity"].low, found["sensitivity"].high) == pytest.approx(
        beta.ppf([0.025, 0.975], 15.5, 5.5), abs=0.01
    )
    assert (found["specificity"].low, found["specificity"].high) == pytest.approx(
        beta.ppf([0.025, 0.975], 27.5, 3.5), abs=0.01
    )


@pytest.mark.slow
def test_intervals_cover():
    """Average precision, sensitivity at 90 % and Brier of 49 and 80 slides; truth from a very large cohort."""
    labels, scores = cohort(0, 200_000, 326_531, digits=9, shift=1.5)
    functions = {
        "ap": lambda y, s, n: operating.average_precision(y, s, n),
        "at90": lambda y, s, n: operating.sensitivity_at(y, s, 0.9, n),
        "brier": lambda y, s, n: operating.brier(y, s, n),
    }
    truth = {name: function(labels, scores, 1).value for name, function in functions.items()}
    held = dict.fromkeys(functions, 0)
    for seed in range(200):
        y, s = cohort(seed + 1, 49, 80, digits=9, shift=1.5)
        for name, function in functions.items():
            one = function(y, s, 300)
            held[name] += one.low <= truth[name] <= one.high
    assert all(0.90 <= number / 200 <= 0.995 for number in held.values()), held


@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([1, 1], [0.1, 0.2], "both classes"),
        ([0, 1], [0.1, 1.2], "no probability"),
        ([0, 1], [0.1, np.nan], "no probability"),
        ([0, 2], [0.1, 0.2], "0 or 1"),
        ([0, 1], [0.1], "one label and one score"),
    ],
)
def test_bad_input_is_named(labels, scores, words):
    with pytest.raises(UserError, match=words):
        operating.average_precision(np.array(labels), np.array(scores))


# ---------------------------------------------------------------------------------------------------- the threshold


def predictions(seed=0):
    labels, scores = cohort(seed)
    names = [f"s{i:03d}" for i in range(len(labels))]
    rows = {name: (int(y), float(s)) for name, y, s in zip(names, labels, scores, strict=True)}
    test = dict(list(rows.items())[:20])
    own = dict(list(rows.items())[20:])
    return test, own


def test_the_threshold_knows_no_test_slide():
    """With folds over all slides only those that are not in the test set choose it, and the report says so."""
    test, own = predictions()
    other = {name: (1 - y, 1 - s) for name, (y, s) in test.items()}
    settings = Settings(bootstrap=50)
    found = []
    for folds in ({"cv1": own}, {"cv1": own | test}, {"cv1": own | other}):
        content, _ = measures.measures({"competition": test, **folds}, settings)
        found.append(content["threshold"])
    assert {one["value"] for one in found} == {operating.choose_threshold(*measures._arrays(own))}
    assert [one["models_saw_test"] for one in found] == [False, True, True]
    assert found[0]["slides"] == len(own)
    without, _ = measures.measures({"competition": test}, settings)
    assert without["threshold"]["value"] is None
    assert "balanced_accuracy" not in without["competition"]
    only, bins = measures.measures({"cv1": own}, settings)
    assert only["competition"] is None
    assert not bins
    assert only["cv"]["auprc_mean"] == pytest.approx(metrics.average_precision_score(*measures._arrays(own)))


# ---------------------------------------------------------------------------------------------------- lesions by size


def lesion(slide, axis, fps, itc=0):
    return {
        "slide": slide,
        "major_axis_um": str(axis),
        "itc": str(itc),
        "found_at_fps": "" if fps is None else str(fps),
    }


def test_lesions_are_counted_by_size_and_rate():
    rows = [
        lesion("a", 300, 0.25),
        lesion("a", 499.9, None),
        lesion("b", 500, 0.5),
        lesion("b", 1999, 9.0),
        lesion("b", 4000, 0.0),
        lesion("b", 100, 0.0, itc=1),
    ]
    found = {(row["fps"], row["from_um"]): row for row in lesion_sizes.by_size(rows, 50)}
    plain = {}
    for fps in (0.25, 0.5, 1, 2, 4, 8):
        for low, high in ((0, 500), (500, 1000), (1000, 2000), (2000, 1e9)):
            mine = [r for r in rows if low <= float(r["major_axis_um"]) < high and r["itc"] == "0"]
            if mine:
                hit = sum(r["found_at_fps"] != "" and float(r["found_at_fps"]) <= fps for r in mine)
                plain[fps, low] = (len(mine), hit)
    assert {key: (row["lesions"], row["found"]) for key, row in found.items()} == plain
    assert found[0.25, 0]["sensitivity"] == 0.5
    assert found[0.25, 0]["slides"] == 1
    assert lesion_sizes.by_size([]) == []


@pytest.mark.parametrize(("hits", "total"), [(7, 20), (0, 12), (12, 12)])
def test_intervals_of_lone_lesions_are_jeffreys(hits, total):
    rows = [lesion(f"s{i}", 700, 1.0 if i < hits else None) for i in range(total)]
    row = next(row for row in lesion_sizes.by_size(rows, 40_000) if row["fps"] == 1)
    low, high = beta.ppf([0.025, 0.975], hits + 0.5, total - hits + 0.5)
    assert row["low"] == pytest.approx(0 if hits == 0 else low, abs=0.012)
    assert row["high"] == pytest.approx(1 if hits == total else high, abs=0.012)


def test_lesions_of_a_slide_stay_together():
    """Ten lesions on one slide say less than ten on ten slides."""

    def width(slides):
        rows = [lesion(f"s{i % slides}", 700, 1.0 if i % slides % 2 else None) for i in range(20)]
        row = next(row for row in lesion_sizes.by_size(rows, 4000) if row["fps"] == 1)
        return row["high"] - row["low"]

    assert width(4) > 1.5 * width(20)


def test_a_table_without_its_columns_is_named():
    with pytest.raises(UserError, match=r"x\.csv: no column 'itc'"):
        lesion_sizes.by_size([{"slide": "a"}], where="x.csv")
    with pytest.raises(UserError, match=r"x\.csv, line 2: could not convert"):
        lesion_sizes.by_size([lesion("a", "wide", 1)], where="x.csv")


# ---------------------------------------------------------------------------------------------------- the program


def test_the_program_writes_three_files(tmp_path):
    test, own = predictions()
    for name, rows in (("competition", test), ("cv1", own)):
        lines = [f"{slide},{y},{s},{s}" for slide, (y, s) in rows.items()]
        (tmp_path / f"{name}.csv").write_text("\n".join(["slide,label,probability,member_1", *lines]) + "\n")
    (tmp_path / "lesions.csv").write_text("slide,major_axis_um,itc,found_at_fps\na,700,0,0.5\n")
    (tmp_path / "slides.csv").write_text("slide,label\na,1\n")
    options = ["--method", "chowder_r5", "--slides", str(tmp_path / "slides.csv")]
    options += ["--lesions", str(tmp_path / "lesions.csv"), "--predictions"]
    options += [f"{name}={tmp_path / name}.csv" for name in ("competition", "cv1")]
    options += ["--settings", '{"bootstrap": 100}', "--output", str(tmp_path / "m.json")]
    options += ["--reliability", str(tmp_path / "r.csv"), "--sizes", str(tmp_path / "s.csv")]
    measure.main(options)
    first = (tmp_path / "m.json").read_text()
    content = json.loads(first)
    assert content["competition"]["slides"] == 20
    assert set(content["competition"]["f1"]) == {"value", "low", "high"}
    with (tmp_path / "s.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["found"] for row in rows] == ["0", "1", "1", "1", "1", "1"]
    measure.main(options)
    assert (tmp_path / "m.json").read_text() == first
