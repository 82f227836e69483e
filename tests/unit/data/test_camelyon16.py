"""The slides table of Camelyon-16 against the rules, the facts it was made from, and both forms of reference.csv."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

import camelyon16_table
import fetch as fetch_script
from chowder.data import camelyon16
from chowder.data.camelyon16 import (
    candidates,
    check_table,
    left_out,
    md5_of,
    read_md5_list,
    read_reference,
    read_table,
    slide_name,
)
from chowder.files import UserError
from shared_data import REASON, SHARED

CONFIG = Path(__file__).resolve().parents[3] / "config"
TABLE = CONFIG / "camelyon16.csv"
NOT_EXHAUSTIVE = (10, 15, 18, 20, 25, 29, 33, 34, 44, 46, 51, 54, 55, 56, 67, 79, 85, 92, 95, 110)
needs_shared = pytest.mark.skipif(SHARED is None, reason=REASON)


@pytest.fixture(scope="module")
def table():
    return read_table(TABLE)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def full_form(table, change=lambda row: row) -> str:
    """reference.csv of the public bucket: header, all slides, file names."""
    lines = ["image,type,class,center"]
    for row in table:
        row = change(dict(row))
        kind = row["class"] or ("negative" if row["label"] == "0" else "macro")
        lines.append(f"{row['slide']}.tif,{'tumor' if row['label'] == '1' else 'normal'},{kind},{row['center']}")
    return "\n".join(lines) + "\n"


def old_form(table) -> str:
    """reference.csv of the older mirror: no header, test slides only, histological type before the class."""
    words = {"negative": "Normal,None,None", "micro": "Tumor,ILC,Micro", "macro": "Tumor,IDC,Macro"}
    return "\n".join(f"{row['slide']},{words[row['class']]}" for row in table if row["split"] == "test")


def test_there_are_399_slides_with_the_gaps_of_the_dataset():
    names = camelyon16.slides()
    assert len(names) == len(set(names)) == 399
    assert Counter(name.split("_")[0] for name in names) == {"normal": 159, "tumor": 111, "test": 129}
    assert not {"normal_086", "test_049"} & set(names)


def test_the_committed_table_has_the_published_counts(table):
    """270 training slides (159 normal, 111 tumour), 129 test slides (80 normal, 22 macro, 27 micro)."""
    assert [row["slide"] for row in table] == camelyon16.slides()
    assert TABLE.read_text().splitlines()[0] == "slide,image,label,split,center,class,annotation,froc,exhaustive"
    assert Counter((row["split"], row["label"]) for row in table) == {
        ("train", "0"): 159,
        ("train", "1"): 111,
        ("test", "0"): 80,
        ("test", "1"): 49,
    }
    assert Counter(row["class"] for row in table) == {"": 270, "negative": 80, "macro": 22, "micro": 27}
    assert all((row["class"] == "negative") == (row["label"] == "0") for row in table if row["split"] == "test")
    assert sum(row["annotation"] != "" for row in table) == 160
    assert all(row["image"] == f"images/{row['slide']}.tif" for row in table)
    assert all(row["annotation"] == f"annotations/{row['slide']}.xml" for row in table if row["label"] == "1")


def test_test_114_and_twenty_training_slides_are_flagged(table):
    scored = {row["slide"] for row in table if row["froc"] == "1"}
    assert scored == {name for name in camelyon16.slides() if name.startswith("test_")} - {"test_114"}
    assert len(scored) == 128
    loose = {row["slide"] for row in table if row["exhaustive"] == "0"}
    assert loose == {f"tumor_{number:03d}" for number in NOT_EXHAUSTIVE} | {"test_114"}


def test_training_centres_follow_the_numbers(table):
    train = [row for row in table if row["split"] == "train"]
    assert all(row["center"] == camelyon16.training_center(row["slide"]) for row in train)
    assert Counter(row["center"] for row in train) == {"RUMC": 169, "UMCU": 101}
    assert camelyon16.training_center("test_001") is None


@needs_shared
def test_the_committed_tables_are_what_the_facts_give(tmp_path):
    facts = str(SHARED / "camelyon16" / "slides.csv")
    for flags, name in (([], "camelyon16.csv"), (["--mini"], "camelyon16-mini.csv")):
        camelyon16_table.main(["--facts", facts, *flags, "--output", str(tmp_path / name)])
        assert (tmp_path / name).read_text() == (CONFIG / name).read_text()


@needs_shared
def test_the_table_agrees_with_the_truth_beside_published_scores(table):
    """test_scores.csv comes from another source (DIDSR/dldp) than the table's facts."""
    with (SHARED / "camelyon16" / "scores" / "test_scores.csv").open() as handle:
        truth = {row["slide"]: row["truth"] for row in csv.DictReader(handle)}
    assert truth == {row["slide"]: row["label"] for row in table if row["split"] == "test"}


