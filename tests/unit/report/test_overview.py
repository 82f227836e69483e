"""index.html: the answer first, everything embedded, every name escaped, simulated data called so."""

import base64
import io
import json
import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image
from test_table import TESTS, Reader, auc_json, demo, froc_json

import overview
from chowder.files import UserError
from chowder.report.figures.view import View
from chowder.report.overview import cards, drawings, maps, page, record, slides
from chowder.report.table import rows as table
from chowder.slides import tile_table
from chowder.slides.grid import Grid

HOSTILE = "<img src=x onerror=alert(1)>&\"'"


def decoded(url):
    kind, _, data = url.partition(";base64,")
    assert kind.startswith("data:image/")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


# Heat maps


def toy_map(**more):
    """A grey slide of 4 x 2 tiles of 100 px at 1 um/px; the second tile has the highest score."""
    tiles = pd.DataFrame({"x": [0, 100, 200, 300] * 2, "y": [0] * 4 + [100] * 4, "score": [0, 2, -1, np.nan] + [0] * 4})
    view = View(np.full((200, 400, 3), 200, np.uint8), (0, 0, 400, 200))
    return maps.small_map(view, tiles, 100, 1.0, 2.0, 400, **more)


def test_a_small_map_is_red_where_the_score_is_high_and_grey_without_score():
    plain, tinted = toy_map()
    assert plain.shape == tinted.shape == (200, 400, 3)
    assert (plain == 200).all()
    high, zero, below = (tinted[50, x].astype(int) for x in (150, 50, 250))
    assert high[0] > high[1] + 100 and np.ptp(zero) < 3 and np.ptp(below) < 3
    assert tinted[50, 350].max() < zero.min()  # no score: darker than a score of 0


def test_lesions_are_black_and_exclusions_blue_and_dashed_in_both_pictures():
    excluded = shapely.box(100, 50, 200, 150)
    area = shapely.box(20, 20, 300, 180) - excluded
    for picture in toy_map(area=area, excluded=excluded):
        assert (picture[100, 20] < 60).all()  # the lesion's edge
        edge = picture[52:148, 100].astype(int)  # the exclusion's edge, on which the lesion has none
        blue = (edge[:, 2] > edge[:, 0] + 60).mean()
        assert 0.3 < blue < 0.9
        assert not (edge.max(1) < 60).any()


def test_dashes_have_their_lengths_also_around_corners():
    pieces = maps.dashes(np.array([[0, 0], [7, 0], [7, 20]], float))
    lengths = [np.hypot(*np.diff(piece, axis=0).T).sum() for piece in pieces]
    assert lengths == pytest.approx([8, 8, 1])
    assert pieces[0].tolist() == [[0, 0], [7, 0], [7, 1]] and pieces[1].tolist()[0] == [7, 6]


def test_an_error_is_the_distance_from_the_label():
    assert maps.wrong(1, 0.25) == 0.75 and maps.wrong(0, 0.25) == 0.25 and np.isnan(maps.wrong(1, np.nan))
    assert [maps.longest_side(count) for count in (24, 129, 500)] == [560, 420, 300]


# Time and versions


def test_wall_time_counts_overlap_once_and_pauses_not(tmp_path):
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    for name, end, seconds, rss in (("train/e/a", 100, 60, 300), ("train/e/b", 110, 60, 500), ("score", 1000, 5, "-")):
        path = tmp_path / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{head}{seconds}\t0:01\t{rss}\t1\t1\t1\t1\t1\t90\t{seconds * 2}\n")
        os.utime(path, (end, end))
    (tmp_path / "broken.tsv").write_text("s\nNA\n")
    found = record.jobs(tmp_path)
    assert record.busy(found) == 75  # 40 to 110, and 5
    assert record.by_rule(found) == [("train", 2, 120, 240, 500), ("score", 1, 5, 10, 0)]
    text = page.time_section(found)
    assert "75.0 s" in text and "0.07 processor hours" in text
    assert record.busy([]) == 0 and "No job" in page.time_section([])


