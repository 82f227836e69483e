"""Resampling by patient against plain versions; without patients nothing changes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from chowder.evaluation import comparisons, froc, lesion_sizes, measures, operating, reports, resampling, roc, tables
from chowder.evaluation import patients as by_patient
from chowder.evaluation.froc import SlideHits
from chowder.seeds import generator


def cohort(seed, patients=30, most=4, mixed=True):
    """Labels, scores and patients of slides; a patient's slides share part of their score."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(patients):
        ill, shift = rng.random() < 0.5, rng.normal()
        for _ in range(rng.integers(1, most + 1)):
            label = int(ill and (not mixed or rng.random() < 0.6))
            score = 1 / (1 + np.exp(-(label + shift + rng.normal())))
            rows.append((label, round(score, 2), number))
    rows = [rows[i] for i in rng.permutation(len(rows))]
    labels, scores, groups = map(np.array, zip(*rows, strict=True))
    return labels, scores, groups


def test_groups_are_patients_and_lone_slides():
    assert by_patient.groups_of(["a", "b", "c"], {}) is None
    assert by_patient.groups_of(["a", "b", "c"], {"a": "p", "b": "q", "c": ""}) is None
    assert by_patient.groups_of(["a", "b", "c", "p"], {"a": "p", "b": "", "c": "p"}).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("seed", range(5))
