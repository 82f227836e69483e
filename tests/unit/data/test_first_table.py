"""A folder and any CSV become a slides table: names found, labels understood, splits by patient, mistakes named."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from slide_fixtures import generic

import init
from chowder.data import cohort, first_table
from chowder.files import UserError

SLIDES = {name: Path(f"{name}.svs") for name in ("a", "b", "c", "d", "e")}


def labels(tmp_path, text, positive=""):
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    return first_table.read_labels(tmp_path / "labels.csv", SLIDES, positive)


def test_slides_are_found_in_folders_too_and_by_any_kind_of_file(tmp_path):
    (tmp_path / "batch 1").mkdir()
    for name in ("x.svs", "batch 1/y.NDPI", "batch 1/notes.txt", "z.tif"):
        (tmp_path / name).touch()
    assert list(first_table.find_slides(tmp_path)) == ["y", "x", "z"]
    (tmp_path / "batch 1/x.tif").touch()
    with pytest.raises(UserError, match="two slides are called x"):
        first_table.find_slides(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "slide,label\na,normal\nb,tumor\n",
        "a.svs,0\nb.svs,1\n",  # no header, with endings
        "Diagnosis;File\nBenign;a.svs\nmalignant;b\n",  # the other way round, semicolons
        "\ufeffid\tlabel\tcomment\na\tNEG\tx\nb\tpos\ty\nstranger\tpos\tz\n",  # tabs, a byte order mark, a slide more
    ],
)
def test_names_and_labels_are_found_under_any_header(tmp_path, text):
    rows = labels(tmp_path, text)
    assert {name: row["label"] for name, row in rows.items()} == {"a": "normal", "b": "tumor"}


def test_known_columns_come_along_and_unknown_ones_do_not(tmp_path):
    rows = labels(tmp_path, "slide,label,patient,stain,split\na,0,p1,HE,test\nb,1,,HE,\n")
    assert rows == {
        "a": {"label": "normal", "patient": "p1", "split": "test"},
        "b": {"label": "tumor"},
    }


@pytest.mark.parametrize(
    ("text", "positive", "words"),
    [
        ("slide,label\nx,0\n", "", "no cell is the name of a slide"),
        ("a\nb\n", "", "two columns"),
        ("slide,x,y\na,0,1\n", "", "Call it label"),
        ("slide,label\na,A\nb,B\n", "", "what does label 'A' mean"),
        ("slide,label\na,A\nb,B\n", "C", "no label is 'C'"),
        ("slide,label\na,\nb,1\n", "", "a slide has no label"),
        ("slide,label\na,1\na,1\n", "", "slide a is there twice"),
    ],
)
def test_what_cannot_be_understood_is_one_line(tmp_path, text, positive, words):
    with pytest.raises(UserError, match=words) as caught:
        labels(tmp_path, text, positive)
    assert "\n" not in str(caught.value)


def test_a_label_can_be_said_to_mean_tumour(tmp_path):
    rows = labels(tmp_path, "slide,grade\na,G1\nb,G3\nc,G2\n", positive="G3")
    assert [row["label"] for row in rows.values()] == ["normal", "tumor", "normal"]


def rows_of(tumours, normals, per_patient=1):
    rows = {f"t{i}": {"label": "tumor", "patient": f"pt{i // per_patient}"} for i in range(tumours)}
    return rows | {f"n{i}": {"label": "normal", "patient": f"pn{i // per_patient}"} for i in range(normals)}


@pytest.mark.parametrize(("tumours", "normals", "expected"), [(3, 2, (1, 1)), (10, 20, (3, 6)), (2, 2, (1, 1))])
def test_the_split_takes_a_share_of_each_class_and_one_at_least(tumours, normals, expected):
    rows = rows_of(tumours, normals)
    assert first_table.draw_split(rows, 0.3, 1)
    test = [row["label"] for row in rows.values() if row["split"] == "test"]
    assert (test.count("tumor"), test.count("normal")) == expected
    again = rows_of(tumours, normals)
    first_table.draw_split(again, 0.3, 1)
    assert again == rows


def test_the_split_keeps_patients_together_and_a_given_one():
    rows = rows_of(8, 8, per_patient=2)
    assert first_table.draw_split(rows, 0.3, 1)
    sides = {}
    for row in rows.values():
        sides.setdefault(row["patient"], set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values()) and len(sides) == 8
    given = rows_of(1, 1) | {"x": {"label": "tumor", "split": "test"}}
    assert first_table.draw_split(given, 0.3, 1) and "split" not in given["t0"]
    assert not first_table.draw_split(rows_of(1, 5), 0.3, 1)


def test_folds_are_what_the_smaller_class_allows():
    assert [first_table.folds(rows_of(*n)) for n in ((9, 9), (2, 9), (1, 9))] == [3, 2, 0]
    assert first_table.folds(rows_of(4, 9, per_patient=4)) == 0  # four slides of one patient


def test_names_become_ones_that_a_table_takes_and_two_the_same_are_an_error(tmp_path):
    assert first_table.safe_name("S 12/3 (H&E).a.") == "S_12_3__H_E_.a"
    rows = {"a b": {"label": "tumor"}, "a_b": {"label": "normal"}}
    slides = {name: tmp_path / f"{name}.svs" for name in rows}
    with pytest.raises(UserError, match="would both be called a_b"):
        first_table.table(rows, slides, tmp_path)


@pytest.fixture
def folder(tmp_path):
    """Five slides, one of them in a folder, and a two-column CSV elsewhere."""
    (tmp_path / "slides" / "more").mkdir(parents=True)
    for name in ("s1", "s2", "s3", "s4", "more/s 5"):
        generic(tmp_path / "slides" / f"{name}.tif")
    (tmp_path / "labels.csv").write_text("s1,1\ns2,1\ns3,0\ns4,0\ns 5,1\n")
    return tmp_path


def test_five_slides_and_two_columns_become_a_table_that_the_workflow_reads(folder, capsys):
    out = folder / "own"
    init.main(["--slides", str(folder / "slides"), "--labels", str(folder / "labels.csv"), "--output", str(out)])
    said = capsys.readouterr().out
    assert "5 slides, 3 with tumour" in said and "2 slides for testing" in said and "snakemake --cores all" in said
    config = yaml.safe_load((out / "config.yaml").read_text())
    rows = cohort.read(config["slides"]["table"], "", "", config["slides"]["root"])
    assert {row.slide: row.label for row in rows} == {"s1": 1, "s2": 1, "s3": 0, "s4": 0, "s_5": 1}
    assert all((folder / "slides" / row.image).is_file() for row in rows)
    assert config["cv"]["folds"] == 2
    with (out / "slides.csv").open() as handle:
        assert {row["split"] for row in csv.DictReader(handle)} == {"train", "test"}


def test_slides_that_do_not_open_and_labels_that_are_missing_are_named(folder, capsys):
    (folder / "slides" / "s2.tif").write_bytes(b"garbage")
    generic(folder / "slides" / "unlabelled.tif")
    with pytest.raises(UserError, match="1 of 5 slides cannot be used"):
        init.main(["--slides", str(folder / "slides"), "--labels", str(folder / "labels.csv"), "--output", str(folder)])
    said = capsys.readouterr().out
    assert "s2.tif" in said and "unlabelled.tif has no label" in said
    assert not (folder / "slides.csv").exists()
