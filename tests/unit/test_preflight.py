"""Mistakes that can be known before the first job are one line, and what is right passes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from chowder import preflight
from chowder.data import cohort
from chowder.files import UserError

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Row:
    slide: str
    label: int
    split: str = ""
    patient: str = ""


@pytest.mark.parametrize("pattern", ["images/{slide}.tif", "{slide}/{slide}.svs", "fixed.tif", "", "a{{b}}{slide}"])
def test_patterns_with_the_slides_name_pass(pattern):
    preflight.patterns({"image": pattern, "annotation": pattern})


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("images/{name}.tif", "{name}: use {slide} only"),
        ("{0}.tif", "{0}"),
        ("{}.tif", "{}"),
        ("{slide", "is no pattern"),
        ("slide}", "is no pattern"),
        ("{slide:>9}", "{slide}"),
        ("{slide!r}", "{slide}"),
        ("{slide.__class__}", "{slide.__class__}"),
    ],
)
def test_other_patterns_are_named(pattern, words):
    with pytest.raises(UserError) as error:
        preflight.patterns({"image": "{slide}.tif", "annotation": pattern})
    assert str(error.value).startswith("config: slides.annotation: ")
    assert words.replace(": use {slide} only", "") in str(error.value)


def test_addresses(tmp_path):
    for good in (
        "https://example.org/CAMELYON16",
        "HTTP://127.0.0.1:8000/x",
        f"file://{tmp_path}",
        f"file://localhost{tmp_path}",
        str(tmp_path),
    ):
        preflight.address(good)
    for bad, words in (
        ("htps://example.org/x", "did you mean https://"),
        ("s3://camelyon-dataset/CAMELYON16", "amazonaws.com"),
        ("gopher://x/y", "use https://"),
        ("https:///x", "names no host"),
        (f"{tmp_path}/nothing", "no such folder"),
        (f"file://{tmp_path}/nothing", "no such folder"),
    ):
        with pytest.raises(UserError, match=r"^config: download.base_url: ") as error:
            preflight.address(bad)
        assert words in str(error.value)


def test_encoders_and_weights(tmp_path):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"x")
    preflight.encoders(["resnet50", "timm:vit_tiny"], {"resnet50": str(weights)})
    preflight.encoders(["resnet50"], {"resnet50": "IMAGENET1K_V2"})
    for listed, given, words in (
        (["resnet5O"], {}, "did you mean resnet50?"),
        (["vgg"], {}, "use one of"),
        (["timm"], {}, "is not known"),
        (["resnet50:x"], {}, "is not known"),
        (["resnet50"], {"resnet18": str(weights)}, "'resnet18' is not among encoders"),
        (["resnet50"], {"resnet50": f"{weights}x"}, "no such file"),
    ):
        with pytest.raises(UserError) as error:
            preflight.encoders(listed, given)
        assert words in str(error.value)


def test_folds_need_a_slide_of_each_class():
    rows = [Row("a", 1, "train"), Row("b", 1, "test"), Row("c", 0, "train"), Row("d", 0, "train"), Row("e", 0)]
    preflight.folds(2, "all", rows)
    with pytest.raises(UserError, match="3 folds need 3 tumour slides, the table has 2"):
        preflight.folds(3, "all", rows)
    with pytest.raises(UserError, match="2 folds need 2 tumour training slides, the table has 1"):
        preflight.folds(2, "train", rows)
    rows = [Row(name, int(name > "c"), "", patient) for name, patient in zip("abcdef", "ppqrrs", strict=True)]
    preflight.folds(2, "all", rows)
    with pytest.raises(UserError, match="3 folds need 3 tumour slides of different patients, the table has 2"):
        preflight.folds(3, "all", rows)
    with pytest.raises(UserError, match=r"cv.stratify: label does not keep a patient's slides together"):
        preflight.folds(2, "all", rows, "label")


def test_camelyon16_tables_hold_its_slides_only():
    known = [row.slide for row in cohort.read(preflight.shipped(ROOT), "images/{slide}.tif", "annotations/{slide}.xml")]
    assert len(known) == 399
    rows = [Row(name, 0, "test" if name.startswith("test") else "train") for name in known]
    preflight.camelyon16(rows, known, "t.csv")
    preflight.camelyon16([Row(name, 0) for name in known], known, "t.csv")
    with pytest.raises(UserError, match=r"^t.csv: slide normal_001: is a train slide, the table says test: "):
        preflight.camelyon16([Row("normal_001", 0, "test")], known, "t.csv")
    with pytest.raises(UserError, match=r"^t.csv: slide test_001: is a test slide, the table says train: "):
        preflight.camelyon16([Row("test_001", 0, "train")], known, "t.csv")
    for name, hint in (
        ("normal_086", "normal_0"),
        ("test_049", "test_"),
        ("mine", "use names such as"),
        ("Tumor_001", "tumor_001?"),
    ):
        with pytest.raises(UserError, match=rf"^t.csv: slide {name}: Camelyon-16 has no such slide: ") as error:
            preflight.camelyon16([Row("normal_001", 0), Row(name, 0)], known, "t.csv")
        assert hint in str(error.value)


def test_the_shipped_table_may_be_absent(tmp_path):
    assert preflight.shipped(tmp_path) is None