def test_versions_and_commit_are_those_of_here(tmp_path):
    assert dict(record.versions())["numpy"] == np.__version__
    assert record.commit(tmp_path) == ""


# The answer


def test_undertrained_members_are_not_mixed_with_other_notes_of_a_row():
    bench = demo()
    bench.undertrained = ["CHOWDER R=5: 2 of 10."]
    bench.about["resnet50", "chowder_r5"] = ["CHOWDER R=5: 2 of 10.", "Others published 0.9."]
    text = page.warning_list(bench, [f"s: {HOSTILE}"])
    assert "2 of 10" in text and "Others published" not in text and "<img" not in text
    assert "None." in page.warning_list(demo(), [])


def test_the_answer_names_the_highest_and_what_tests_say():
    lines = page.answer(demo())
    assert "<strong>CHOWDER R=5</strong> has the highest test AUC: <strong>0.900</strong> [0.800, 1.000]" in lines[0]
    assert "paired tests tell 1 of the 2 others apart from it" in lines[0]
    assert "has the highest FROC: <strong>0.400</strong> [0.300, 0.500]" in lines[1]
    assert all(table.SIMULATED in line for line in lines)
    assert "no paired test was made" in page.answer(demo(None))[0]
    assert not any("SIMULATED" in line for line in page.answer(demo(simulated=False)))


# Cards


def test_cards_are_ordered_by_the_first_sort_and_escape_everything():
    made = [
        cards.Card(name, f"slide-{name}", [("data:image/png;base64,", name)], ["x"], {"error": error}, ["tumour"])
        for name, error in (("low", 0.1), ("none", np.nan), (HOSTILE, 0.9))
    ]
    text = cards.sheet(made, {"error": "error"}, {"tumour": HOSTILE}, page=2)
    assert re.findall(r'data-error="([^"]*)"', text) == ["0.9", "0.1", ""]
    assert "<img src=x" not in text
    reader = Reader()
    reader.feed(re.sub(r"<img[^>]*>", "", text))
    assert reader.open == []


# The whole program, on a run of three slides

