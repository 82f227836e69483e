"""The matrix: what tests say of each cell, costs, and that the picture shows what the files hold."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import figure_matrix
from chowder.evaluation.comparisons import holm
from chowder.files import UserError
from chowder.report import matrix, units
from chowder.report.figures import matrix as picture
from chowder.report.figures import style
from chowder.report.table.significance import TEST_COLUMNS

ABOUT = style.About("demo", True)


def row(encoder, method, auc, froc=math.nan, seconds=1.0, cv=0.7):
    auc_ends = {"auc_test_low": auc - 0.1, "auc_test_high": auc + 0.05}
    froc_ends = {"froc_low": froc - 0.1, "froc_high": froc + 0.1}
    about = {"encoder": encoder, "method": method, "ensemble": 10, "train_seconds": seconds}
    return about | {"auc_test": auc, "auc_cv": cv, "auc_cv_sd": 0.02, "froc": froc} | auc_ends | froc_ends


def made_tests(*rows):
    """tests.csv from (encoder, column, method, against, difference, p after Holm)."""
    names = ("encoder", "column", "method", "against", "difference", "p_holm")
    frame = pd.DataFrame([dict(zip(names, one, strict=True)) for one in rows], columns=list(names))
    return frame.reindex(columns=list(TEST_COLUMNS))


# Two encoders. On b MaxPool is best, on a CHOWDER. p by hand: 0.012, 0.04 and 0.30 raw, times 3, 2 and 1.
P = dict(zip(("meanpool", "weldon_r1", "maxpool"), holm([0.012, 0.04, 0.30]), strict=True))
ROWS = [
    row("a", "chowder_r5", 0.90, 0.5, 12.0),
    row("a", "weldon_r1", 0.80, 0.6, 8.0),
    row("a", "meanpool", 0.60, 0.1),
    row("a", "maxpool", 0.85),
    row("b", "maxpool", 0.95, 0.3),
    row("b", "chowder_r5", 0.70, 0.2, 4000.0),
]
TESTS = made_tests(
    *[("a", "auc_test", name, "chowder_r5", -0.1, p) for name, p in P.items()],
    ("a", "froc", "chowder_r5", "weldon_r1", -0.1, 0.9),
    ("a", "froc", "meanpool", "weldon_r1", -0.5, 0.002),
    ("b", "auc_test", "chowder_r5", "maxpool", -0.25, 0.05),
)
COSTS = {"a": {"embed_seconds": 90.0, "features_gb": 1.5}, "b": {"features_gb": 0.02}}


def built(reference=None, confidence=0.95, tests=TESTS, rows=ROWS):
    return matrix.build(rows, tests, COSTS, reference, confidence)


def said(frame, column):
    return {(r["encoder"], r["method"]): r[f"{column}_verdict"] for _, r in frame.iterrows()}


def test_each_cell_is_compared_with_the_highest_of_its_encoder():
    assert pytest.approx(0.036) == P["meanpool"] and pytest.approx(0.08) == P["weldon_r1"] and P["maxpool"] == 0.30
    frame = built()
    assert said(frame, "auc_test") == {
        ("a", "meanpool"): "lower",
        ("a", "maxpool"): "not told apart",
        ("a", "weldon_r1"): "not told apart",
        ("a", "chowder_r5"): "reference",
        ("b", "maxpool"): "reference",
        ("b", "chowder_r5"): "not told apart",  # 0.05 is not below 0.05
    }
    assert said(frame, "froc") == {
        ("a", "meanpool"): "lower",
        ("a", "maxpool"): "",  # no FROC
        ("a", "weldon_r1"): "reference",
        ("a", "chowder_r5"): "not told apart",
        ("b", "maxpool"): "reference",
        ("b", "chowder_r5"): "",  # no test was made
    }
    against = frame.set_index(["encoder", "method"])["auc_test_against"]
    assert against["a", "meanpool"] == "chowder_r5" and against["b", "chowder_r5"] == "maxpool"
    assert frame.set_index(["encoder", "method"])["auc_test_p_holm"]["a", "meanpool"] == pytest.approx(0.036)


def test_a_reference_turns_the_sign_of_a_test_that_is_there_in_the_other_order():
    frame = built("meanpool")
    assert said(frame, "auc_test")["a", "chowder_r5"] == "higher"
    assert said(frame, "auc_test")["a", "meanpool"] == "reference"
    assert said(frame, "auc_test")["a", "weldon_r1"] == ""  # the tests have no such pair
    assert said(frame, "froc")["a", "weldon_r1"] == "higher"
    assert said(built("chowder_r5", 0.9), "auc_test")["b", "maxpool"] == "higher", "0.05 is below 0.1"


def test_encoders_stand_as_given_and_methods_as_in_the_table():
    frame = built()
    assert list(zip(frame["encoder"], frame["method"], strict=True)) == [
        ("a", "meanpool"),
        ("a", "maxpool"),
        ("a", "weldon_r1"),
        ("a", "chowder_r5"),
        ("b", "maxpool"),
        ("b", "chowder_r5"),
    ]
    assert list(built(rows=ROWS[::-1])["encoder"]) == ["b", "b", "a", "a", "a", "a"]
    assert list(frame.columns) == matrix.HEADER
    assert frame["embed_seconds"].tolist()[:4] == [90.0] * 4 and frame["embed_seconds"].isna().sum() == 2
    assert frame["features_gb"].tolist() == [1.5] * 4 + [0.02] * 2
    text = matrix.to_csv(frame)
    assert text.splitlines()[0].startswith(
        "encoder,method,ensemble,auc_test,auc_test_low,auc_test_high,auc_test_against"
    )
    read = pd.read_csv(pd.io.common.StringIO(text), keep_default_na=False)
    assert read.loc[1, "froc"] == read.loc[1, "froc_against"] == read.loc[4, "embed_seconds"] == ""


def test_costs_are_read_from_what_jobs_left(tmp_path):
    head = "s\th:m:s\tcpu_time\n"
    for name, text in (("one", "10.5\t0\t1\n"), ("two", "4\t0\t1\n")):
        (tmp_path / f"{name}.tsv").write_text(head + text)
    paths = [tmp_path / "one.tsv", tmp_path / "two.tsv"]
    assert matrix.embed_seconds(paths) == 14.5
    assert math.isnan(matrix.embed_seconds([*paths, tmp_path / "gone.tsv"])) and math.isnan(matrix.embed_seconds([]))
    for text in (head, "time\n3\n", f"{head}soon\t0\t1\n"):
        paths[0].write_text(text)
        with pytest.raises(UserError, match=r"one\.tsv: not a benchmark file of Snakemake .*: delete it"):
            matrix.embed_seconds(paths)
    (tmp_path / "a.h5").write_bytes(b"x" * 3000)
    (tmp_path / "b.h5").write_bytes(b"x" * 500)
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"slides": [{"file": "a.h5"}, {"file": "b.h5"}]}))
    assert matrix.features_gb(index) == pytest.approx(3.5e-6)
    (tmp_path / "b.h5").unlink()
    with pytest.raises(UserError, match=r"b\.h5: no such file: rerun `index_features`"):
        matrix.features_gb(index)


@pytest.mark.parametrize(
    ("value", "text"), [(8.24, "8.2 GB"), (1, "1.0 GB"), (0.031, "31 MB"), (0.0004, "0.4 MB"), (math.nan, "")]
)
def test_sizes_are_for_people(value, text):
    assert units.gigabytes(value) == text


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("resnet50", ["resnet50"]),
        ("efficientnet_lite0", ["efficientnet_", "lite0"]),
        ("timm-vit_base_patch16_224.augreg2", ["timm-vit_base_", "patch16_224.", "augreg2"]),
        ("x" * 35, ["x" * 15, "x" * 15, "x" * 5]),
    ],
)
def test_long_names_of_encoders_are_broken(name, lines):
    assert picture.short(name).split("\n") == lines and "".join(lines) == name


def texts(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_the_grid_writes_every_cell_with_its_sign():
    figure, data = picture.draw(built())
    found = texts(figure)
    for text in (
        "0.600 ▼",
        "0.800 ≈",
        "0.900",
        "[0.80, 0.95]",
        "0.700 ≈",
        "0.100 ▼",
        "66.7 min",
        "embed 90.0 s\n1.5 GB",
    ):
        assert text in found, text
    assert found.count("–") == 1 + 3 * 2, "MaxPool has no FROC on a; b has two methods less in three panels"
    bold = {t.get_text() for axes in figure.axes for t in axes.texts if t.get_weight() == "bold"}
    assert bold == {"0.900", "0.950", "0.600", "0.300"}
    assert any("differs from the highest of its encoder (paired test, p below 0.05 after Holm)" in t for t in found)
    froc = data[data["panel"] == "froc"].set_index(["encoder", "method"])
    assert ("a", "maxpool") not in froc.index and froc.loc[("a", "meanpool"), "value"] == 0.1
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images and len(axes.texts)]
    assert np.array_equal(images[0].filled(-1), [[0.6, -1], [0.85, 0.95], [0.8, -1], [0.9, 0.7]])


def test_one_encoder_is_a_line_per_method():
    rows = [one for one in ROWS if one["encoder"] == "a"]
    figure, data = picture.draw(built(rows=rows))
    found = texts(figure)
    for text in ("0.600 [0.50, 0.65] ▼", "0.900 [0.80, 0.95]", "0.850 [0.75, 0.90] ≈", "12.0 s", "encoder a", "–"):
        assert text in found, text
    assert any("embedding 90.0 s, features 1.5 GB" in text for text in found)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in dots] == [0.6, 0.85, 0.8, 0.9]
    assert len(data) == 4 + 3 + 4


def test_without_a_test_split_the_cross_validation_is_shown():
    rows = [one | dict.fromkeys(("auc_test", "auc_test_low", "auc_test_high", "froc"), math.nan) for one in ROWS]
    tests = made_tests(("a", "auc_cv", "meanpool", "chowder_r5", -0.1, 0.001))
    rows = [one | {"auc_cv": one["auc_cv"] + (one["method"] == "chowder_r5") * 0.1} for one in rows]
    figure, data = picture.draw(built(rows=rows, tests=tests))
    assert set(data["panel"]) == {"auc_cv", "training"}
    assert "AUC, cross-validation" in texts(figure) and "± 0.020" in texts(figure) and "0.700 ▼" in texts(figure)
    figure, _ = picture.draw(built(rows=[one | {"auc_cv": math.nan, "train_seconds": math.nan} for one in rows]))
    assert "neither AUC nor FROC was measured" in texts(figure)


def test_a_given_reference_is_named_below():
    figure, _ = picture.draw(built("meanpool"))
    assert any("▲: differs from MeanPool (paired test" in text for text in texts(figure))


@pytest.mark.parametrize("encoders", [1, 3, 6])
def test_no_text_lies_on_another(encoders):
    """In the picture: the boxes of all texts that are written inside or around the panels are apart."""
    names = ["meanpool", "maxpool", "chowder_r5_b20_j4", "transmil"]
    which = ["resnet50", "efficientnet_lite0", "timm-vit_base_patch16_224.augreg2_in21k", "uni", "virchow2", "gigapath"]
    rows = [
        row(e, m, 0.6 + 0.05 * i, 0.2, 10.0 ** (i * 1.5 - 1)) for e in which[:encoders] for i, m in enumerate(names)
    ]
    tests = made_tests(
        *[(e, c, m, "transmil", -0.1, 0.01) for e in which for c in ("auc_test", "froc") for m in names[:3]]
    )
    costs = {e: {"embed_seconds": 3210.0 * (i + 1), "features_gb": 12.3} for i, e in enumerate(which)}
    figure, _ = picture.draw(matrix.build(rows, tests, costs))
    figure.draw_without_rendering()
    shown = []
    for axes in figure.axes:
        labels = [
            *axes.get_xticklabels(),
            *axes.get_yticklabels(),
            *axes.texts,
            axes.xaxis.label,
            axes.title,
            axes._left_title,
        ]
        shown += [text for text in labels if text.get_text().strip() and text.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown + figure.texts]
    boxes = [(text, box) for text, box in boxes if box.width > 0]
    assert len(boxes) > 20
    clashes = [
        (one, two)
        for place, (one, a) in enumerate(boxes)
        for two, b in boxes[place + 1 :]
        if one != two and min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]
    assert not clashes


def test_the_program_writes_table_and_figure_twice_alike(tmp_path):
    folder, arguments = tmp_path, {"--entries": [], "--auc": [], "--froc": [], "--timing": []}
    for encoder in ("a", "b"):
        place = folder / "features" / encoder
        place.mkdir(parents=True)
        (place / "s.h5").write_bytes(b"x" * 2_000_000)
        (place / "index.json").write_text(json.dumps({"slides": [{"file": "s.h5"}]}))
        (folder / "embed" / encoder).mkdir(parents=True)
        (folder / "embed" / encoder / "s.tsv").write_text("s\n33\n")
        for place, method in enumerate(("meanpool", "chowder_r5")):
            made = folder / "metrics" / encoder / method
            made.mkdir(parents=True)
            auc = 0.6 + 0.2 * place
            test = {"auc": auc, "low": auc - 0.1, "high": auc + 0.1, "slides": 9, "positives": 4, "by_center": {}}
            files = {
                "auc": {"competition": test, "cv": {"auc_mean": 0.5, "auc_sd": 0.1, "folds": []}, "ensemble": 2},
                "froc": {"available": False, "reason": "nothing to find"},
                "timing": {"train_seconds": 2.5},
            }
            for name, content in files.items():
                (made / f"{name}.json").write_text(json.dumps(content))
                arguments[f"--{name}"].append(str(made / f"{name}.json"))
            arguments["--entries"].append(f"{encoder}:{method}")
    made_tests(("a", "auc_test", "meanpool", "chowder_r5", -0.2, 0.01)).to_csv(folder / "tests.csv", index=False)
    settings = {"dataset": "d", "simulated": True, "confidence": 0.95, "froc_mode": "official", "reference": None}
    command = [part for key, values in arguments.items() for part in (key, *values)]
    command += ["--tests", str(folder / "tests.csv"), "--settings", json.dumps(settings)]
    command += ["--indexes", *(str(folder / f"features/{e}/index.json") for e in "ab")]
    command += ["--embed-times", *(str(folder / f"embed/{e}/{s}.tsv") for e, s in (("a", "s"), ("b", "s"), ("b", "t")))]
    found = []
    for name in ("one", "two"):
        out = folder / name
        figure_matrix.main([*command, "--csv", str(out / "matrix.csv"), "--output-stem", str(out / "matrix_figure")])
        found.append({path.name: path.read_bytes() for path in sorted(out.iterdir())})
    assert found[0] == found[1] and len(found[0]) == 4
    wide = pd.read_csv(folder / "one/matrix.csv", keep_default_na=False)
    assert list(wide["auc_test_verdict"]) == ["lower", "reference", "", "reference"]
    assert list(wide["embed_seconds"]) == ["33.0", "33.0", "", ""], "a shard of b has no file"
    assert list(wide["features_gb"]) == [0.002] * 4 and list(wide["froc"]) == [""] * 4
    with Image.open(folder / "one/matrix_figure.png") as image:
        assert min(image.size) > 300
    assert Path(folder / "one/matrix_figure.csv").read_text().startswith("panel,encoder,method,value,low,high,verdict")
