"""Slides without labels: from a folder, from a table, and what is wrong with either in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from slide_fixtures import tissue_like, write_tiff

from chowder.data import unlabelled
from chowder.files import UserError


@pytest.fixture
def folder(tmp_path) -> Path:
    write_tiff(tmp_path / "b.1.tif", [tissue_like(256, 256)])
    write_tiff(tmp_path / "a-2.tiff", [tissue_like(256, 256)])
    (tmp_path / "notes.txt").write_text("no slide")
    (tmp_path / "deep").mkdir()
    return tmp_path


def test_a_folder_gives_what_openslide_reads_by_its_stem(folder):
    found = unlabelled.find(folder)
    assert [(slide.slide, slide.image, slide.mpp) for slide in found] == [
        ("a-2", str(folder / "a-2.tiff"), ""),
        ("b.1", str(folder / "b.1.tif"), ""),
    ]


def test_a_table_names_slides_itself_and_ignores_other_columns(folder):
    table = folder / "slides.csv"
    table.write_text(f"slide,label,image,mpp\nthird,1,b.1.tif,0.25\nfirst,,{folder / 'a-2.tiff'},\n")
    found = unlabelled.find(table)
    assert [(slide.slide, slide.image, slide.mpp, slide.label, slide.split) for slide in found] == [
        ("third", str(folder / "b.1.tif"), "0.25", 0, ""),
        ("first", str(folder / "a-2.tiff"), "", 0, ""),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slide,mpp\na,0.5\n", "no column 'image'"),
        ("slide,image\na,none.tif\n", "line 2: slide a: image '.*none.tif': no such file"),
        ("slide,image\na,\n", "line 2: slide a: image"),
        ("slide,image\na,b.1.tif\na,a-2.tiff\n", "slide a is there twice"),
        ("slide,image\nx,b.1.tif\nX,a-2.tiff\n", "would both be slide X"),
        ("slide,image\na b,b.1.tif\n", "'a b' can't be the name"),
        ("slide,image\n../a,b.1.tif\n", "'../a' can't be the name"),
        ("slide,image,mpp\na,b.1.tif,big\n", "line 2: slide a: mpp 'big'"),
        ("slide,image,mpp\na,b.1.tif,0\n", "line 2: slide a: mpp '0'"),
        ("slide,image,mpp\na,b.1.tif,nan\n", "line 2: slide a: mpp 'nan'"),
        ("slide,image\n", "no rows"),
    ],
)
def test_mistakes_of_a_table_are_named(folder, text, words):
    (folder / "slides.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        unlabelled.find(folder / "slides.csv")


def test_mistakes_of_a_folder_are_named(folder):
    with pytest.raises(UserError, match="no such folder or table"):
        unlabelled.find(folder / "none")
    with pytest.raises(UserError, match="none of its 0 files"):
        unlabelled.find(folder / "deep")
    (folder / "a-2.tif").write_bytes((folder / "a-2.tiff").read_bytes())
    with pytest.raises(UserError, match="would both be slide a-2"):
        unlabelled.find(folder)
    (folder / "a-2.tif").rename(folder / "S 12.tif")
    with pytest.raises(UserError, match="'S 12' can't be the name of a slide"):
        unlabelled.find(folder)
