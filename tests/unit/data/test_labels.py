"""A second label set in place of the slides table's, and outlines of slides that are not there."""

from __future__ import annotations

import re

import pytest

from chowder.data import cohort
from chowder.files import UserError

TABLE = """slide,label,split,class,annotation,froc
a,normal,train,negative,,
b,tumor,train,macro,b.xml,
c,tumor,test,micro,c.xml,
d,normal,test,negative,,
"""


@pytest.fixture
def slides(tmp_path):
    (tmp_path / "slides.csv").write_text(TABLE)
    return cohort.read(tmp_path / "slides.csv")


def labels(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    return tmp_path / "labels.csv"


def test_labels_classes_outlines_and_froc_are_replaced_where_given(slides, tmp_path):
    head = "slide,label,class,annotation,froc,source\n"
    text = f"{head}c,normal,,,,second reading\nd,tumor,itc,new.xml,,x\nb,,,other.xml,0,\n"
    found, changed = cohort.override(slides, labels(tmp_path, text))
    by_name = {slide.slide: slide for slide in found}
    assert [slide.slide for slide in found] == list("abcd") and changed == ["c", "d", "b"]
    assert by_name["a"] == slides[0]
    assert (by_name["b"].label, by_name["b"].cls, by_name["b"].annotation, by_name["b"].froc) == (
        1,
        "macro",
        "other.xml",
        False,
    )
    assert (by_name["c"].label, by_name["c"].cls, by_name["c"].annotation) == (0, "", "")
    assert (by_name["d"].label, by_name["d"].cls, by_name["d"].annotation) == (1, "itc", "new.xml")
    assert by_name["d"].counts_for_froc and by_name["c"].counts_for_froc
    assert cohort.override(slides, labels(tmp_path, "slide,label\na,normal\n")) == (slides, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide,label\nx,tumor\n", "labels.csv, line 2: slide x is not in the slides table"),
        ("slide,label\na,tumor\na,normal\n", "line 3: slide a is there twice"),
        ("slide,label\na,maybe\n", "line 2: slide a: label 'maybe' is not known"),
        ("slide,class\na,huge\n", "line 2: slide a: class 'huge' is not known"),
        ("slide,froc\na,2\n", "line 2: slide a: froc '2'"),
        ("slide,colour\na,red\n", "unknown column 'colour'"),
        ("slide\na\n", "no column beside slide"),
        ("slide,label\nb,normal\n", "the training slides need both labels"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(slides, tmp_path, text, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        cohort.override(slides, labels(tmp_path, text))
    assert "labels.csv" in str(error.value) and "\n" not in str(error.value)


def test_outlines_count_where_their_files_are(slides, tmp_path):
    (tmp_path / "c.xml").write_text("")
    found = {slide.slide: slide for slide in cohort.outlined(slides, tmp_path)}
    assert found["c"].counts_for_froc and found["d"].counts_for_froc
    assert found["b"].annotation == ""
    assert not any(slide.counts_for_froc for slide in cohort.outlined(slides, tmp_path, places=False))
