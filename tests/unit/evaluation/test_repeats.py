"""Means over repeats against plain loops: spread over repeats, interval over slides."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import repeats_table
from chowder.evaluation import froc, repeats, resampling, roc
from chowder.evaluation.froc import SlideHits
from chowder.evaluation.reports import Settings
from chowder.files import UserError
from chowder.seeds import generator

SETTINGS = Settings(bootstrap=200, seed=3)


def predictions(seed, n=30, number=4, shift=1.0, names="s"):
    """Predictions of ``number`` repeats: the slides' own part of the score is shared."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    own = rng.normal(shift * labels, 1)
    found = []
    for _ in range(number):
        scores = 1 / (1 + np.exp(-(own + rng.normal(0, 0.5, n))))
        found.append(
            {f"{names}{i:02d}": (int(y), float(s)) for i, (y, s) in enumerate(zip(labels, scores, strict=True))}
        )
    return found


def arrays(rows):
    return np.array([rows[name][0] for name in sorted(rows)]), np.array([rows[name][1] for name in sorted(rows)])


def test_the_mean_auc_and_its_two_spreads_are_those_of_a_plain_loop():
    """Each draw of slides serves for all repeats; scikit-learn's AUC of the drawn slides."""
    runs = predictions(0)
    found = repeats.mean_auc(runs, SETTINGS, {})
    values = [roc_auc_score(*arrays(rows)) for rows in runs]
    assert found.mean == pytest.approx(np.mean(values))
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    labels, _ = arrays(runs[0])
    drawn = {}
    for what in (1, 0):
        size = int((labels == what).sum())
        source = generator(3, "auc bootstrap of patients", what, size)
        drawn[what] = source.multinomial(size, np.full(size, 1 / size), size=200)
    means = []
    for row in range(200):
        chosen = np.concatenate([np.repeat(np.flatnonzero(labels == what), drawn[what][row]) for what in (1, 0)])
        means.append(np.mean([roc_auc_score(labels[chosen], arrays(rows)[1][chosen]) for rows in runs]))
    tail = roc.expanded_tail(0.95, 15)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [tail, 1 - tail])))


def test_repeats_that_are_the_same_have_the_interval_of_one():
    (rows,) = predictions(1, number=1)
    one, three = repeats.mean_auc([rows], SETTINGS, {}), repeats.mean_auc([rows] * 3, SETTINGS, {})
    assert (three.mean, three.low, three.high) == pytest.approx((one.mean, one.low, one.high))
    assert three.sd == pytest.approx(0)
    assert np.isnan(one.sd)
    near = repeats.mean_auc([predictions(2, shift=4.0, number=1)[0]], SETTINGS, {})
    labels, scores = arrays(predictions(2, shift=4.0, number=1)[0])
    assert near.mean > roc.ONE_SIDED
    assert (near.low, near.high) == pytest.approx(roc.delong_interval(labels, scores))
    sure = repeats.mean_auc(predictions(2, shift=40.0), SETTINGS, {})
    assert (sure.mean, sure.high) == (1.0, 1.0)
    assert sure.low == pytest.approx(0.025 ** (1 / 15))


def test_the_cross_validated_mean_has_the_variance_of_averaged_components():
    """Plain loops over pairs of slides; variances of folds add up."""
    folds = [predictions(seed, names=f"f{seed}_") for seed in (5, 6, 7)]
    found = repeats.mean_cv(folds, SETTINGS, {})
    values = np.array([[roc_auc_score(*arrays(rows)) for rows in runs] for runs in folds])
    assert found.mean == pytest.approx(values.mean())
    assert found.sd == pytest.approx(values.mean(axis=0).std(ddof=1))
    variance = 0.0
    for runs in folds:
        psi = []
        for rows in runs:
            y, s = arrays(rows)
            psi.append([[float(a > b) + 0.5 * (a == b) for b in s[y == 0]] for a in s[y == 1]])
        psi = np.mean(psi, axis=0)
        variance += np.var(psi.mean(axis=1), ddof=1) / len(psi) + np.var(psi.mean(axis=0), ddof=1) / len(psi.T)
    variance /= 9
    logit = np.log(found.mean / (1 - found.mean))
    half = 1.959964 * np.sqrt(variance) / (found.mean * (1 - found.mean))
    expected = 1 / (1 + np.exp(-np.array([logit - half, logit + half])))
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-6)
    assert repeats.mean_cv([], SETTINGS, {}) is None
    only = [{"a": (1, 0.5)}]
    assert repeats.mean_cv([only], SETTINGS, {}) is None
    assert repeats.mean_auc(only, SETTINGS, {}) is None


