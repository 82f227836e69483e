"""The command camelyon-froc: the workflow's own numbers, and one clear line for everything that is wrong."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import shapely
from packaging.requirements import Requirement
from PIL import Image

import score
from chowder.data.annotations import Outline, read_asap, tumor_mask, write_asap
from chowder.evaluation import command, curve_figure, masks, reports, tables
from chowder.evaluation.lesions import lesions_of
from chowder.files import UserError
from shared_data import REASON, SHARED

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ROOT / "workflow" / "scripts"
WIDTH, HEIGHT = 10_000, 12_000
TABLE = "slide,label,split,center,class,froc,width,height\n" + "".join(
    f"{name},{label},test,{center},{kind},1,{WIDTH},{HEIGHT}\n"
    for name, label, center, kind in (
        ("test_001", 1, "A", "macro"),
        ("test_002", 0, "A", "negative"),
        ("test_003", 1, "B", "micro"),
        ("test_004", 0, "B", "negative"),
    )
)
# line numbers of the table, for the messages
LINE = {"test_001": 2, "test_002": 3, "test_003": 4, "test_004": 5}
BLOB = shapely.Point(0, 0).buffer(900).exterior.coords
SMALL = shapely.Point(0, 0).buffer(100).exterior.coords


def outline(where, shape=BLOB, group="Tumor", name="lesion"):
    return Outline(name, group, np.array(shape)[:-1] + where)


@pytest.fixture
def data(tmp_path):
    """Two tumour slides (two lesions and isolated tumour cells; one lesion with a hole), two normal ones."""
    (tmp_path / "slides.csv").write_text(TABLE)
    write_asap(
        tmp_path / "xml" / "test_001.xml",
        [outline((3000, 3000)), outline((7003, 8011), name="two"), outline((8000, 2000), SMALL, name="cells")],
    )
    write_asap(
        tmp_path / "xml" / "test_003.xml", [outline((5000, 6000)), outline((5010, 6000), SMALL, "Exclusion", "hole")]
    )
    rng = np.random.default_rng(3)
    (tmp_path / "det").mkdir()
    for name in LINE:
        xy = rng.integers(0, (WIDTH, HEIGHT), (6, 2))
        rows = [f"{rng.random():.3f},{x},{y}" for x, y in xy]
        if name == "test_001":
            rows += ["0.9,3000,3000", "0.4,8000,2000"]
        if name == "test_003":
            rows += ["0.7,5000,6000"]
        (tmp_path / "det" / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def options(data, *more, truth="--annotations", folder="xml"):
    own = ["--detections", str(data / "det"), truth, str(data / folder), "--slides", str(data / "slides.csv")]
    return [*own, "--bootstrap", "100", *more]


def scored(data, *more, **where):
    command.main(options(data, *more, "--output", str(data / "s.json"), "--lesion-table", str(data / "l.csv"), **where))
    report = json.loads((data / "s.json").read_text())
    with (data / "l.csv").open() as handle:
        return report, list(csv.DictReader(handle))


def same(report):
    """Without what names folders."""
    return {key: value for key, value in report.items() if key not in ("notes", "warnings", "detections_folder")}


# ---------------------------------------------------------------------------------------------------- equal numbers


def test_numbers_are_those_of_the_workflow(data):
    """The workflow reads lesion files made from annotation and tissue record, and takes all slides' lesions."""
    slides = tables.read_slides(data / "slides.csv")
    lesions = {}
    for name, slide in slides.items():
        xml = data / "xml" / f"{name}.xml"
        lesions[name] = lesions_of(xml if slide.label else None, WIDTH, HEIGHT, None, {"froc_mpp": 0.243})
    files = {name: data / "det" / f"{name}.csv" for name in slides}
    settings = reports.Settings.of({"bootstrap": 100})
    wanted, curve, rows = reports.froc_report(slides, files, lesions, settings)
    tables.write_json(data / "wanted.json", wanted)
    tables.write_table(data / "wanted_l.csv", rows, reports.LESION_COLUMNS)
    tables.write_table(data / "wanted_c.csv", curve, reports.FROC_COLUMNS)
    report, _ = scored(data, "--froc-curve", str(data / "c.csv"))
    assert wanted["lesions"] == 3
    assert wanted["itc"] == 1
    expected = json.loads((data / "wanted.json").read_text())
    assert {key: report[key] for key in expected} == expected
    assert (data / "l.csv").read_text() == (data / "wanted_l.csv").read_text()
    assert (data / "c.csv").read_text() == (data / "wanted_c.csv").read_text()


