"""The second table and its two figures: numbers as in the files, what is missing and why, three forms."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import figure_lesion_sizes
import figure_reliability
import metrics_table
from chowder.evaluation import lesion_sizes, measures, tables
from chowder.evaluation.reports import Settings
from chowder.files import UserError
from chowder.report.figures import measures as figures
from chowder.report.table import measures as table

METHODS = ("chowder_r10", "meanpool", "chowder_r1")


@pytest.fixture
def files(tmp_path):
    """measures.json, reliability.csv and lesion_sizes.csv of three methods, and the options that name them."""
    rng = np.random.default_rng(0)
    names = [f"s{i}" for i in range(30)]
    for method in METHODS:
        rows = {name: (i % 2, float(rng.random())) for i, name in enumerate(names)}
        test, own = ({name: rows[name] for name in part} for part in (names[:14], names[14:]))
        content, bins = measures.measures({"competition": test, "cv1": own, "cv2": test}, Settings(bootstrap=50))
        lesions = [
            {"slide": f"s{i}", "major_axis_um": str(300 + 150 * i), "itc": "0", "found_at_fps": str(i / 4)}
            for i in range(15)
        ]
        folder = tmp_path / "resnet50" / method
        tables.write_json(folder / "measures.json", {"method": method, "confidence": 0.95} | content)
        tables.write_table(folder / "reliability.csv", bins, measures.RELIABILITY_COLUMNS)
        tables.write_table(folder / "lesion_sizes.csv", lesion_sizes.by_size(lesions, 50), lesion_sizes.COLUMNS)
    return tmp_path


def run_table(files, methods=METHODS, settings='{"dataset": "demo", "simulated": true}'):
    options = ["--entries", *(f"resnet50:{method}" for method in methods)]
    for option, name in (("--measures", "measures.json"), ("--sizes", "lesion_sizes.csv")):
        options += [option, *(str(files / "resnet50" / method / name) for method in methods)]
    for form in ("csv", "markdown", "html"):
        options += [f"--{form}", str(files / f"metrics.{form}")]
    metrics_table.main([*options, "--settings", settings])
    with (files / "metrics.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    return rows, (files / "metrics.markdown").read_text(), (files / "metrics.html").read_text()


def test_the_table_has_the_numbers_of_the_files(files):
    rows, markdown, html = run_table(files)
    assert [row["method"] for row in rows] == ["meanpool", "chowder_r1", "chowder_r10"], "by family and R"
    for row in rows:
        content = json.loads((files / "resnet50" / row["method"] / "measures.json").read_text())
        for key in ("auprc", "sensitivity_at_90", "sensitivity_at_95", "brier", "balanced_accuracy", "f1"):
            part = content["competition"][key]
            for column, value in ((key, "value"), (f"{key}_low", "low"), (f"{key}_high", "high")):
                assert float(row[column]) == pytest.approx(part[value], abs=1e-6)
            assert f"{part['value']:.3f}" in markdown
            assert f'data-value="{part["value"]}"' in html
        assert float(row["threshold"]) == pytest.approx(content["threshold"]["value"], abs=1e-6)
        # lesions of 300 and 450 um are found at 0 and 1/4 false positives; of those from 500 um on three at 1
        assert float(row["sens_from_0_um"]) == 1
        assert float(row["sens_from_500_um"]) == 1
        assert float(row["sens_from_1000_um"]) == 0
        assert row["sens_from_1000_um_lesions"] == "7"
    for text in (markdown, html):
        assert "SIMULATED" in text
        assert "trained on test slides too" in text
        assert "0.500 and a Brier score of 0.250" in text
    head = re.search(r"<thead>.*?</thead>", html, re.S)[0]
    spans = sum(int(number) for number in re.findall(r'colspan="(\d+)"', head))
    body = re.search(r"<tbody>(.*)</tbody>", html, re.S)[1]
    assert spans + 1 == head.count("data-column") == body.count("data-value") / 3


def test_what_is_missing_has_its_reason(files):
    for method in METHODS:
        content = {"competition": None, "competition_reason": "the slides table has no test split"}
        content |= {"threshold": {"value": None, "reason": "no cross-validation was made"}, "cv": {"auprc_mean": 0.5}}
        (files / "resnet50" / method / "measures.json").write_text(json.dumps(content))
        tables.write_table(files / "resnet50" / method / "lesion_sizes.csv", [], lesion_sizes.COLUMNS)
    rows, markdown, _ = run_table(files)
    assert rows[0]["auprc"] == ""
    assert "Test columns are empty: the slides table has no test split." in markdown
    assert "No threshold: no cross-validation was made." in markdown
    assert "| Method | CV AUPRC |" in markdown
    assert "lesions" not in markdown.splitlines()[4]


def test_a_missing_file_is_named(files):
    (files / "resnet50" / "meanpool" / "lesion_sizes.csv").unlink()
    with pytest.raises(UserError, match=r"meanpool/lesion_sizes\.csv: cannot be read"):
        run_table(files)
    with pytest.raises(UserError, match="no method was given"):
        table.build([], {})


@pytest.mark.parametrize(
    ("low", "high", "words"), [(0, 500, "< 0.5 mm"), (500, 1000, "0.5–1 mm"), (2000, float("nan"), "≥ 2 mm")]
)
def test_bins_in_words(low, high, words):
    assert lesion_sizes.size_name(low, high) == words


@pytest.mark.parametrize(
    ("program", "option", "name"),
    [(figure_reliability, "--reliability", "reliability.csv"), (figure_lesion_sizes, "--sizes", "lesion_sizes.csv")],
)
def test_figures_are_drawn_from_the_files(files, program, option, name):
    paths = [str(files / "resnet50" / method / name) for method in METHODS]
    options = ["--methods", *METHODS, option, *paths, "--settings", '{"dataset": "demo"}']
    program.main([*options, "--output-stem", str(files / "figure")])
    first = (files / "figure.png").read_bytes()
    data = pd.read_csv(files / "figure.csv")
    assert set(data["method"]) == set(METHODS)
    assert len(data) == sum(len(pd.read_csv(path)) for path in paths)
    program.main([*options, "--output-stem", str(files / "figure")])
    assert (files / "figure.png").read_bytes() == first
    for path in paths:  # nothing to draw is a picture that says so
        Path(path).write_text(Path(path).read_text().splitlines()[0] + "\n")
    program.main([*options, "--output-stem", str(files / "empty")])
    assert pd.read_csv(files / "empty.csv").empty


def test_the_figure_of_sizes_shows_each_method_at_both_rates(files):
    parts = [pd.read_csv(files / "resnet50" / method / "lesion_sizes.csv").assign(method=method) for method in METHODS]
    figure, _ = figures.lesion_sizes(pd.concat(parts))
    left, right = figure.axes
    for axis, rate in ((left, 1), (right, 8)):
        drawn = {line.get_label(): line.get_ydata() for line in axis.lines if line.get_marker() == "o"}
        assert set(drawn) == {"CHOWDER R=10", "MeanPool", "CHOWDER R=1"}
        wanted = parts[1].loc[parts[1]["fps"] == rate, "sensitivity"]
        np.testing.assert_allclose(drawn["MeanPool"], wanted)
    assert [text.get_text() for text in left.get_xticklabels()] == [
        "< 0.5 mm\nn = 2", "0.5–1 mm\nn = 3", "1–2 mm\nn = 7", "≥ 2 mm\nn = 3"
    ]  # fmt: skip