def hits(seed, slides=12):
    rng = np.random.default_rng(seed)
    count = np.random.default_rng(0).integers(0, 4, slides)
    return [
        SlideHits(
            f"s{i:02d}", rng.random(3), np.arange(1, n + 1), np.where(rng.random(n) < 0.7, rng.random(n), -np.inf)
        )
        for i, n in enumerate(count)
    ]


@pytest.mark.parametrize("mode", ["official", "corrected"])
def test_the_mean_froc_draws_slides_once_for_all_repeats(mode):
    runs = [hits(seed) for seed in (1, 2, 3)]
    settings = Settings(bootstrap=300, froc_mode=mode)
    found = repeats.mean_froc(runs, settings)
    values = [froc.froc(run, mode).score for run in runs]
    assert (found.mean, found.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    draws = np.mean([resampling.bootstrap_froc(run, 300, 0, 0.95, mode).scores for run in runs], axis=0)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))
    single = resampling.bootstrap_froc(runs[0], 300, 0, 0.95, mode)
    alone = repeats.mean_froc(runs[:1], settings)
    assert (alone.low, alone.high) == pytest.approx(single.interval)
    with pytest.raises(UserError, match="not the same slides"):
        repeats.mean_froc([runs[0], runs[1][:-1]], settings)


def test_repeats_about_other_slides_are_refused():
    one, two = predictions(0, number=2)
    two.pop("s00")
    with pytest.raises(UserError, match="not the same slides"):
        repeats.mean_auc([one, two], SETTINGS, {})


def test_the_program_writes_one_row_per_method(tmp_path):
    lines = [f"s{i:02d},{i % 2},{'test' if i < 20 else 'train'}" for i in range(30)]
    (tmp_path / "slides.csv").write_text("\n".join(["slide,label,split", *lines]) + "\n")
    for seed, method in enumerate(("chowder_r5", "meanpool")):
        for name, rows in zip((method, f"{method}_s1", f"{method}_s2"), predictions(seed, number=3), strict=True):
            folder = tmp_path / "pred" / "resnet50" / name
            folder.mkdir(parents=True)
            for split, keep in (("competition", range(20)), ("cv1", range(15)), ("cv2", range(15, 30))):
                text = [f"s{i:02d},{rows[f's{i:02d}'][0]},{rows[f's{i:02d}'][1]},0.5" for i in keep]
                (folder / f"{split}.csv").write_text("\n".join(["slide,label,probability,member_1", *text]) + "\n")
    options = [
        "--entries",
        "resnet50:chowder_r5",
        "resnet50:meanpool",
        "--repeats",
        "3",
        "--splits",
        "competition",
        "cv1",
    ]
    options += ["cv2", "--slides", str(tmp_path / "slides.csv"), "--predictions-dir", str(tmp_path / "pred")]
    options += ["--detections-dir", str(tmp_path / "none"), "--lesions-dir", str(tmp_path / "none"), "--settings"]
    options += ['{"bootstrap": 100, "dataset": "demo", "simulated": true}']
    for form in ("csv", "markdown", "html"):
        options += [f"--{form}", str(tmp_path / f"repeats.{form}")]
    repeats_table.main(options)
    with (tmp_path / "repeats.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["method"] for row in rows] == ["chowder_r5", "meanpool"]
    assert all(float(row["auc_test_low"]) < float(row["auc_test"]) < float(row["auc_test_high"]) for row in rows)
    assert all(float(row["auc_cv_repeats_sd"]) > 0 and row["froc"] == "" for row in rows)
    for form in ("markdown", "html"):
        text = (tmp_path / f"repeats.{form}").read_text()
        assert f"{float(rows[0]['auc_test']):.3f} ± {float(rows[0]['auc_test_repeats_sd']):.3f} [" in text
        assert "SIMULATED" in text and "over slides, of the mean" in text