def test_without_sizes_the_numbers_are_the_same_and_what_was_not_checked_is_listed(data):
    report, rows = scored(data)
    (data / "slides.csv").write_text(TABLE.replace(f",{WIDTH},{HEIGHT}", "").replace(",width,height", ""))
    other, other_rows = scored(data)
    assert same(other) == same(report)
    assert other_rows == rows
    assert any("positions were not held to the slide: test_001, test_002" in note for note in other["notes"])
    assert not report["notes"]


@pytest.mark.parametrize("suffix", [".npy", ".png", ".tif", "_mask.tif"])
@pytest.mark.parametrize("downsample", [32, 8])
def test_masks_give_the_lesions_of_annotations(data, suffix, downsample):
    report, rows = scored(data)
    (data / "masks").mkdir()
    for name in ("test_001", "test_003"):
        mask = tumor_mask(read_asap(data / "xml" / f"{name}.xml"), WIDTH, HEIGHT, 32)
        if downsample == 8:  # a finer mask whose pixels at the centres are those of the grid
            mask = np.kron(mask, np.ones((4, 4), bool))[: -(-HEIGHT // 8), : -(-WIDTH // 8)]
        path = data / "masks" / f"{name}{suffix}"
        if suffix == ".npy":
            np.save(path, mask)
        else:
            Image.fromarray(mask.astype(np.uint8) * 255).save(
                path, **({} if suffix == ".png" else {"compression": "tiff_lzw"})
            )
    other, other_rows = scored(data, truth="--masks", folder="masks")
    assert same(other) == same(report)
    assert other_rows == rows


def test_a_pyramid_is_read_at_the_level_of_the_grid(data, tmp_path):
    """Level 0 is blank, so that reading it would find nothing; the level of the grid is drawn."""
    wanted = np.zeros((40, 50), bool)
    wanted[10:20, 5:30] = True
    pages = [Image.fromarray(np.zeros((1280 >> k, 1600 >> k), np.uint8)) for k in range(5)]
    pages += [Image.fromarray(wanted.astype(np.uint8)), Image.fromarray(np.zeros((20, 25), np.uint8))]
    path = tmp_path / "a.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    for size in ((1600, 1280), None):
        mask, whole = masks.read_mask(path, size)
        assert whole == (1600, 1280)
        np.testing.assert_array_equal(mask, wanted)


@pytest.mark.parametrize("scale", [1, 2, 4, 8, 16, 32])
def test_a_finer_mask_is_read_at_the_centres_of_the_grid(tmp_path, scale):
    """Plain loop: pixel (row, column) of the grid is the mask pixel that holds level-0 point 32 (row, column) + 16."""
    width, height = 413, 300
    fine = np.random.default_rng(0).random((-(-height // scale), -(-width // scale))) < 0.5
    np.save(tmp_path / "a.npy", fine)
    mask, _ = masks.read_mask(tmp_path / "a.npy", (width, height), None if scale < 32 else 32)
    for row in range(-(-height // 32)):
        for column in range(-(-width // 32)):
            y, x = (32 * row + 16) // scale, (32 * column + 16) // scale
            inside = y < fine.shape[0] and x < fine.shape[1]
            assert mask[row, column] == (inside and fine[y, x])


def test_the_value_of_tumour_can_be_said(tmp_path):
    image = np.zeros((20, 20), np.uint8)
    image[:5], image[10:] = 1, 2
    np.save(tmp_path / "a.npy", image)
    assert masks.read_mask(tmp_path / "a.npy", None, value=2)[0].sum() == 200
    with pytest.raises(UserError, match="several values beside 0"):
        masks.read_mask(tmp_path / "a.npy", None)
    bright = np.zeros((20, 20, 4), np.uint8)
    bright[..., 3] = 255
    bright[3, 4, :3] = 255
    Image.fromarray(bright).save(tmp_path / "a.png")
    assert masks.read_mask(tmp_path / "a.png", None)[0].sum() == 1, "alpha is no tumour"


def test_two_folders_are_tested_and_drawn(data, capsys):
    (data / "other").mkdir()
    for path in (data / "det").glob("*.csv"):
        (data / "other" / path.name).write_text("")
    report, _ = scored(data, "--against", str(data / "other"), "--figure", str(data / "c.png"))
    against = report["against"]["corrected"]
    assert against["difference"] == report["corrected"]["score"] > 0
    assert "difference to the second folder, official: +" in capsys.readouterr().out
    assert Image.open(data / "c.png").size[0] > 500


def test_what_was_ignored_is_listed(data):
    (data / "slides.csv").write_text(TABLE.replace("center", "centre") + "train_1,1,train,A,macro,1,9,9\n")
    (data / "det" / "train_1.csv").write_text("not read\n")
    (data / "det" / "notes.txt").write_text("")
    (data / "det" / "test_002.csv").rename(data / "det" / "Test_002.csv")
    (data / "det" / "stranger.csv").write_text("")
    write_asap(data / "xml" / "stranger.xml", [outline((3000, 3000))])
    report, _ = scored(data, "--ignore-unknown")
    notes = " | ".join(report["notes"])
    for words in (
        "columns ignored: centre",
        "does not count (split or froc in the table): train_1.csv",
        "not a CSV: notes.txt",
        "upper and lower case: Test_002.csv",
        "det: ignored, slide not in the table: stranger.csv",
        "xml: ignored, slide not in the table: stranger.xml",
    ):
        assert words in notes, words


def test_help_says_what_files_hold(capsys):
    with pytest.raises(SystemExit) as stop:
        score.main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    for words in ("no header", "score,x,y", "level-0", "width,height", "Example:", "--against", "exit status"):
        assert words in text


def test_a_figure_without_matplotlib_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match="pip install matplotlib"):
        curve_figure.check(tmp_path / "a.png")


# ---------------------------------------------------------------------------------------------------- what is wrong


def append(name, text):
    def change(data):
        path = data / "det" / f"{name}.csv"
        path.write_text(path.read_text() + text)

    return change


def table(old, new):
    def change(data):
        assert old in TABLE
        (data / "slides.csv").write_text(TABLE.replace(old, new))

    return change


def whole(name, content):
    def change(data):
        path = data / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def annotate(name, *outlines):
    return lambda data: write_asap(data / "xml" / f"{name}.xml", outlines)


def edit(name, old, new):
    def change(data):
        text = (data / name).read_text()
        assert old in text
        (data / name).write_text(text.replace(old, new, 1))

    return change


def mask(array, name="test_001.npy", second=True):
    def change(data):
        (data / "masks").mkdir()
        good = np.zeros((375, 313), bool)
        good[90:120, 90:120] = True
        np.save(data / "masks" / "test_003.npy", good)
        path = data / "masks" / name
        if callable(array):
            array(path)
        else:
            np.save(path, good if array is None else array)

    return change


MASKS = {"truth": "--masks", "folder": "masks"}
ROW1 = f"test_001,1,test,A,macro,1,{WIDTH},{HEIGHT}"
ROW2 = f"test_002,0,test,A,negative,1,{WIDTH},{HEIGHT}"
UNSIZED = TABLE.replace(f",{WIDTH},{HEIGHT}", ",,")
N1, N2 = 9, 7  # lines that are appended: test_001 has 8 before, the normal slides 6
BAD = {
    # detections
    "x of 1e9 on a tumour slide": (append("test_001", "0.5,1e9,10\n"), rf"test_001.csv, line {N1}: x=1000000000, y=10"),
    "x of 1e9, size unknown": (
        lambda d: (append("test_001", "0.5,1e9,10\n")(d), whole("slides.csv", UNSIZED)(d)),
        rf"test_001.csv, line {N1}: x=1000000000, y=10 is beyond any slide",
    ),
    "x of 1e9 on a normal slide, size unknown": (
        lambda d: (append("test_002", "0.5,10,1e9\n")(d), whole("slides.csv", UNSIZED)(d)),
        rf"test_002.csv, line {N2}: x=10, y=1000000000 is beyond any slide",
    ),
    "outside a normal slide": (append("test_002", "\n\n0.99,10100,10\n"), rf"test_002.csv, line {N2 + 2}: x=10100"),
    "x and y changed": (append("test_004", "0.99,11900,10\n"), rf"test_004.csv, line {N2}: x=11900, y=10 is outside"),
    "below a tumour slide": (append("test_003", "0.9,10,12100\n"), r"test_003.csv, line 8: x=10, y=12100 is outside"),
    "a negative position": (append("test_002", "0.9,-1,5\n"), rf"test_002.csv, line {N2}: negative"),
    "a score that is NaN": (append("test_002", "nan,1,5\n"), rf"test_002.csv, line {N2}: .*NaN"),
    "an infinite score": (append("test_002", "1e999,1,5\n"), rf"test_002.csv, line {N2}: .*infinite"),
    "two columns": (append("test_002", "0.5,1\n"), rf"test_002.csv, line {N2}: 2 columns"),
    "four columns": (append("test_002", "0.5,1,2,3\n"), rf"test_002.csv, line {N2}: 4 columns"),
    "semicolons": (append("test_002", "0.5;1;2\n"), rf"test_002.csv, line {N2}: 1 columns"),
    "a word": (append("test_002", "high,1,2\n"), rf"test_002.csv, line {N2}: .*not three numbers"),
    "a header": (whole("det/test_002.csv", "score,x,y\n0.1,1,2\n"), r"test_002.csv, line 1: .*header"),
    "no text": (whole("det/test_002.csv", b"\xff\xfe\x00\x01"), r"test_002.csv: not a text file"),
    "CSV of an unknown slide": (whole("det/test_9.csv", "0.1,1,2\n"), r"test_9.csv: no slide 'test_9'"),
    "CSVs that differ in case": (whole("det/TEST_002.csv", "0.1,1,2\n"), r"test_002.csv: differs from TEST_002.csv"),
    "no CSV that counts": (lambda d: [p.unlink() for p in (d / "det").iterdir()], r"det: no <slide>.csv"),
    # annotations
    "no annotation": (lambda d: (d / "xml/test_003.xml").unlink(), r"slides.csv, line 4: slide test_003 .* no file"),
    "two annotations": (whole("xml/TEST_003.xml", "<x/>"), r"test_003.xml: differs from TEST_003.xml"),
    "annotation is no XML": (whole("xml/test_001.xml", "lesion"), r"test_001.xml: not an XML file"),
    "annotation is cut off": (edit("xml/test_001.xml", "</Annotations>", ""), r"test_001.xml: not an XML file .*line"),
    "annotation of another program": (whole("xml/test_001.xml", "<a></a>"), r"test_001.xml: not an ASAP annotation"),
    "an unknown group": (
        edit("xml/test_001.xml", '"Tumor"', '"Necrosis"'),
        r"test_001.xml: .*unknown group 'Necrosis'",
    ),
    "a point that is a word": (edit("xml/test_001.xml", 'X="3900.0"', 'X="left"'), r"test_001.xml: .*X='left'"),
    "a point of 1e12": (edit("xml/test_001.xml", 'X="3900.0"', 'X="1e12"'), r"test_001.xml: .*X='1e12'"),
    "a point of 1e8": (edit("xml/test_001.xml", 'X="3900.0"', 'X="1e8"'), r"test_001.xml: .*reaches x=100000000"),
    "an annotation with entities": (
        whole("xml/test_001.xml", '<!DOCTYPE a [<!ENTITY b "c">]><ASAP_Annotations>&b;</ASAP_Annotations>'),
        r"test_001.xml: refused",
    ),
    "a normal slide with lesions": (annotate("test_002", outline((3000, 3000))), r"slides.csv, line 3: .*label 0"),
    "no lesion anywhere": (
        lambda d: [annotate(n, outline((3000, 3000), SMALL))(d) for n in ("test_001", "test_003")],
        r"xml: no score: .*isolated tumour cells",
    ),
    # the slides table
    "width and height too small": (
        table(ROW1, ROW1.replace(f"{WIDTH},{HEIGHT}", "1000,1000")),
        r"slides.csv, line 2: slide test_001 is 1000 x 1000, but its outlines",
    ),
    "height too small for one lesion": (
        table(ROW1, ROW1.replace(f"{HEIGHT}", "6000")),
        r"slides.csv, line 2: slide test_001 is 10000 x 6000, but its outlines .* y=8911",
    ),
    "width of 1e9": (
        table(ROW1, ROW1.replace(f"{WIDTH}", "1000000000")),
        r"slides.csv, line 2: .*width is '1000000000'",
    ),
    "a negative height": (table(ROW1, ROW1.replace(f"{HEIGHT}", "-5")), r"slides.csv, line 2: .*height is '-5'"),
    "half a pixel": (table(ROW1, ROW1.replace(f"{HEIGHT}", "99.5")), r"slides.csv, line 2: .*height is '99.5'"),
    "a width that is a word": (table(ROW2, ROW2.replace(f"{WIDTH}", "wide")), r"slides.csv, line 3: .*width is 'wide'"),
    "a width without height": (table(ROW2, ROW2.replace(f"{HEIGHT}", "")), r"slides.csv, line 3: .*only one of width"),
    "an unknown label": (table("test_002,0", "test_002,benign"), r"slides.csv, line 3: .*label is 'benign'"),
    "an unknown split": (table(ROW2, ROW2.replace("test,A", "Test,A")), r"slides.csv, line 3: .*split is 'Test'"),
    "an unknown class": (table(ROW2, ROW2.replace("negative", "none")), r"slides.csv, line 3: .*class is 'none'"),
    "an unknown froc": (table(ROW2, ROW2.replace("negative,1", "negative,no")), r"slides.csv, line 3: .*froc is 'no'"),
    "a slide twice": (table(ROW2, f"{ROW2}\n{ROW2}"), r"slides.csv, line 4: slide test_002 is in the table twice"),
    "slides that differ in case": (
        table(ROW2, f"{ROW2}\n{ROW2.replace('test_', 'Test_')}"),
        r"slides.csv, line 4: slide Test_002 differs from test_002 in upper and lower case only \(line 3\)",
    ),
    "a cell too few": (table(ROW2, "test_002,0,test"), r"slides.csv, line 3: 3 cells, the header has 8"),
    "a path as a name": (table("test_002,0", "../a,0"), r"slides.csv, line 3: slide name '../a'"),
    "no column label": (table("slide,label", "slide,lable"), r"slides.csv, line 1: no column 'label'"),
    "a column twice": (table("center", "split"), r"slides.csv, line 1: duplicate column 'split'"),
    "an open quote": (table("test_004,", '"test_004,'), r"slides.csv, line \d: not CSV"),
    "an empty table": (whole("slides.csv", ""), r"slides.csv: no rows"),
    "a table in UTF-16": (whole("slides.csv", TABLE.encode("utf-16")), r"slides.csv: not a text file"),
    "only normal slides": (
        lambda d: whole("slides.csv", TABLE.replace(",1,test", ",0,test"))(d),
        "no tumour slide counts",
    ),
    # masks
    "a mask of another size": (
        mask(np.zeros((100, 100), bool)),
        r"test_001.npy: a mask of 100 x 100 does not fit",
        MASKS,
    ),
    "a mask of several values": (
        mask(np.arange(375 * 313).reshape(375, 313)),
        r"test_001.npy: .*several values",
        MASKS,
    ),
    "a mask of three axes": (mask(np.zeros((3, 3, 3))), r"test_001.npy: has the shape \(3, 3, 3\)", MASKS),
    "a mask of NaN": (mask(np.full((375, 313), np.nan)), r"test_001.npy: holds NaN", MASKS),
    "a mask that is no picture": (
        mask(lambda path: path.write_text("lesion"), "test_001.png"),
        r"test_001.png: cannot be read as a PNG or TIFF",
        MASKS,
    ),
    "a mask that is a pickle": (
        mask(lambda path: np.save(path, np.array([{}]), allow_pickle=True)),
        r"test_001.npy: cannot be read as npy",
        MASKS,
    ),
    "a coloured mask": (
        mask(lambda path: Image.new("RGB", (313, 375), "red").save(path), "test_001.png"),
        r"test_001.png: a colour image",
        MASKS,
    ),
    "two masks of a slide": (
        mask(lambda path: (np.save(path, np.ones((9, 9))), path.with_suffix(".png").write_text("")), "test_001.npy"),
        r"test_001.png: a second mask",
        MASKS,
    ),
    "a mask that is cut off": (
        mask(lambda path: path.write_bytes(_png()[:60]), "test_001.png"),
        r"test_001.png: cannot be read as a PNG or TIFF",
        MASKS,
    ),
    # options
    "an unknown setting": (None, "settings: unknown setting 'bootstraps'", {}, ["--settings", '{"bootstraps": 5}']),
    "settings that are no JSON": (None, "--settings: not JSON", {}, ["--settings", "bootstrap=5"]),
    "settings that are a list": (None, "--settings: holds a list", {}, ["--settings", "[1]"]),
    "no resample": (None, "bootstrap must be at least 1", {}, ["--bootstrap", "0"]),
    "half a resample": (None, "bootstrap is 1.5", {}, ["--bootstrap", "1.5"]),
    "a confidence of 95": (None, "confidence between 0 and 1", {}, ["--confidence", "95"]),
    "an unknown mode": (None, "froc_mode is 'best'", {}, ["--froc-mode", "best"]),
    "a spacing of 0": (None, "froc_mpp is 0", {}, ["--froc-mpp", "0"]),
    "the slide's spacing, not known": (None, "mpp is not known", {}, ["--froc-mpp", "slide"]),
    "an unknown option": (None, "unrecognized arguments: --boot", {}, ["--boot", "5"]),
    "a figure as JPEG": (None, "a.jpg: a figure is written as .png", {}, ["--figure", "a.jpg"]),
    "a second folder that is not there": (None, "nowhere: no such folder", {}, ["--against", "nowhere"]),
    "a second folder that lacks a slide": (
        lambda d: (whole("two/test_001.csv", "")(d), None)[1],
        "the other folder has no test_002.csv",
        {},
        ["--against", "{data}/two"],
    ),
    "options of masks for annotations": (None, "mean nothing without --masks", {}, ["--mask-value", "1"]),
}


def _png():
    import io

    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 2, (375, 313)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_there_are_sixty_mistakes():
    assert len(BAD) >= 60


@pytest.mark.parametrize("what", BAD)
def test_a_mistake_is_one_clear_line_and_an_exit_status(data, what, monkeypatch, capsys):
    change, words, where, more = (*BAD[what], {}, [])[:4]
    if change is not None:
        change(data)
    own = [text.replace("{data}", str(data)) for text in more]
    monkeypatch.setattr(sys, "argv", ["camelyon-froc", *options(data, **where), *own])
    with pytest.raises(SystemExit) as stop:
        command.console()
    out, err = capsys.readouterr()
    assert stop.value.code in (1, 2)
    assert not out
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert re.search(words, lines[0]), lines[0]


# ---------------------------------------------------------------------------------------------------- on its own


def needed(names: list[str]) -> set[str]:
    """Distributions that these need, with what they need, without extras; as pip would install them."""
    found: set[str] = set()
    while names:
        name = names.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        found.add(key)
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                names.append(requirement.name)
    return found


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    """An interpreter's path that holds the built wheel and what its ``dependencies`` name, nothing else."""
    folder = tmp_path_factory.mktemp("empty")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    source = folder / "source"  # a build writes into its folder
    library = Path("workflow", "scripts", "chowder")
    shutil.copytree(ROOT / library, source / library, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    done = subprocess.run([*build, "--wheel-dir", str(folder), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(site)]
    done = subprocess.run([*install, str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name in needed([Requirement(text).name for text in project["dependencies"]]):
        for file in importlib.metadata.files(name) or ():
            top = file.parts[0]
            if top != ".." and not top.startswith("__pycache__") and not (site / top).exists():
                (site / top).symlink_to(Path(file.locate()).parents[len(file.parts) - 1] / top)
    return site


def alone(site: Path, arguments: list[str]) -> subprocess.CompletedProcess:
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r}); from chowder.evaluation.command import console; console()"
    )
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-I", "-S", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=site.parent)


@pytest.mark.slow
def test_the_wheel_alone_scores(data, empty):
    assert not (empty / "torch").exists()
    assert not (empty / "matplotlib").exists()
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["camelyon-froc"]
    assert entry == "chowder.evaluation.command:console"
    assert (empty / "bin" / "camelyon-froc").is_file()
    done = alone(empty, options(data, "--output", str(data / "alone.json")))
    assert done.returncode == 0, done.stderr
    report, _ = scored(data)
    assert same(json.loads((data / "alone.json").read_text())) == same(report)
    done = alone(empty, options(data, "--figure", "a.png"))
    assert done.returncode == 1
    assert done.stderr == "error: a.png: figures need matplotlib: pip install matplotlib, or leave --figure out\n"


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason=REASON)
def test_real_annotations_are_scored_in_less_than_ten_seconds(tmp_path, empty):
    """All 20 slides count; detections everywhere, 200 a slide."""
    folder = SHARED / "real_slides"
    with (folder / "slides.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    lines = [f"{row['slide']},{row['label']},{row['center']},4608,4608" for row in rows]
    (tmp_path / "slides.csv").write_text("slide,label,center,width,height\n" + "\n".join(lines) + "\n")
    rng = np.random.default_rng(0)
    (tmp_path / "det").mkdir()
    for row in rows:
        text = "".join(f"{rng.random()},{x},{y}\n" for x, y in rng.integers(0, 4608, (200, 2)))
        (tmp_path / "det" / f"{row['slide']}.csv").write_text(text)
    arguments = ["--detections", str(tmp_path / "det"), "--annotations", str(folder / "annotations")]
    started = time.perf_counter()
    done = alone(empty, [*arguments, "--slides", str(tmp_path / "slides.csv"), "--output", str(tmp_path / "s.json")])
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "s.json").read_text())
    assert report["slides"] == len(rows) == 20
    assert report["lesions"] >= sum(int(row["lesions"]) > 0 for row in rows)
    assert seconds < 10 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)), f"{seconds:.1f} s"
