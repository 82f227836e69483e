"""The viewer: pyramids show the slide's pixels, outlines lie where they belong, and the page works in a browser."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from PIL import Image
from slide_fixtures import generic, tissue_like
from test_browser import CHROMIUM, seen

import viewer as program
import viewer_pyramid
from chowder.files import UserError
from chowder.report import viewer
from chowder.slides import tile_table
from chowder.slides.grid import Grid

WIDTH, HEIGHT, EXTENT = 700, 500, 100.0


def test_a_pyramid_has_the_slides_pixels_at_the_size_that_was_asked_for(tmp_path):
    generic(tmp_path / "a.tif", WIDTH, HEIGHT, quality=95)
    assert viewer.write_pyramid(tmp_path / "a.tif", tmp_path / "a", 0.25, 0.5) == (350, 250)
    levels = {int(path.name) for path in (tmp_path / "a").iterdir()}
    assert levels == set(range(10))  # the finest is the first power of two that holds 350
    found = np.asarray(Image.open(tmp_path / "a" / "9" / "0_0.jpg").convert("RGB"), float)
    image = tissue_like(WIDTH, HEIGHT).astype(float)
    expected = image.reshape(250, 2, 350, 2, 3).mean(axis=(1, 3))
    assert (
        found.shape == expected.shape and np.abs(found.mean(2) - expected.mean(2)).mean() < 3
    )  # JPEG; colour is halved
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.tif"]


def test_a_slide_coarser_than_the_viewer_stays_as_it_is(tmp_path):
    wanted = {(0.25, 0.5): 1, (0.243, 0.5): 1, (0.25, 0.3): 0, (0.25, 1.1): 2, (0.252, 0.5): 1, (1.0, 0.5): 0}
    assert {key: viewer.halvings(*key) for key in wanted} == wanted
    (tmp_path / "x.tif").write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"x\.tif: cannot be read by OpenSlide"):
        viewer.write_pyramid(tmp_path / "x.tif", tmp_path / "x", 0.25, 0.5)


def area(ring):
    return shapely.Polygon(ring).area


def test_outlines_and_tissue_are_in_pixels_of_level_0():
    hole = [(150, 120), (200, 120), (200, 160), (150, 160)]
    shape = shapely.MultiPolygon([shapely.Polygon(shapely.box(100, 100, 300, 200).exterior, [hole])])
    outer, hole = viewer.rings(shape)
    assert area(outer) == 200 * 100 and area(hole) == 50 * 40
    assert viewer.rings(None) == []
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:50] = True
    (ring,) = viewer.mask_rings(mask, (32.0, 32.0))
    assert np.min(ring, axis=0).tolist() == pytest.approx([20 * 32, 10 * 32], abs=16)
    assert np.max(ring, axis=0).tolist() == pytest.approx([50 * 32, 30 * 32], abs=16)
    assert area(ring) == pytest.approx(20 * 30 * 32**2, rel=0.05)
    (edge,) = viewer.mask_rings(np.ones((40, 60), bool), (32.0, 32.0))  # tissue up to the edge closes there
    assert area(edge) == pytest.approx(40 * 60 * 32**2, rel=0.05)


def test_a_hostile_name_can_not_end_the_script():
    text = viewer.script("window.X", {"</script><script>alert(1)": 1})
    assert "<" not in text and json.loads(text.removeprefix("window.X = ").rstrip(";\n")) == {
        "</script><script>alert(1)": 1
    }


def test_scores_of_other_tiles_are_refused():
    grid = Grid(224, 0.5, 0.5, "level", 0, EXTENT, 0.25, 1.0, 7, 5)
    with pytest.raises(UserError, match="slide s: 2 scores of m for 3 tiles"):
        viewer.slide_data("s", (9, 9), grid, np.zeros((3, 2), int), {"m": np.zeros(2)}, {}, [], [], [])


@pytest.fixture
def pages(tmp_path):
    """Two slides of 7 x 5 tiles with scores of two methods, and their pages as the rules write them."""
    grid = Grid(224, 0.5, 0.5, "level", 0, EXTENT, 0.25, 1.0, 7, 5)
    xy = np.array([(x, y) for y in range(0, HEIGHT, 100) for x in range(0, WIDTH, 100)], np.int32)
    for name in ("tissue", "previews", "tiles", "scores/a", "scores/b", "viewer/pyramids"):
        (tmp_path / name).mkdir(parents=True)
    for number, slide in enumerate(("one", "two")):
        generic(tmp_path / f"{slide}.tif", WIDTH, HEIGHT, seed=number)
        record = {"mpp": 0.25, "width": WIDTH, "height": HEIGHT, "mask_scale": [10.0, 10.0]}
        (tmp_path / f"tissue/{slide}.json").write_text(json.dumps(record))
        Image.fromarray(np.full((50, 70), 255, np.uint8)).save(tmp_path / f"tissue/{slide}.png")
        Image.fromarray(tissue_like(70, 50)).save(tmp_path / f"previews/{slide}.jpg")
        tile_table.write(tmp_path / f"tiles/{slide}.parquet", pa.table({"x": xy[:, 0], "y": xy[:, 1]}), grid, slide)
        for method in "ab":
            scores = np.zeros(35)
            scores[10 if method == "a" else 24] = 2.5  # row 1, column 3, or row 3, column 3
            table = pa.table({"x": xy[:, 0], "y": xy[:, 1], "score": scores})
            pq.write_table(table, tmp_path / f"scores/{method}/{slide}.parquet")
        viewer_pyramid.main(
            f"--image {tmp_path}/{slide}.tif --record {tmp_path}/tissue/{slide}.json --mpp 0.25 "
            f"--tiles {tmp_path}/viewer/pyramids/{slide} --output {tmp_path}/viewer/pyramids/{slide}.json".split()
        )
    for method, values in {"a": (0.9, 0.8), "b": (0.2, 0.1)}.items():
        lines = [f"one,1,{values[0]}", f"two,0,{values[1]}"]
        (tmp_path / f"{method}.csv").write_text("\n".join(["slide,label,probability", *lines]) + "\n")
    arguments = (
        f"--slides one two --predictions a={tmp_path}/a.csv b={tmp_path}/b.csv --scores a={tmp_path}/scores/a "
        f"b={tmp_path}/scores/b --tissue-dir {tmp_path}/tissue --previews-dir {tmp_path}/previews --tiles-dir "
        f"{tmp_path}/tiles --pyramids-dir {tmp_path}/viewer/pyramids --output {tmp_path}/viewer/index.html".split()
    )
    program.main([*arguments, "--settings", json.dumps({"dataset": "demo", "method": "b", "simulated": True})])
    return tmp_path / "viewer"


def test_the_pages_are_complete_and_name_nothing_outside(pages):
    text = (pages / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"#]+)"', text):
        assert (pages / name).is_file(), name
    content = json.loads((pages / "slides.js").read_text().removeprefix("window.SLIDES = ").rstrip(";\n"))
    assert content["method"] == "b" and content["note"] == "Simulated slides."
    assert content["slides"][0]["probability"] == {"a": 0.9, "b": 0.2} and content["slides"][1]["label"] == 0
    assert "Redistribution and use" in (pages / "openseadragon.LICENSE.txt").read_text()
    assert not re.search(r"https?://", ((pages / "viewer.js").read_text() + text).replace("http://www.w3.org", ""))


CLICKS = """
  const wait = (true_) => new Promise((done, failed) => {
    const end = Date.now() + 60000;
    const look = () => true_() ? done() : Date.now() > end ? failed(new Error("" + true_)) : setTimeout(look, 50);
    look();
  });
  const result = {};
  try {
    await wait(() => document.body.dataset.ready === "one");
    await wait(() => viewer.world.getItemCount() && viewer.world.getItemAt(0).getFullyLoaded());
    result.scores_shown = byId("method").value;
    const at = (x, y) => viewer.viewport.pixelFromPoint(new OpenSeadragon.Point(x / 700, y / 700), true);
    const press = (x, y) => {
      const box = viewer.canvas.getBoundingClientRect(), p = at(x, y);
      const here = {
        clientX: box.left + p.x, clientY: box.top + p.y, bubbles: true, pointerId: 1, pointerType: "mouse",
        isPrimary: true, button: 0,
      };
      viewer.canvas.dispatchEvent(new PointerEvent("pointerenter", here));
      viewer.canvas.dispatchEvent(new PointerEvent("pointerdown", { ...here, buttons: 1 }));
      viewer.canvas.dispatchEvent(new PointerEvent("pointerup", { ...here, buttons: 0 }));
    };
    choose(0); // and at once another, while the close-up opens
    press(350, 350);
    await wait(() => byId("where").textContent.startsWith("Tile 1 of"));
    result.clicked = byId("where").textContent + "; " + byId("what").textContent;
    result.values = Array.from(document.querySelectorAll("#values td"), (cell) => cell.textContent);
    await wait(() => close.world.getItemCount() && close.world.getItemAt(0).getFullyLoaded());
    const box = close.viewport.viewportToImageRectangle(close.viewport.getBounds(true));
    result.picture = [box.x, box.y, box.width].map(Math.round).join(" ");
    byId("method").value = "a"; byId("method").dispatchEvent(new Event("change"));
    result.by_a = byId("where").textContent;
    byId("best").click();
    result.best = byId("where").textContent;
    byId("opacity").value = 0; byId("opacity").dispatchEvent(new Event("input"));
    result.opacity = layer.style.opacity;
    const before = getComputedStyle(outlines.tissue).visibility;
    byId("tissue").click();
    result.tissue = [before, getComputedStyle(outlines.tissue).visibility].join(" to ");
    byId("sort").value = "error"; byId("sort").dispatchEvent(new Event("change"));
    const names = () => Array.from(document.querySelectorAll("nav a"), (a) => a.textContent);
    result.by_error = names();
    byId("sort").value = "name"; SLIDES.slides.reverse(); list();
    result.by_name = names();
    byId("sort").value = "error"; SLIDES.slides.reverse(); list();
    const turned = () => new Promise((done) => addEventListener("hashchange", done, { once: true }));
    let turn = turned();
    location.hash = "#slide=two&method=a"; // and back before its data are there
    await turn; turn = turned();
    location.hash = "#slide=one&method=a";
    await turn; await wait(() => SLIDE_DATA.two); await new Promise((done) => setTimeout(done, 200));
    result.latest = slide.slide;
    document.querySelectorAll("nav a")[0].click();
    await wait(() => document.body.dataset.ready === "two");
    await wait(() => document.querySelector("nav a[aria-current]").textContent.startsWith("two"));
    result.link = location.hash;
    result.close_up = close.world.getItemCount();
    const named = (e) => e.closest("label") || e.getAttribute("aria-label") || e.textContent.trim();
    const controls = Array.from(document.querySelectorAll("header, nav, main, aside").values());
    result.unlabelled = controls.flatMap((part) => [...part.querySelectorAll("button, select, input")])
      .filter((e) => !named(e)).length;
    result.wide = document.documentElement.scrollWidth <= innerWidth;
  } catch (error) { result.error = String(error); }
  return result;
"""


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed (apt-get install chromium)")
def test_clicks_in_a_browser_show_tiles_layers_and_slides(pages):
    found = seen((pages / "index.html").read_text(), pages, CLICKS)
    assert "error" not in found, found
    assert found["scores_shown"] == "b" and found["values"] == ["0.00", "2.50"]
    assert found["clicked"].startswith("Tile 1 of 35; Score 2.50 by ")
    assert "x = 300, y = 300" in found["clicked"]
    assert found["by_a"] == "Tile 25 of 35" and found["best"] == "Tile 26 of 35"  # equal scores: as the table has them
    assert found["picture"] == "300 300 100"  # of the tile
    assert found["opacity"] == "0" and found["tissue"] == "hidden to visible"
    assert found["by_error"][0].startswith("two") and "normal, p = 0.800" in found["by_error"][0]
    assert found["by_name"][0].startswith("one") and found["by_name"][1].startswith("two")
    assert "slide=two" in found["link"] and "method=a" in found["link"]
    assert found["latest"] == "one" and found["close_up"] == 0  # no picture of the slide before
    assert found["unlabelled"] == 0 and found["wide"]