METHODS = ("meanpool", "chowder_r5")
ASAP = """<ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="{group}"><Coordinates>
<Coordinate Order="0" X="10" Y="10"/><Coordinate Order="1" X="150" Y="10"/><Coordinate Order="2" X="150" Y="90"/>
</Coordinates></Annotation></Annotations></ASAP_Annotations>"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run's folder, and the options of the program."""
    import pyarrow as pa

    root = tmp_path_factory.mktemp("run")
    names = ["train_1", "test_1", "test_2"]
    for name in ("tissue", "previews", "tiles", "figures", "benchmarks", "tile_scores/e/m", "captions"):
        (root / name).mkdir(parents=True)
    grid = Grid(100, 1.0, 1.0, "target", 0, 100.0, 1.0, 1.0, 4, 2)
    xy = np.array([[0, 0], [100, 0], [200, 100]], np.int32)
    for place, slide in enumerate(names):
        Image.new("RGB", (80, 40), "white").save(root / f"previews/{slide}.jpg")
        Image.new("L", (80, 40), 255).save(root / f"tissue/{slide}.png")
        about = {"slide": slide, "width": 400, "height": 200, "mpp": 1.0, "area_mm2": 1.5 + place}
        about["warnings"] = [f"pen {HOSTILE}"] if place == 1 else []
        (root / f"tissue/{slide}.json").write_text(json.dumps(about))
        tile_table.write(root / f"tiles/{slide}.parquet", pa.table({"x": xy[:, 0], "y": xy[:, 1]}), grid, slide)
    for slide in names[1:]:
        pd.DataFrame({"x": xy[:, 0], "y": xy[:, 1], "score": [0.0, 1.0, 2.0]}).to_parquet(
            root / f"tile_scores/e/m/{slide}.parquet"
        )
    (root / "test_1.xml").write_text(ASAP.format(group="Tumor"))
    slides_csv = pd.DataFrame({"slide": names, "label": [0, 1, 0], "split": ["train", "test", "test"]})
    slides_csv.assign(center=HOSTILE).to_csv(root / "slides.csv", index=False)
    (root / "predictions/e/m").mkdir(parents=True)
    (root / "predictions/e/m/competition.csv").write_text(
        "slide,label,probability,member_1\ntest_1,1,0.2,0.2\ntest_2,0,0.1,0.1\n"
    )
    (root / "metrics/e/m").mkdir(parents=True)
    (root / "metrics/e/m/lesions.csv").write_text(
        "slide,center,class,label,area_mm2,major_axis_um,itc,best_score,found_at_fps,mode\n"
        "test_1,c,x,1,0.1,500,0,0.9,0.5,official\ntest_1,c,x,2,0.1,500,0,0.9,1.0,official\n"
        "test_1,c,x,3,0.1,500,0,,,official\ntest_1,c,x,4,0.01,100,1,,,official\n"
    )
    Image.new("RGB", (60, 30), "blue").save(root / "figures/curves_e.png")
    pixels = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    Image.fromarray(pixels).save(root / "figures/heatmap_e_m_test_1.png")
    for kind in ("curves", "heatmap"):
        (root / f"captions/{kind}.rst").write_text(
            "Of **{{ snakemake.config['dataset'] }}**, {{ snakemake.wildcards.slide }}, `broken. Second sentence."
        )
    (root / "benchmark.html").touch()
    args = ["--results", root, "--slides", root / "slides.csv", "--captions", root / "captions", "--maps", "e:m"]
    args += ["--annotations", f"test_1={root / 'test_1.xml'}"]
    entries = []
    for method in METHODS:
        (root / f"metrics/e/{method}").mkdir(parents=True)
        (root / f"metrics/e/{method}/auc.json").write_text(json.dumps(auc_json() | {"ensemble": 10}))
        (root / f"metrics/e/{method}/froc.json").write_text(json.dumps(froc_json()))
        (root / f"metrics/e/{method}/timing.json").write_text(
            json.dumps({"train_seconds": 5, "undertrained": {"competition": [1, 2]}})
        )
        entries.append(f"e:{method}")
    for name in ("auc", "froc", "timing"):
        args += [f"--{name}", *(root / f"metrics/e/{method}/{name}.json" for method in METHODS)]
    TESTS.assign(encoder="e").to_csv(root / "tests.csv", index=False)
    args += ["--tests", root / "tests.csv", "--entries", *entries]
    figures = [
        {
            "kind": "heatmap",
            "stem": "heatmap_e_m_test_1",
            "wildcards": {"encoder": "e", "method": "m", "slide": "test_1"},
        },
        {"kind": "curves", "stem": "curves_e", "wildcards": {"encoder": "e"}},
    ]
    args += ["--figures", json.dumps(figures)]
    return root, [str(part) for part in args]


def run_page(made, dataset="d", simulated=True, **config):
    root, args = made
    settings = {"dataset": dataset, "simulated": simulated}
    config = {"dataset": dataset, "slides": {"source": "simulated" if simulated else "table"}} | config
    more = ["--settings", json.dumps(settings), "--config", json.dumps(config), "--output", str(root / "index.html")]
    overview.main(args + more)
    return (root / "index.html").read_text()