def test_patients_of_one_slide_each_change_nothing(seed):
    """Obuchowski's variance is then DeLong's, the covariance of two methods too."""
    labels, scores, _ = cohort(seed)
    alone = np.random.default_rng(seed).permutation(len(labels))
    assert roc.delong_variance(labels, scores, alone) == pytest.approx(roc.delong_variance(labels, scores), rel=1e-12)
    other = np.random.default_rng(seed + 9).random(len(labels))
    one = roc.delong_folds([(labels, scores, other, alone)])
    two = roc.delong_folds([(labels, scores, other)])
    assert (one.z, one.p, one.low) == pytest.approx((two.z, two.p, two.low), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_variance_by_patient_is_obuchowskis(seed):
    """A plain loop over patients, as in the paper."""
    labels, scores, groups = cohort(seed)
    x, y = scores[labels == 1], scores[labels == 0]
    psi = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
    theta, v10, v01 = psi.mean(), psi.mean(axis=1), psi.mean(axis=0)
    gx, gy = groups[labels == 1], groups[labels == 0]
    units = sorted(set(groups))
    s10 = s01 = s11 = 0.0
    for unit in units:
        a = v10[gx == unit].sum() - (gx == unit).sum() * theta
        b = v01[gy == unit].sum() - (gy == unit).sum() * theta
        s10, s01, s11 = s10 + a * a, s01 + b * b, s11 + a * b
    i10, i01, i = len(set(gx)), len(set(gy)), len(units)
    m, n = len(x), len(y)
    s10 *= i10 / ((i10 - 1) * m)
    s01 *= i01 / ((i01 - 1) * n)
    s11 *= i / (i - 1)
    assert roc.delong_variance(labels, scores, groups) == pytest.approx(s10 / m + s01 / n + 2 * s11 / (m * n))


def test_a_doubled_slide_of_one_patient_adds_nothing():
    labels, scores, groups = cohort(1, most=1, mixed=False)
    twice = np.r_[labels, labels], np.r_[scores, scores], np.r_[groups, groups]
    one = roc.delong_variance(labels, scores, groups)
    assert roc.delong_variance(*twice) == pytest.approx(one)
    assert roc.delong_variance(twice[0], twice[1]) < 0.6 * one
    again = by_patient.resampled_auc(*twice, 100, 3)
    assert again == pytest.approx(by_patient.resampled_auc(labels, scores, groups, 100, 3))


@pytest.mark.parametrize("seed", range(4))
def test_resamples_of_auc_are_those_of_repeated_patients(seed):
    """Each draw: the slides of the drawn patients one after the other, by scikit-learn."""
    labels, scores, groups = cohort(seed)
    values = by_patient.resampled_auc(labels, scores, groups, 40, seed)
    number = groups.max() + 1
    ill = [unit for unit in range(number) if labels[groups == unit].any()]
    well = [unit for unit in range(number) if not labels[groups == unit].any()]
    drawn = np.zeros((40, number), int)
    for what, units in ((1, ill), (0, well)):
        source = generator(seed, "auc bootstrap of patients", what, len(units))
        drawn[:, units] = source.multinomial(len(units), np.full(len(units), 1 / len(units)), size=40)
    plain = []
    for row in drawn:
        slides = [
            slide for unit, times in enumerate(row) for _ in range(times) for slide in np.flatnonzero(groups == unit)
        ]
        plain.append(roc_auc_score(labels[slides], scores[slides]))
    np.testing.assert_allclose(values, plain)


def test_the_interval_by_patient_is_wider():
    labels, scores, groups = cohort(2, patients=25, most=6, mixed=False)
    wide, narrow = roc.bootstrap_auc(labels, scores, 800, groups=groups), roc.bootstrap_auc(labels, scores, 800)
    assert wide.high - wide.low > 1.15 * (narrow.high - narrow.low)
    band, own = roc.roc_curve(labels, scores, 800, groups=groups), roc.roc_curve(labels, scores, 800)
    np.testing.assert_array_equal(band.tpr, own.tpr)
    assert (band.high - band.low).mean() > (own.high - own.low).mean()


def test_measures_of_use_give_a_patient_one_weight():
    """Each draw is scikit-learn's average precision and ROC with the draw's weights."""
    labels, scores, groups = cohort(4)
    n = 5
    rates = operating._Rates(labels, scores, n, 7, groups)
    shared = by_patient.exponential(groups, len(groups), n, 7, "operating patients", int(groups.max()))
    size = by_patient.mean_size(labels, groups)
    assert size == np.mean([labels[groups == unit].sum() for unit in set(groups[labels == 1])])
    prior = generator(7, "operating prior").standard_gamma(0.5, (n, 2)) * size
    precision, sensitivity = rates.average_precision(), rates.sensitivity_at(0.9)
    for draw in range(n):
        assert all(len(set(shared[draw][groups == unit])) == 1 for unit in groups)
        p, q = shared[draw][labels == 1], shared[draw][labels == 0]
        p_all = np.r_[prior[draw], p]
        weight = np.r_[p_all / p_all.sum() * len(p), q / q.sum() * len(q)]
        y, s = np.r_[np.ones(len(p_all)), np.zeros(len(q))], np.r_[2.0, -1.0, scores[labels == 1], scores[labels == 0]]
        assert precision[draw] == pytest.approx(average_precision_score(y, s, sample_weight=weight))
        fpr, tpr, _ = roc_curve(y, s, sample_weight=weight, drop_intermediate=False)
        assert sensitivity[draw] == pytest.approx(tpr[fpr <= 0.1].max())


def test_shares_of_lone_cases_are_those_of_jeffreys_and_of_clusters_wider():
    from scipy.stats import beta

    values = by_patient.shares(np.r_[np.ones(6), np.zeros(14)], np.ones(20), 40_000, 0, "x")
    assert np.quantile(values, [0.025, 0.975]) == pytest.approx(beta.ppf([0.025, 0.975], 6.5, 14.5), abs=0.01)
    clusters = by_patient.shares(
        np.r_[np.full(2, 3.0), np.zeros(5)], np.r_[np.full(2, 3.0), np.full(5, 14 / 5)], 4000, 0, "x"
    )
    assert clusters.std() > 1.4 * values.std()


# ---------------------------------------------------------------------------------------------------- lesions


def hits(seed, slides=12):
    rng = np.random.default_rng(seed)
    found = []
    for i in range(slides):
        lesions = rng.integers(0, 4)
        best = np.where(rng.random(lesions) < 0.7, rng.random(lesions), -np.inf)
        false = rng.random(rng.integers(0, 5))
        found.append(SlideHits(f"s{i:02d}", false, np.arange(1, lesions + 1), best))
    return found


def test_resamples_of_the_froc_give_a_patient_one_weight():
    """Whole weights: the curve of slides repeated as often as their patient was drawn."""
    slides = hits(0)
    for i, slide in enumerate(slides):
        slide.patient = f"p{i // 3}" if i < 9 else ""
    drawn = resampling.weights_of(slides, 50, 3)
    assert drawn.shape == (50, 12)
    for first in (0, 3, 6):
        assert (drawn[:, first : first + 3] == drawn[:, first : first + 1]).all()
    assert len({*drawn[0]}) == 6, "three patients, three slides on their own"
    assert resampling.units(slides) == len({s.patient or s.slide for s in slides if len(s.best)})
    times = np.repeat([[2, 0, 1, 1, 3, 1]], [3, 3, 3, 1, 1, 1], axis=1)
    repeated = [slide for slide, number in zip(slides, times[0], strict=True) for _ in range(number)]
    rates = np.array(froc.RATES)
    for mode in ("official", "corrected"):
        found = resampling.Resampler(slides, mode).curves(times, rates)[0]
        assert found == pytest.approx(list(froc.froc(repeated, mode).sens_at.values()))


def test_the_froc_without_patients_is_bitwise_as_before():
    slides = hits(1)
    before = resampling.weights(len(slides), 20, 3)
    np.testing.assert_array_equal(resampling.weights_of(slides, 20, 3), before)
    for slide in slides:
        slide.patient = f"p{slide.slide}"
    np.testing.assert_array_equal(resampling.weights_of(slides, 20, 3), before)


def test_lesion_sizes_draw_patients():
    rows = [
        {"slide": f"s{i}", "major_axis_um": "700", "itc": "0", "found_at_fps": "0.1" if i % 4 < 2 else ""}
        for i in range(24)
    ]
    patients = {f"s{i}": f"p{i % 4}" for i in range(24)}
    own, grouped = (lesion_sizes.by_size(rows, 4000, patients=one)[0] for one in ({}, patients))
    assert own["sensitivity"] == grouped["sensitivity"] == 0.5
    assert grouped["slides"] == 24
    assert grouped["high"] - grouped["low"] > 1.8 * (own["high"] - own["low"])


# ---------------------------------------------------------------------------------------------------- reports


def test_reports_take_patients_from_the_table(tmp_path):
    labels, scores, groups = cohort(5)
    names = [f"s{i:03d}" for i in range(len(labels))]
    lines = [f"{name},{y},test,p{g}" for name, y, g in zip(names, labels, groups, strict=True)]
    (tmp_path / "slides.csv").write_text("\n".join(["slide,label,split,patient", *lines]) + "\n")
    slides = tables.read_slides(tmp_path / "slides.csv")
    predictions = {"competition": {n: (int(y), float(s)) for n, y, s in zip(names, labels, scores, strict=True)}}
    settings = reports.Settings(bootstrap=300)
    report, _ = reports.auc_report(predictions, slides, settings)
    test = report["competition"]
    assert test["patients"] == len(set(groups))
    wanted = roc.bootstrap_auc(labels, scores, 300, 0, 0.95, by_patient.groups_of(names, tables.patients_of(slides)))
    assert (test["low"], test["high"]) == (wanted.low, wanted.high)
    other = {"competition": {n: (y, 1 - s) for n, (y, s) in predictions["competition"].items()}}
    entries = [
        comparisons.Entry("e", m, p, None, tables.patients_of(slides)) for m, p in (("a", predictions), ("b", other))
    ]
    loose = [comparisons.Entry("e", m, p) for m, p in (("a", predictions), ("b", other))]
    assert comparisons.compare(*entries, "auc_test")["p"] > comparisons.compare(*loose, "auc_test")["p"]
    first, _ = measures.measures(predictions, settings, tables.patients_of(slides))
    second, _ = measures.measures(predictions, settings)
    for key in ("auprc", "brier", "sensitivity_at_90"):
        assert first["competition"][key]["value"] == second["competition"][key]["value"]
        assert first["competition"][key]["low"] != second["competition"][key]["low"]


def test_the_scorer_takes_patients_from_the_table(tmp_path, monkeypatch):
    """The score is the same, the interval is not."""
    from chowder.data.annotations import Outline, write_asap
    from chowder.evaluation import command

    square = np.array([[0, 0], [1600, 0], [1600, 1600], [0, 1600]], float)
    rows = []
    (tmp_path / "det").mkdir()
    for i in range(12):
        write_asap(tmp_path / "xml" / f"s{i}.xml", [Outline("a", "Tumor", square + 3200)])
        (tmp_path / "det" / f"s{i}.csv").write_text(f"0.9,{4000 if i % 4 < 2 else 9000},4000\n0.{i % 7 + 1},100,100\n")
        rows.append(f"s{i},1,p{i % 4}")
    found = []
    for header, lines in (("slide,label,patient", rows), ("slide,label", [row.rpartition(",")[0] for row in rows])):
        (tmp_path / "slides.csv").write_text("\n".join([header, *lines]) + "\n")
        options = ["--detections", str(tmp_path / "det"), "--annotations", str(tmp_path / "xml"), "--slides"]
        command.main([*options, str(tmp_path / "slides.csv"), "--output", str(tmp_path / "s.json")])
        found.append(json.loads((tmp_path / "s.json").read_text())["corrected"])
    assert found[0]["score"] == found[1]["score"]
    assert found[0]["high"] - found[0]["low"] > 1.2 * (found[1]["high"] - found[1]["low"])