def test_the_small_table_is_eight_slides_without_a_split(table):
    mini, full = read_table(CONFIG / "camelyon16-mini.csv"), {row["slide"]: row for row in table}
    assert [row["slide"] for row in mini] == list(camelyon16.MINI)
    assert Counter(row["label"] for row in mini) == {"0": 4, "1": 4}
    for row in mini:
        assert row["split"] == "" and row["froc"] == row["exhaustive"] == "1"
        assert all(row[key] == full[row["slide"]][key] for key in ("image", "label", "center", "annotation", "class"))


@pytest.mark.parametrize("text", ["normal_001", "Normal_001.TIF", "images/normal_001.tif", " normal_001.tif "])
def test_slide_names_are_read_in_every_spelling(text):
    assert slide_name(text) == "normal_001"


@pytest.mark.parametrize("text", ["normal_086", "test_049", "test_131", "tumor_000", "tumor_1", "patient_001", ""])
def test_what_is_no_slide_is_refused(text):
    with pytest.raises(UserError, match="is not a Camelyon-16 slide"):
        slide_name(text)


def test_candidates_begin_with_the_public_bucket_and_cover_the_old_layout():
    assert candidates("normal_001")[0] == "images/normal_001.tif"
    assert {"images/Normal_001.tif", "images/normal_001.TIF", "training/normal/normal_001.tif"} <= set(
        candidates("normal_001")
    )
    assert "training/tumor/Tumor_091.tif" in candidates("tumor_091")
    assert "testing/images/test_001.tif" in candidates("test_001")
    assert candidates("tumor_091", "annotation")[0] == "annotations/tumor_091.xml"
    assert len(set(candidates("test_001"))) == len(candidates("test_001"))


def test_candidates_can_be_configured():
    assert candidates("Tumor_091", "image", {"image": ["{half}/{Slide}.svs"]}) == ["training/Tumor_091.svs"]
    with pytest.raises(UserError, match=r"'name' in a pattern: use {slide}"):
        candidates("tumor_091", "image", {"image": ["{name}.tif"]})
    with pytest.raises(UserError, match="'mask' is no kind"):
        candidates("tumor_091", "mask")


def test_md5_lists_are_read_in_every_spelling_of_their_lines(tmp_path):
    a, b, c = "a" * 32, "B" * 32, "c" * 32
    path = write(
        tmp_path / "checksums.md5", f"{a} *images/Tumor_091.tif\r\n\n{b}  ./annotations/tumor_091.xml\r\n{c} *x y.tif"
    )
    sums = read_md5_list(path)
    assert sums == {"images/tumor_091.tif": a, "annotations/tumor_091.xml": b.lower(), "x y.tif": c}


def test_an_md5_is_found_by_key_or_by_a_unique_file_name():
    sums = {"training/tumor/tumor_091.tif": "a", "masks/tumor_091.tif": "b", "training/normal/normal_001.tif": "c"}
    assert md5_of(sums, ["images/tumor_091.tif", "Training/Tumor/tumor_091.TIF"]) == "a"
    assert md5_of(sums, ["images/normal_001.tif"]) == "c"
    with pytest.raises(UserError, match=r"different sums for images/tumor_091.tif"):
        md5_of(sums, ["images/tumor_091.tif"])
    with pytest.raises(UserError, match=r"no sum for images/test_001.tif"):
        md5_of(sums, ["images/test_001.tif"])


@pytest.mark.parametrize(("text", "says"), [("<html>", "line 1"), ("", "holds no checksum")])
def test_what_is_no_md5_list_is_named(tmp_path, text, says):
    with pytest.raises(UserError, match=says):
        read_md5_list(write(tmp_path / "checksums.md5", text))


def test_both_forms_of_the_reference_agree_with_the_table(tmp_path, table):
    full = read_reference(write(tmp_path / "a.csv", full_form(table)))
    old = read_reference(write(tmp_path / "b.csv", old_form(table)))
    assert (full.complete, len(full.slides)) == (True, 399) and (old.complete, len(old.slides)) == (False, 129)
    assert check_table(table, full) == 399 and check_table(table, old) == 129
    for row in table:
        if row["split"] == "test":
            assert {key: full.slides[row["slide"]][key] for key in ("label", "class", "center")} == {
                key: row[key] for key in ("label", "class", "center")
            }
            assert old.slides[row["slide"]] == {"label": row["label"], "class": row["class"], "center": None}


def test_the_reference_is_read_in_mixed_case_with_a_bom_numbered_centres_and_withdrawn_slides(tmp_path, table):
    text = "\ufeff" + full_form(table).replace("normal_", "Normal_").replace(",RUMC", ",0").replace(",UMCU", ",1")
    text += "test_049.tif,tumor,macro,0\nNormal_086.tif,normal,negative,0\n"
    assert check_table(table, read_reference(write(tmp_path / "a.csv", text))) == 399


def test_an_unknown_word_for_a_centre_is_left_open(tmp_path, table):
    text = full_form(table).replace(",RUMC", ",Nijmegen")
    assert check_table(table, read_reference(write(tmp_path / "a.csv", text))) == 399


