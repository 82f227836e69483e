"""Figures of a slide that is not kept: a small part of it is fetched, and they are the same to the byte."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pyvips
from fault_server import FaultServer
from slide_fixtures import tissue_like

import figure_gallery
import figure_heatmap
import figure_pixels
import tiles
import tissue
from chowder.slides import levels, tile_table
from chowder.slides.reader import Reader
from chowder.slides.stored import tiff_directories
from chowder.slides.stored_level import StoredLevel

pytestmark = pytest.mark.slow
SLIDE = "test_001"
TILES = {"size": 224, "mpp": 0.5, "resample": "target", "min_tissue": 0.5}
TISSUE = {"mpp": 8.0, "combine": "and", "min_area_mm2": 0.02, "max_hole_mm2": 0.02, "exclude_pen": True}
XML = (
    '<ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58">'
    "<Coordinates>{}</Coordinates></Annotation></Annotations><AnnotationGroups/></ASAP_Annotations>"
)


@pytest.fixture(scope="module", params=[0.25, 0.2267], ids=["as the level is", "resampled"])
def made(request, tmp_path_factory) -> Path:
    """A slide with its mask, tiles and scores; resampled, a tile ends 9 px before a stored tile does."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "images").mkdir()
    image = folder / f"images/{SLIDE}.tif"
    pixels = pyvips.Image.new_from_array(tissue_like(6000, 6000, 5)).copy(
        xres=1000 / request.param, yres=1000 / request.param
    )
    pixels.tiffsave(str(image), tile=True, pyramid=True, compression="jpeg", Q=80, tile_width=256, tile_height=256)
    mask = ["--mask", str(folder / "a.png"), "--record", str(folder / "a.json")]
    made_of = ["--image", str(image), "--settings", json.dumps(TISSUE)]
    tissue.main(["--slide", SLIDE, *made_of, *mask, "--preview", str(folder / "a.jpg")])
    tiles.main(["--slide", SLIDE, *mask, "--settings", json.dumps(TILES), "--output", str(folder / "a.parquet")])
    xy = tile_table.read(folder / "a.parquet")[0]
    scores = np.random.default_rng(1).normal(0, 1, len(xy))
    pd.DataFrame({"x": xy[:, 0], "y": xy[:, 1], "score": scores}).to_parquet(folder / "s.parquet")
    corners = [(1500, 1500), (1500, 3200), (3300, 3200), (3300, 1500)]
    points = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(corners))
    (folder / "a.xml").write_text(XML.format(points))
    return folder


def draw(made: Path, image: Path, target: Path, outlined: bool) -> dict[str, bytes]:
    """Both figures."""
    common = ["--slide", SLIDE, "--method", "chowder_r5", "--tiles", made / "a.parquet", "--scores", made / "s.parquet"]
    common += ["--image", image, *(["--annotation", made / "a.xml"] if outlined else [])]
    common += ["--settings", json.dumps({"dataset": "x", "simulated": False, "gallery": 3})]
    heat = [*common, "--preview", made / "a.jpg", "--record", made / "a.json", "--output-stem", target / "heat"]
    figure_heatmap.main([str(part) for part in heat])
    figure_gallery.main([str(part) for part in [*common, "--output-stem", target / "gallery"]])
    return {path.name: path.read_bytes() for path in sorted(target.glob("*.png"))}


@pytest.mark.parametrize("outlined", [False, True])
def test_figures_are_the_same_from_the_few_tiles_that_they_show(made, tmp_path, monkeypatch, outlined):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    whole = made / f"images/{SLIDE}.tif"
    part = tmp_path / "part.tif"
    arguments = ["--slide", SLIDE, "--method", "chowder_r5", "--settings", json.dumps({"gallery": 3})]
    arguments += ["--transfer", json.dumps({"retries": 0, "timeout_s": 5}), "--output", part]
    for name, file in (("preview", "a.jpg"), ("record", "a.json"), ("tiles", "a.parquet"), ("scores", "s.parquet")):
        arguments += [f"--{name}", made / file]
    arguments += ["--annotation", made / "a.xml"] if outlined else []
    with FaultServer(root=made) as server:
        figure_pixels.main([str(text) for text in ["--base", server.url(), *arguments]])
        assert server.sent(f"/images/{SLIDE}.tif") < 0.35 * whole.stat().st_size
    folders = [tmp_path / name for name in ("whole", "part")]
    for folder in folders:
        folder.mkdir()
    drawn = [draw(made, image, folder, outlined) for image, folder in zip((whole, part), folders, strict=True)]
    assert len(drawn[0]) == 2 and drawn[0] == drawn[1]


def test_every_stored_tile_that_the_reader_decodes_for_a_tile_is_among_those_that_are_fetched(made, monkeypatch):
    image, decoded = made / f"images/{SLIDE}.tif", set()
    plain = StoredLevel._decoded
    monkeypatch.setattr(StoredLevel, "_decoded", lambda self, *place: decoded.add(place) or plain(self, *place))
    xy, grid, _ = tile_table.read(made / "a.parquet")
    stored = [one for one in tiff_directories(str(image)) if one.tile][grid.level]
    across = stored.sparse.shape[1]
    rows = xy[np.argsort(xy[:, 1], kind="stable")]
    for corner in rows:
        decoded.clear()
        with Reader(image) as reader:
            list(reader.tiles(corner[None], grid))
        one = argparse.Namespace(tiles=made / "a.parquet", method="chowder_r1", settings={"gallery": 1})
        frame = pd.DataFrame({"x": corner[:1], "y": corner[1:], "score": [1.0]})
        monkeypatch.setattr(figure_pixels.tile_scores, "read", lambda _, frame=frame: frame)
        one.scores = ""
        fetched = set()
        for level, box in figure_pixels.gallery_boxes(reader.info, one):
            assert level == grid.level
            fetched |= levels.tiles_of(stored.size, stored.tile, box)
        assert {row * across + column for row, column in decoded} <= fetched


def test_a_local_mirror_is_linked(made, tmp_path):
    arguments = ["--base", made, "--slide", SLIDE, "--method", "chowder_r5", "--settings", "{}", "--output"]
    arguments += [tmp_path / "a.tif"]
    for name, file in (("preview", "a.jpg"), ("record", "a.json"), ("tiles", "a.parquet"), ("scores", "s.parquet")):
        arguments += [f"--{name}", made / file]
    figure_pixels.main([str(text) for text in arguments])
    assert (tmp_path / "a.tif").resolve() == made / f"images/{SLIDE}.tif"


def test_stored_tiles_that_a_box_touches(made):
    """Against every px of the box."""
    stored = next(one for one in tiff_directories(str(made / f"images/{SLIDE}.tif")) if one.tile)
    draws = np.random.default_rng(2)
    across = -(-stored.size[0] // stored.tile[0])
    for _ in range(30):
        left, top = draws.integers(-300, 6000, 2)
        width, height = draws.integers(1, 700, 2)
        x = np.arange(max(left, 0), min(left + width, stored.size[0])) // stored.tile[0]
        y = np.arange(max(top, 0), min(top + height, stored.size[1])) // stored.tile[1]
        expected = {int(row * across + column) for row in set(y.tolist()) for column in set(x.tolist())}
        assert levels.tiles_of(stored.size, stored.tile, (left, top, left + width, top + height)) == expected
