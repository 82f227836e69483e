"""Reports and their scripts, run on small files whose numbers are known by hand."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import evaluate
import export
import lesions
import score
from chowder.data.annotations import Outline, read_asap, write_asap
from chowder.evaluation import reports, scorer_table, scoring, tables
from chowder.evaluation.lesions import label_lesions, lesions_of
from chowder.files import UserError
from chowder.slides import tile_table
from chowder.slides.grid import Grid

SQUARE = np.array([[0, 0], [1600, 0], [1600, 1600], [0, 1600]], dtype=float)
SLIDES = """slide,image,label,split,center,class,annotation,mpp,froc,simulated
test_001,a.tif,1,test,A,macro,test_001.xml,0.25,1,0
test_002,b.tif,0,test,A,negative,,0.25,1,0
test_003,c.tif,1,test,B,micro,test_003.xml,0.25,1,0
test_004,d.tif,0,test,B,negative,,0.25,1,0
test_114,e.tif,1,test,B,macro,,0.25,0,0
train_1,f.tif,1,train,A,macro,train_1.xml,0.25,1,0
"""


def read_csv(path):
    with path.open() as handle:
        return list(csv.DictReader(handle))


@pytest.fixture
def data(tmp_path):
    """Four FROC slides: lesion of 001 found at 0.9, of 003 missed; false positives 0.8 (001) and 0.5 (004)."""
    (tmp_path / "slides.csv").write_text(SLIDES)
    for name in ("test_001", "test_003"):
        outline = Outline("lesion", "Tumor", SQUARE + 3200)
        write_asap(tmp_path / "xml" / f"{name}.xml", [outline])
    rows = {"test_001": "0.9,4000,4000\n0.3,4100,4100\n0.8,9000,9000\n", "test_004": "0.5,1,1\n"}
    (tmp_path / "det").mkdir()
    for name in ("test_001", "test_002", "test_003", "test_004"):
        (tmp_path / "det" / f"{name}.csv").write_text(rows.get(name, ""))
        record = {"width": 10_000, "height": 12_000, "mpp": 0.25}
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
        xml = tmp_path / "xml" / f"{name}.xml"
        options = ["--slide", name, "--record", str(tmp_path / f"{name}.json"), "--annotation"]
        options += [str(xml)] if xml.exists() else []
        options += ["--settings", '{"froc_mpp": 0.243}', "--output", str(tmp_path / "les" / f"{name}.npz")]
        lesions.main([*options, "--table", str(tmp_path / "les" / f"{name}.csv")])
    lines = "test_001,1,0.9,0.9\ntest_002,0,0.2,0.2\ntest_003,1,0.6,0.6\ntest_004,0,0.7,0.7\ntest_114,1,0.8,0.8\n"
    (tmp_path / "competition.csv").write_text("slide,label,probability,member_1\n" + lines)
    (tmp_path / "cv1.csv").write_text("slide,label,probability,member_1\ntest_001,1,0.9,0.9\ntest_002,0,0.2,0.2\n")
    (tmp_path / "cv2.csv").write_text("slide,label,probability,member_1\ntest_003,1,0.1,0.1\ntest_004,0,0.2,0.2\n")
    (tmp_path / "cv3.csv").write_text("slide,label,probability,member_1\ntest_114,1,0.1,0.1\n")
    return tmp_path


def run_evaluate(data, splits=("competition", "cv1", "cv2", "cv3"), detections=True, **more):
    options = ["--method", "chowder_r5", "--slides", str(data / "slides.csv"), "--predictions"]
    options += [f"{split}={data / split}.csv" for split in splits]
    options += ["--detections", *(map(str, (data / "det").glob("*.csv")) if detections else ())]
    options += ["--lesions", *(map(str, (data / "les").glob("*.npz")) if detections else ())]
    options += ["--settings", json.dumps({"bootstrap": 200, "seed": 1, "froc_mpp": 0.243} | more)]
    for name in ("auc.json", "froc.json", "lesion_table.csv", "froc_curve.csv", "roc_curve.csv"):
        options += [f"--{name.split('.')[0].replace('_', '-')}", str(data / "out" / name)]
    evaluate.main(options)
    return [json.loads((data / "out" / name).read_text()) for name in ("auc.json", "froc.json")]


def test_auc_report_by_hand(data):
    auc, _ = run_evaluate(data)
    test = auc["competition"]
    assert test["auc"] == pytest.approx(5 / 6)  # of six pairs, 0.6 against 0.7 is wrong
    assert (test["slides"], test["positives"]) == (5, 3)
    assert test["low"] <= test["auc"] <= test["high"]
    assert test["delong_low"] < test["auc"] < test["delong_high"]
    assert test["by_center"]["A"]["auc"] == 1
    assert test["by_center"]["B"]["auc"] == 0.5
    assert test["by_class"]["micro"] | {"low": 0, "high": 0, "delong_low": 0, "delong_high": 0} == {
        "auc": 0.5, "low": 0, "high": 0, "delong_low": 0, "delong_high": 0, "slides": 3, "positives": 1,
    }  # fmt: skip
    assert [fold["auc"] for fold in auc["cv"]["folds"]] == [1, 0, None]
    assert auc["cv"]["auc_mean"] == 0.5
    assert auc["cv"]["auc_sd"] == pytest.approx(np.std([1, 0], ddof=1))
    assert "1 of 3 folds" in auc["cv"]["reason"]


def test_the_ensemble_size_is_the_number_of_member_columns(data):
    assert run_evaluate(data)[0]["ensemble"] == 1
    rows = (data / "competition.csv").read_text().splitlines()
    rows = [rows[0] + ",member_2,member_3", *(line + ",0.1,0.2" for line in rows[1:])]
    (data / "competition.csv").write_text("\n".join(rows) + "\n")
    assert run_evaluate(data)[0]["ensemble"] == 3


def test_froc_report_by_hand(data):
    _, report = run_evaluate(data)
    assert report["available"]
    assert (report["slides"], report["lesions"], report["itc"], report["detections"]) == (4, 2, 0, 4)
    # 1 of 2 lesions above both false positives: 0.5 everywhere, in both modes
    for mode in ("official", "corrected"):
        assert report[mode]["score"] == 0.5
        assert report[mode]["sens_at"] == dict.fromkeys(["0.25", "0.5", "1", "2", "4", "8"], 0.5)
        assert report[mode]["low"] <= 0.5 <= report[mode]["high"]
    assert report["by_center"]["A"]["corrected"]["score"] == 1
    assert report["by_center"]["B"]["corrected"]["score"] == 0
    assert report["by_class"]["macro"]["lesions"] == 1  # 114 does not count
    assert report["by_class"]["macro"]["slides"] == 3  # with the normal ones
    assert report["warnings"] == []


def test_classes_are_compared_with_all_normal_slides_also_where_those_have_no_class(data):
    """Tables made elsewhere often leave the class of a normal slide empty."""
    known = run_evaluate(data)
    (data / "slides.csv").write_text(SLIDES.replace(",negative,", ",,"))
    assert "negative" not in (data / "slides.csv").read_text()
    auc, report = run_evaluate(data)
    assert auc["competition"]["by_class"] == known[0]["competition"]["by_class"]
    assert report["by_class"] == known[1]["by_class"]
    micro = auc["competition"]["by_class"]["micro"]
    assert (micro["auc"], micro["slides"], micro["positives"]) == (0.5, 3, 1)  # 0.6 against 0.2 and 0.7
    assert report["by_class"]["macro"]["slides"] == 3


def test_lesion_table_and_curves(data):
    run_evaluate(data, froc_mode="corrected")
    found, missed = read_csv(data / "out" / "lesion_table.csv")
    assert (found["slide"], found["class"], found["best_score"], found["found_at_fps"]) == (
        "test_001",
        "macro",
        "0.9",
        "0.0",
    )
    assert (missed["slide"], missed["best_score"], missed["found_at_fps"]) == ("test_003", "", "")
    side = np.sqrt(float(found["area_mm2"]))
    assert 1600 * 0.243e-3 < side < (1600 + 2 * 160) * 0.243e-3  # expanded by 37.5 um
    curve = read_csv(data / "out" / "froc_curve.csv")
    assert {row["mode"] for row in curve} == {"corrected"}
    assert (curve[0]["fps"], curve[0]["sensitivity"]) == ("0.5", "0.5")
    assert (curve[-1]["fps"], curve[-1]["sensitivity"]) == ("0.0", "0.0")
    roc = read_csv(data / "out" / "roc_curve.csv")
    assert (roc[0]["fpr"], roc[-1]["fpr"], roc[-1]["tpr"]) == ("0.0", "1.0", "1.0")


def test_without_lesions_the_reason_is_given(data):
    auc, report = run_evaluate(data, splits=("cv1",), detections=False)
    assert auc["competition"] is None
    assert auc["competition_reason"] == "the slides table has no test split"
    assert not report["available"]
    assert report["reason"] == "the test slides have no lesion annotations"
    assert (data / "out" / "froc_curve.csv").read_text().strip() == ",".join(reports.FROC_COLUMNS)


def test_a_competition_of_one_class_has_no_auc_but_a_reason(data):
    (data / "competition.csv").write_text("slide,label,probability\ntest_001,1,0.9\n")
    auc, _ = run_evaluate(data, splits=("competition",))
    assert auc["competition"] is None
    assert auc["competition_reason"] == "all 1 slides are tumour: no AUC"


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("competition.csv", "slide,label,probability\nelse,1,0.5\n", "slide else is not in the slides table"),
        ("competition.csv", "slide,label,probability\ntest_001,0,0.5\n", "label 0, the table 1"),
        ("competition.csv", "slide,label,probability\ntest_001,1,nan\n", "line 2: probability is 'nan'"),
        ("competition.csv", "slide,label\ntest_001,1\n", "no column 'probability'"),
        ("slides.csv", "slide,label\na,1\na,1\n", "slide a is there twice"),
        ("slides.csv", "slide,label\na,maybe\n", "label is 'maybe'"),
        ("det/test_001.csv", "0.5,10\n", "line 1: 2 columns"),
        ("det/test_003.csv", "0.5,99999,10\n", "test_003.csv: slide test_003: .* outside the slide"),
        ("les/test_001.npz", "broken", "not a lesion file"),
    ],
)
def test_bad_files_are_named(data, file, text, words):
    (data / file).write_text(text)
    with pytest.raises(UserError, match=words) as error:
        run_evaluate(data)
    assert "\n" not in str(error.value)


def test_a_tumour_slide_without_lesion_file_is_named(data):
    (data / "les" / "test_003.npz").unlink()
    with pytest.raises(UserError, match="slide test_003 counts for the FROC but has no lesion file"):
        run_evaluate(data)


def test_lesions_in_the_slides_own_spacing(data):
    fixed = lesions_of(data / "xml" / "test_001.xml", 10_000, 12_000, 0.5, {"froc_mpp": 0.243})
    own = lesions_of(data / "xml" / "test_001.xml", 10_000, 12_000, 0.5, {"froc_mpp": "slide"})
    assert (fixed.mpp, own.mpp) == (0.243, 0.5)
    with pytest.raises(UserError, match="mpp is not known"):
        lesions_of(data / "xml" / "test_001.xml", 10_000, 12_000, None, {"froc_mpp": "slide"})
    with pytest.raises(UserError, match="froc_mpp is 'fine'"):
        lesions_of(None, 10, 10, 0.5, {"froc_mpp": "fine"})


@pytest.mark.parametrize("source", ["--annotations", "--lesions-dir"])
def test_any_folder_of_challenge_files_is_scored(data, source):
    folder = data / ("xml" if source == "--annotations" else "les")
    options = ["--detections", str(data / "det"), source, str(folder), "--slides", str(data / "slides.csv")]
    options += ["--settings", '{"bootstrap": 100}', "--output", str(data / "score.json")]
    score.main([*options, "--lesion-table", str(data / "l.csv"), "--froc-curve", str(data / "f.csv")])
    report = json.loads((data / "score.json").read_text())
    assert (report["official"]["score"], report["lesions"], report["slides"]) == (0.5, 2, 4)
    assert len(read_csv(data / "l.csv")) == 2


def test_scores_with_ties_are_compared_in_single_precision_as_the_challenge_did(data):
    """A lesion of 0.3 is 0.30000001 in the script: above a false positive of 0.3."""
    (data / "det" / "test_001.csv").write_text("0.3,4000,4000\n0.3,9000,9000\n")
    options = ["--detections", str(data / "det"), "--annotations", str(data / "xml")]
    options += ["--slides", str(data / "slides.csv"), "--settings", '{"bootstrap": 100}']
    score.main([*options, "--output", str(data / "score.json"), "--lesion-table", str(data / "l.csv")])
    report = json.loads((data / "score.json").read_text())
    # false positives 0.5 and 0.3 on four slides: (1/4, 0), (1/4, 1/2), (1/2, 1/2) against (1/4, 0), (1/2, 1/2)
    assert report["official"]["sens_at"]["0.25"] == 0.5
    assert report["corrected"]["sens_at"]["0.25"] == 0.0
    assert read_csv(data / "l.csv")[0]["found_at_fps"] == "0.25"


def test_a_missing_result_file_counts_in_corrected_mode_only(data):
    (data / "det" / "test_003.csv").rename(data / "det" / "unknown.csv")
    table = scorer_table.read(data / "slides.csv")
    files, notes = scoring.detection_files(data / "det", table, ignore_unknown=True)
    assert any("not in the table: unknown.csv" in note for note in notes)
    les = {path.stem: path for path in (data / "les").glob("*.npz")}
    report, _, _ = reports.froc_report(table.slides, files, les, reports.Settings(bootstrap=20))
    assert report["without_result_file"] == ["test_003"]
    assert (report["official"]["slides"], report["official"]["lesions"]) == (3, 1)
    assert (report["corrected"]["slides"], report["corrected"]["lesions"]) == (4, 2)
    assert any("no result file for 1 slides" in warning for warning in report["warnings"])


def test_two_folders_are_compared_on_the_same_slides(data):
    (data / "other").mkdir()
    for path in (data / "det").glob("*.csv"):
        (data / "other" / path.name.upper().replace(".CSV", ".csv")).write_text(path.read_text())  # names in any case
    options = ["--detections", str(data / "det"), "--against", str(data / "other"), "--annotations", str(data / "xml")]
    options += ["--slides", str(data / "slides.csv"), "--settings", '{"bootstrap": 50}']
    score.main([*options, "--output", str(data / "score.json")])
    against = json.loads((data / "score.json").read_text())["against"]["official"]
    assert (against["difference"], against["p"]) == (0, 1)


def test_a_folder_without_fitting_names_is_refused(data):
    table = scorer_table.read(data / "slides.csv")
    with pytest.raises(UserError, match="no such folder"):
        scoring.detection_files(data / "none", table)
    with pytest.raises(UserError, match="check the names"):
        scoring.detection_files(data / "xml", table)


def test_the_official_test_set_says_how_many_lesions_are_expected(data):
    names = sorted(reports._OFFICIAL_TEST)
    assert len(names) == 128
    slides = {name: tables.Slide(name, int(name == "test_001")) for name in names}
    hand = {"test_001": label_lesions(np.ones((50, 50), bool))}
    report, _, _ = reports.froc_report(
        slides, {"test_001": data / "det" / "test_004.csv"}, hand, reports.Settings(bootstrap=5)
    )
    assert report["expected_lesions"] == 226
    assert any("226 lesions expected, 1 found" in line for line in reports.froc_summary(report))


def test_scores_below_zero_are_warned_of(data):
    (data / "det" / "test_004.csv").write_text("-0.5,1,1\n")
    _, report = run_evaluate(data)
    assert any("below 0" in warning for warning in report["warnings"])


def test_export_writes_all_tiles_and_the_best_ones(tmp_path):
    xy, scores = np.array([[0, 0], [461, 0], [0, 461]]), np.array([0.1, 0.9, -0.5], np.float32)
    pq.write_table(pa.table({"x": xy[:, 0], "y": xy[:, 1], "score": scores}), tmp_path / "s.parquet")
    grid = Grid(224, 0.5, 0.5, "target", 0, 461.0, 0.243, 1.0, 2, 2)
    tile_table.write(tmp_path / "t.parquet", pa.table({"x": xy[:, 0], "y": xy[:, 1]}), grid, "a")
    options = ["--slide", "a", "--scores", str(tmp_path / "s.parquet"), "--tiles", str(tmp_path / "t.parquet")]
    export.main([*options, "--geojson", str(tmp_path / "a.json"), "--xml", str(tmp_path / "a.xml"), "--top", "2"])
    assert len(json.loads((tmp_path / "a.json").read_text())["features"]) == 3
    best = read_asap(tmp_path / "a.xml", tumour=["detection"])
    assert [outline.points.min(axis=0).tolist() for outline in best.polygons] == [[461, 0], [0, 0]]
    assert best.tumor.area == 2 * 461**2
    pq.write_table(pa.table({"x": [1]}), tmp_path / "s.parquet")
    with pytest.raises(UserError, match="no column score, y"):
        export.main([*options, "--geojson", str(tmp_path / "a.json"), "--xml", str(tmp_path / "a.xml")])