@pytest.mark.parametrize(
    ("key", "value", "slide", "says"),
    [
        ("label", "1", "normal_007", "normal_007 has label 0 but the reference says 1"),
        ("center", "UMCU", "tumor_001", "tumor_001 has center RUMC but the reference says UMCU"),
        ("class", "macro", "test_004", "test_004 has class micro but the reference says macro"),
    ],
)
def test_a_disagreement_names_the_slide(tmp_path, table, key, value, slide, says):
    text = full_form(table, lambda row: {**row, key: value} if row["slide"] == slide else row)
    with pytest.raises(UserError, match=says) as error:
        check_table(table, read_reference(write(tmp_path / "a.csv", text)))
    assert "\n" not in str(error.value) and "more" not in str(error.value)


def test_a_split_that_is_not_the_names_is_named(tmp_path, table):
    full = read_reference(write(tmp_path / "a.csv", full_form(table)))
    moved = [row | {"split": "test"} if row["slide"] == "tumor_007" else row for row in table]
    with pytest.raises(UserError, match="tumor_007 has split test but is a train slide"):
        check_table(moved, full)
    assert check_table([row | {"split": ""} for row in table], full) == 399
    assert left_out(table[1:], full) == ["normal_001"] and left_out(table, full) == []


def test_many_disagreements_name_the_first_and_count_the_rest(tmp_path, table):
    text = full_form(table, lambda row: {**row, "label": str(1 - int(row["label"]))})
    with pytest.raises(UserError, match=r"normal_001 .*normal_002 .*normal_003 .*and 396 more"):
        check_table(table, read_reference(write(tmp_path / "a.csv", text)))


def test_a_slide_that_the_reference_lacks_is_named(tmp_path, table):
    lines = full_form(table).splitlines()
    with pytest.raises(UserError, match="test_130 is not in the reference"):
        check_table(table, read_reference(write(tmp_path / "a.csv", "\n".join(lines[:-1]))))
    lines = old_form(table).splitlines()
    with pytest.raises(UserError, match="test_001 is not in the reference"):
        check_table(table, read_reference(write(tmp_path / "b.csv", "\n".join(lines[1:]))))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("<Error>AccessDenied</Error>", "line 1"),
        ("image,type,center\n", "no column 'class'"),
        ("test_001,Benign,None,None\n", "line 1: type 'benign'"),
        ("test_001,Tumor,IDC,Macro\ntest_001,Tumor,IDC,Macro\n", "line 2: test_001 is listed twice"),
        ("test_200,Tumor,IDC,Macro\n", "line 1: 'test_200' is not"),
    ],
)
def test_what_is_no_reference_is_named(tmp_path, text, says):
    with pytest.raises(UserError, match=says):
        read_reference(write(tmp_path / "reference.csv", text))


def test_facts_that_break_the_rules_are_refused(table):
    facts = [
        {**row, "label": "tumor" if row["label"] == "1" else "normal", "exhaustively_annotated": row["exhaustive"]}
        for row in table
    ]
    assert camelyon16.make_table(facts) == table
    with pytest.raises(UserError, match="test_130 and 0 others"):
        camelyon16.make_table(facts[:-1])
    for key, value, says in (("center", "UMCU", "its number says RUMC"), ("label", "tumor", "its name says otherwise")):
        with pytest.raises(UserError, match=says):
            camelyon16.make_table([{**facts[0], key: value}, *facts[1:]])


def test_the_check_script_says_how_much_was_compared(tmp_path, table):
    reference = write(tmp_path / "reference.csv", old_form(table))
    arguments = [
        "--check",
        "--table",
        str(TABLE),
        "--reference",
        str(reference),
        "--output",
        str(tmp_path / "checked.txt"),
    ]
    camelyon16_table.main(arguments)
    assert "129 of 399 slides" in (tmp_path / "checked.txt").read_text()
    write(reference, old_form(table).replace("test_001,Tumor,IDC,Macro", "test_001,Normal,None,None"))
    (tmp_path / "checked.txt").unlink()
    with pytest.raises(UserError, match="test_001 has label 1"):
        camelyon16_table.main(arguments)
    assert not (tmp_path / "checked.txt").exists()


@pytest.mark.parametrize("key", ["images/tumor_091.tif", "images/Tumor_091.tif", "training/tumor/tumor_091.tif"])
def test_a_mirror_in_any_layout_serves_the_fetch_script(tmp_path, key):
    import hashlib

    (tmp_path / "mirror" / key).parent.mkdir(parents=True)
    (tmp_path / "mirror" / key).write_bytes(b"slide")
    sums = write(tmp_path / "checksums.md5", f"{hashlib.md5(b'slide').hexdigest()} *{key}\n")
    out = tmp_path / "out" / "tumor_091.tif"
    arguments = ["--base", str(tmp_path / "mirror"), "--slide", "tumor_091", "--md5-list", str(sums)]
    fetch_script.main([*arguments, "--output", str(out)])
    assert out.read_bytes() == b"slide"
