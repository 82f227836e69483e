"""The slides table: what is read, what is filled in, and that every mistake is named with its line."""

import csv

import pytest

from chowder.data import cohort
from chowder.files import UserError
from shared_data import REASON, SHARED

HEADER = "slide,label,split,center,class\n"
GOOD = HEADER + "n1,normal,train,A,negative\nt1,tumor,train,A,micro\nx1,0,test,B,\nx2,1,test,B,macro\n"


def table(tmp_path, text, name="slides.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_and_splits_are_read_in_every_spelling(tmp_path):
    text = "slide,label,split\na,Normal,Training\nb,TUMOUR,train\nc,negative,testing\nd,1,test\n"
    slides = cohort.read(table(tmp_path, text))
    assert [(s.slide, s.label, s.split) for s in slides] == [
        ("a", 0, "train"),
        ("b", 1, "train"),
        ("c", 0, "test"),
        ("d", 1, "test"),
    ]


def test_patterns_fill_images_of_all_and_annotations_of_existing_tumour_files(tmp_path):
    for name in (
        "images/n1.tif",
        "images/t1.tif",
        "images/x1.tif",
        "images/x2.tif",
        "outlines/t1.xml",
        "outlines/n1.xml",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    slides = {
        s.slide: s for s in cohort.read(table(tmp_path, GOOD), "images/{slide}.tif", "outlines/{slide}.xml", tmp_path)
    }
    assert slides["t1"].annotation == "outlines/t1.xml"
    assert slides["n1"].annotation == "", "a normal slide has no lesions to outline"
    assert slides["x2"].annotation == "", "no file of that name"
    assert slides["x1"].image == "images/x1.tif"


def test_only_annotated_tumour_and_normal_test_slides_count_for_froc(tmp_path):
    rows = ["a,0,train,,", "b,1,train,b.xml,", "c,0,test,,", "d,1,test,d.xml,1", "e,1,test,,", "f,1,test,f.xml,0"]
    text = "\n".join(["slide,label,split,annotation,froc", *rows])
    slides = cohort.read(table(tmp_path, text))
    assert [s.slide for s in slides if s.counts_for_froc] == ["c", "d"]
    text = "\n".join(["slide,label,annotation", "a,0,", "b,1,b.xml"])
    slides = cohort.read(table(tmp_path, text))
    assert not any(s.counts_for_froc for s in slides), "without a split there are no test slides"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["column 'slide' is missing"]),
        ("name,label\na,0\n", ["column 'slide' is missing"]),
        ('"na\nme",label\na,0\n', ["column 'slide' is missing", "has: na me, label"]),
        ("slide,label,colour\na,0,red\n", ["unknown column 'colour'"]),
        ("slide,label\na,0\nb,maybe\n", ["line 3", "slide b", "label 'maybe'", "normal or tumor"]),
        ("slide,label\na,0\na,1\n", ["slide a is listed twice"]),
        ("slide,label\na,0\nA,1\n", ["slide A is listed twice"]),
        ("slide,label\n../a,0\nb,1\n", ["line 2", "slide name '../a'"]),
        ("slide,label\n/etc/passwd,0\nb,1\n", ["slide name '/etc/passwd'"]),
        ("slide,label\na b,0\nb,1\n", ["slide name 'a b'"]),
        ("slide,label\na;rm,0\nb,1\n", ["slide name 'a;rm'"]),
        ("slide,label\n-a,0\nb,1\n", ["slide name '-a'"]),
        ("slide,label\na..,0\nb,1\n", ["slide name 'a..'"]),
        ("slide,label\na.,0\nb,1\n", ["slide name 'a.'"]),
        ('slide,label,center\na,0,"x\ny"\nb,1,\n', ["slide a", "center", "control character"]),
        ("slide,label,center\na,0,x\x00y\nb,1,\n", ["slide a", "center", "control character"]),
        ("slide,label,center\na,0,x\u2028y\nb,1,\n", ["slide a", "center", "control character"]),
        ("slide,label,center\na,0,x\u202ey\nb,1,\n", ["slide a", "center", "control character"]),
        (f"slide,label,center\na,0,{'c' * 101}\nb,1,\n", ["slide a", "center", "100"]),
        ("slide,label,patient\na,0,x\x07y\nb,1,\n", ["slide a", "patient", "control character"]),
        ("slide,label,center\na,0,=1+1\nb,1,\n", ["slide a", "center '=1+1'", "formula"]),
        ("slide,label,center\na,0,@SUM(A1)\nb,1,\n", ["slide a", "center", "formula"]),
        ("slide,label,patient\na,0,-1+cmd\nb,1,\n", ["slide a", "patient '-1+cmd'", "formula"]),
        ("slide,label,image\na,0,=x.tif\nb,1,\n", ["slide a", "image '=x.tif'", "write ./=x.tif"]),
        ("slide,label,center\na,0,low\nb,1,\n", ["slide a", "center", "'low'"]),
        ("slide,label,image\na,0,{x}.tif\nb,1,\n", ["slide a", "image", "brace"]),
        ("slide,label,annotation\nb,0,\na,1,x{.xml\n", ["slide a", "annotation", "brace"]),
        ("slide,label,split\na,0,train\nb,1,validation\n", ["line 3", "split 'validation'", "train, test"]),
        ("slide,label,split\na,0,train\nb,1,\n", ["slide b has no split"]),
        ("slide,label,split\na,0,train\nb,1,test\n", ["training slides need both labels"]),
        ("slide,label\na,0\nb,0\n", ["both labels are needed"]),
        (
            "slide,label,split,patient\na,0,train,p\nb,1,train,q\nc,1,test,p\n",
            ["slides a and c are of patient p", "one in train and one in test"],
        ),
        ("slide,label,class\na,0,huge\nb,1,\n", ["class 'huge'"]),
        ("slide,label,mpp\na,0,fast\nb,1,\n", ["mpp 'fast'"]),
        ("slide,label,mpp\na,0,0\nb,1,\n", ["mpp '0'"]),
        ("slide,label,mpp\na,0,nan\nb,1,\n", ["mpp 'nan'"]),
        ("slide,label,md5\na,0,xyz\nb,1,\n", ["md5 'xyz'"]),
        ("slide,label,froc\na,0,yes\nb,1,\n", ["froc 'yes'"]),
        ("slide,label\na,0,extra\nb,1\n", ["line 2", "cells"]),
        ("slide,label\na\nb,1\n", ["line 2", "cells"]),
        ("slide,label,label\na,0,0\nb,1,1\n", ["twice"]),
        ("slide,label\n", ["has no slides"]),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path, text, words):
    with pytest.raises(UserError) as error:
        cohort.read(table(tmp_path, text))
    message = str(error.value)
    assert "slides.csv" in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_missing_image_is_named(tmp_path):
    with pytest.raises(UserError, match=r"slide n1: image .*images/n1.tif: no such file"):
        cohort.read(table(tmp_path, GOOD), "images/{slide}.tif", "", tmp_path)