def test_the_page_is_whole_embedded_and_says_of_every_slide_what_is_known(made):
    text = run_page(made)
    reader = Reader()
    reader.feed(re.sub(r"<img\b[^>]*>", "", text))
    assert reader.open == []
    assert set(reader.links) == {
        "report.html", "benchmark.html", "tests.csv",
        *(f"figures/{stem}.{form}" for stem in ("curves_e", "heatmap_e_m_test_1") for form in ("png", "svg", "csv")),
    }  # fmt: skip
    sources = re.findall(r'<img [^>]*src="([^"]*)"', text)
    assert len(sources) == 2 * 2 + 3 + 2 and all(url.startswith("data:image/") for url in sources)
    assert not re.search(r"https?:|@import|url\(", re.sub(r"base64,[^\"]+", "", text))
    cards_ = re.findall(r'<li class="(card[^"]*)" id="slide-(test_\d)".*?</li>', text, re.S)
    assert cards_ == [("card wrong", "test_1"), ("card", "test_2")]  # the larger error first
    first = re.search(r'id="slide-test_1".*?</li>', text, re.S)[0]
    assert "labelled tumour" in first and "<strong>0.200</strong>" in first and "wrong side of 0.5" in first
    assert "2 of 3 lesions found at 1 false positive per slide; isolated tumour cells not counted: 1" in first
    assert 'data-error="0.8"' in first and 'data-missed="1"' in first
    assert '<a href="#figure-heatmap_e_m_test_1">' in first and 'id="figure-heatmap_e_m_test_1"' in text
    assert "members that stayed on the plateau of the training loss: 2 of 10 (competition)" in text
    assert "paper" in text and "0.858" in text  # the paper's numbers, in their own columns
    assert re.search(r"<dt>numpy</dt><dd>[\d.]+</dd>", text)


def test_cards_link_to_the_viewer_where_it_was_made(made):
    root, _ = made
    assert "snakemake viewer" in run_page(made)
    (root / "viewer/pyramids").mkdir(parents=True)
    (root / "viewer/index.html").touch()
    (root / "viewer/pyramids/test_1.json").touch()
    text = run_page(made)
    assert re.findall(r'href="(viewer/index.html#[^"]*)"', text) == ["viewer/index.html#slide=test_1&amp;method=m"]
    assert "snakemake viewer" not in text and '<a href="viewer/index.html">viewer</a>' in text
    shutil.rmtree(root / "viewer")


def test_simulated_slides_are_called_so_in_every_section_and_real_ones_are_not(made):
    text = run_page(made)
    headings = re.findall(r"<h2[^>]*>.*?</h2>", text)
    assert len(headings) >= 6 and all("SIMULATED slides" in heading for heading in headings)
    assert "SIMULATED" not in run_page(made, simulated=False)


def test_no_name_reaches_the_page_as_html(made):
    text = run_page(made, dataset=HOSTILE, note=HOSTILE)
    assert "<img src=x" not in text and "&lt;img src=x" in text
    assert text.count("<script>") == 1 == text.count("</script>")


def test_a_large_picture_becomes_webp_that_looks_the_same(made):
    root, _ = made
    path = root / "figures/heatmap_e_m_test_1.png"
    smooth = np.add.outer(np.arange(400), np.arange(400)) % 256
    noise = np.random.default_rng(0).integers(0, 8, (400, 400))
    Image.fromarray(np.stack([smooth, noise, smooth[::-1]], 2).astype(np.uint8)).save(path, compress_level=0)
    url = drawings.embedded(path)
    assert url.startswith("data:image/webp") and path.stat().st_size > drawings.LARGE
    assert np.abs(decoded(url) - np.asarray(Image.open(path)).astype(int)).mean() < 12
    assert (decoded(drawings.embedded(root / "figures/curves_e.png")) == [0, 0, 255]).all()


def test_what_cannot_be_read_is_named(made, tmp_path):
    root, _ = made
    (tmp_path / "x.png").write_bytes(b"no picture" * drawings.LARGE)
    with pytest.raises(UserError, match=r"x\.png: cannot be read as a picture"):
        drawings.embedded(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"training\.rst: cannot be read"):
        drawings.caption(drawings.Drawing("training", tmp_path / "t.png"), root / "captions", {})
    with pytest.raises(UserError, match=r"none\.csv: cannot be read"):
        slides.read_slides(tmp_path / "none.csv")