def test_a_path_that_is_too_long_is_no_such_file(tmp_path):
    text = f"slide,label,image,annotation\nn1,0,{'x' * 300}.tif,\nt1,1,,\n"
    with pytest.raises(UserError, match=r"slide n1: image .*: no such file"):
        cohort.read(table(tmp_path, text), "{slide}.tif", "", tmp_path)
    with pytest.raises(UserError, match=r"cannot be read|no such file"):
        cohort.read(tmp_path / ("x" * 300))
    with pytest.raises(UserError, match=r"cannot be read|not a CSV"):
        cohort.read_rows(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    "center", ["Radboud UMC, Nijmegen", "-", "-1", "a=b", "\u00c5rhus", "\uc11c\uc6b8", "a\u00a0b", "low grade"]
)
def test_ordinary_centres_are_taken(tmp_path, center):
    text = f'slide,label,center\na,0,"{center}"\nb,1,"{center}"\n'
    assert cohort.read(table(tmp_path, text))[0].center == center


def test_missing_and_binary_tables_are_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        cohort.read(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"slide,label\n\xff\xfe\x00,0\n")
    with pytest.raises(UserError, match="UTF-8"):
        cohort.read(tmp_path / "bytes.csv")


def test_written_table_has_every_column_and_reads_back(tmp_path):
    slides = cohort.read(table(tmp_path, GOOD))
    cohort.write(tmp_path / "out.csv", slides, simulated=True)
    with (tmp_path / "out.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert tuple(rows[0]) == cohort.RESOLVED
    assert [r["label"] for r in rows] == ["0", "1", "0", "1"]
    assert {r["simulated"] for r in rows} == {"1"}
    assert [r["froc"] for r in rows] == ["0", "0", "1", "0"]


@pytest.mark.skipif(SHARED is None, reason=REASON)
def test_the_real_pixel_slides_table_is_read():
    root = SHARED / "real_slides"
    slides = cohort.read(root / "slides.csv", "images/{slide}.tif", "annotations/{slide}.xml", root)
    assert len(slides) == 20
    assert sum(s.label for s in slides) == 10
    assert sum(bool(s.annotation) for s in slides) == 10
    assert sum(s.counts_for_froc for s in slides) == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("slide,label\n", "no rows"),
        ("slide,split\na,train\n", "no column 'label'"),
        ("slide,label\na,1\na,0\n", "line 3: slide a is there twice"),
        ('slide,label\na,"1\nx"\n', r"line 2: 'label' is '1\\nx', with a control character"),
        ('slide,label\n"a\nb",1\n"a\nb",1\n', r"line 2: 'slide' is 'a\\nb', with a control character"),
    ],
)
def test_rows_of_a_resolved_table_are_checked(tmp_path, text, message):
    (tmp_path / "slides.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        cohort.read_rows(tmp_path / "slides.csv")
    with pytest.raises(UserError, match=r"none\.csv: no such slides table"):
        cohort.read_rows(tmp_path / "none.csv")


def test_rows_of_a_resolved_table_are_text_without_blanks(tmp_path):
    (tmp_path / "slides.csv").write_text("\ufeffslide,label,split\na, 1 ,\nb,0\n", encoding="utf-8")
    rows = [{"slide": "a", "label": "1", "split": ""}, {"slide": "b", "label": "0", "split": ""}]
    assert cohort.read_rows(tmp_path / "slides.csv") == rows
