"""Grids and counts known by hand, tissue fractions against brute force, the sample size of specification, section 1."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from chowder.features import sampling
from chowder.files import UserError
from chowder.slides import grid as tiling
from chowder.slides import tile_table
from chowder.slides.describe import SlideInfo


def slide(width: int, height: int, mpp: float = 0.25, downsamples=(1.0, 2.0, 4.0)) -> SlideInfo:
    levels = tuple((math.ceil(width / d), math.ceil(height / d)) for d in downsamples)
    return SlideInfo("s.tif", width, height, mpp, "file", levels, downsamples, "generic-tiff")


# ---- the grid -----------------------------------------------------------------------------------------------------


def test_a_level_at_the_target_is_taken_as_it_is():
    # 0.25 um/px halved is 0.5: 224 px of level 1 are 448 px of level 0; 10,000 / 448 = 22.3, 5,000 / 448 = 11.2
    grid = tiling.grid(slide(10_000, 5_000), 224, 0.5, "target")
    assert (grid.level, grid.scale, grid.extent, grid.mpp_read) == (1, 1.0, 448.0, 0.5)
    assert (grid.columns, grid.rows) == (23, 12)


@pytest.mark.parametrize(("mpp0", "level_mpp"), [(0.243, 0.486), (0.226, 0.452)])
def test_camelyons_two_scanners_are_resampled_to_one_target(mpp0, level_mpp):
    grid = tiling.grid(slide(97_792, 221_184, mpp0), 224, 0.5, "target")
    assert grid.level == 1 and grid.mpp_read == pytest.approx(level_mpp)
    assert grid.scale == pytest.approx(0.5 / level_mpp)
    assert grid.extent * mpp0 == pytest.approx(224 * 0.5)  # 112 um, on either scanner
    assert grid.columns == math.ceil(97_792 * mpp0 / 112)


@pytest.mark.parametrize(("mpp0", "extent"), [(0.243, 448), (0.226, 448), (0.5, 224), (0.3, 448)])
def test_level_mode_takes_the_nearest_level(mpp0, extent):
    grid = tiling.grid(slide(10_000, 10_000, mpp0), 224, 0.5, "level")
    assert (grid.extent, grid.scale) == (extent, 1.0)
    assert grid.mpp_read == pytest.approx(mpp0 * extent / 224)


def test_the_nearest_level_is_told_by_ratio():
    # levels of 0.25 and 0.5 um/px: 0.36 is 1.44 times the one and 1 / 1.39 of the other, and by difference nearer 0.25
    assert tiling.grid(slide(10_000, 10_000, 0.25), 224, 0.36, "level").mpp_read == 0.5
    assert tiling.grid(slide(10_000, 10_000, 0.25), 224, 0.35, "level").mpp_read == 0.25


def test_a_slide_coarser_than_the_target_is_read_at_level_0_and_enlarged():
    grid = tiling.grid(slide(1000, 1000, 0.8), 224, 0.5, "target")
    assert (grid.level, grid.scale) == (0, 0.625) and grid.extent == 140


def test_a_last_column_that_ends_at_the_edge_is_not_followed_by_an_empty_one():
    assert tiling.grid(slide(448 * 7, 448 * 3), 224, 0.5, "target").columns == 7
    assert tiling.grid(slide(round(7 * 224 / 0.243 * 0.5), 900, 0.243), 224, 0.5, "target").columns in {7, 8}


def test_bad_settings_are_named():
    with pytest.raises(UserError, match=r"tiles\.resample: 'nearest'"):
        tiling.grid(slide(100, 100), 224, 0.5, "nearest")
    for size, mpp in ((0, 0.5), (224, 0.0), (224, -1.0)):
        with pytest.raises(UserError, match="makes no grid"):
            tiling.grid(slide(100, 100), size, mpp)


# ---- tissue fractions ---------------------------------------------------------------------------------------------


def brute_force(mask: np.ndarray, scale: float, grid: tiling.Grid) -> np.ndarray:
    """Area of the intersections of every mask px with every tile, one by one."""
    result = np.zeros((grid.rows, grid.columns))
    for row, column in np.ndindex(result.shape):
        for y, x in zip(*np.nonzero(mask), strict=True):
            high = min((y + 1) * scale, (row + 1) * grid.extent) - max(y * scale, row * grid.extent)
            wide = min((x + 1) * scale, (column + 1) * grid.extent) - max(x * scale, column * grid.extent)
            result[row, column] += max(0.0, high) * max(0.0, wide)
    return result / grid.extent**2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(2.0, 60.0), st.floats(10.0, 90.0))
def test_fractions_are_exact_areas(seed, scale, extent):
    mask = np.random.default_rng(seed).random((9, 13)) < 0.6
    columns, rows = math.ceil(13 * scale / extent), math.ceil(9 * scale / extent)
    grid = tiling.Grid(10, 1.0, 1.0, "level", 0, extent, 1.0, 1.0, columns, rows)
    assert np.allclose(tiling.fractions(mask, (scale, scale), grid), brute_force(mask, scale, grid), atol=1e-9)


def test_a_mask_stretched_differently_in_x_and_y():
    mask = np.zeros((4, 2), bool)
    mask[1, 1] = True  # covers x 30...60, y 10...20
    grid = tiling.Grid(10, 1.0, 1.0, "level", 0, 20.0, 1.0, 1.0, 3, 2)
    assert np.allclose(tiling.fractions(mask, (30.0, 10.0), grid), [[0, 0.25, 0.5], [0, 0, 0]])


def test_tiles_are_kept_by_fraction_in_row_major_order():
    mask = np.zeros((6, 6), bool)  # 2 x 2 mask px a tile
    mask[0:2, 2:4] = True  # tile (1, 0) whole
    mask[2:4, 0:1] = True  # tile (0, 1) half
    mask[4, 4] = True  # tile (2, 2) a quarter
    grid = tiling.Grid(224, 0.5, 0.5, "target", 1, 448.0, 0.25, 1.0, 3, 3)
    table, warning = tiling.tissue_tiles(mask, (224.0, 224.0), grid, 0.5)
    assert warning is None
    assert table.to_pydict() == {
        "x": [448, 0],
        "y": [0, 448],
        "tissue": [1.0, 0.5],
        "column": [1, 0],
        "row": [0, 1],
    }
    table, _ = tiling.tissue_tiles(mask, (224.0, 224.0), grid, 0.2)
    assert table["column"].to_pylist() == [1, 0, 2]


def test_a_slide_always_gives_a_tile():
    grid = tiling.Grid(224, 0.5, 0.5, "target", 1, 448.0, 0.25, 1.0, 3, 3)
    mask = np.zeros((6, 6), bool)
    mask[4, 4] = True
    table, warning = tiling.tissue_tiles(mask, (224.0, 224.0), grid, 0.5)
    assert (table["column"].to_pylist(), table["row"].to_pylist()) == ([2], [2])
    assert "column 2, row 2, 0.250" in warning
    table, warning = tiling.tissue_tiles(np.zeros((6, 6), bool), (224.0, 224.0), grid, 0.5)
    assert (table["x"].to_pylist(), table["y"].to_pylist()) == ([448], [448]) and warning


def test_a_tile_table_comes_back_as_it_was_written(tmp_path):
    grid = tiling.grid(slide(9000, 7000, 0.243), 224, 0.5, "target")
    table, _ = tiling.tissue_tiles(np.ones((80, 100), bool), (90.0, 90.0), grid)
    tile_table.write(tmp_path / "s.parquet", table, grid, "s")
    corners, again, name = tile_table.read(tmp_path / "s.parquet")
    assert (again, name, len(corners)) == (grid, "s", tile_table.count(tmp_path / "s.parquet"))
    assert corners.dtype == np.int32 and corners[:, 0].tolist() == table["x"].to_pylist()
    # the corner, rounded to whole px, still tells column and row
    assert np.array_equal(np.rint(corners[:, 0] / grid.extent), table["column"].to_numpy())


def test_what_is_no_tile_table_is_named(tmp_path):
    (tmp_path / "x.parquet").write_text("x,y\n")
    for reader in (tile_table.read, tile_table.count):
        with pytest.raises(UserError, match=r"x\.parquet: is no tile table"):
            reader(tmp_path / "x.parquet")


# ---- sample sizes -------------------------------------------------------------------------------------------------


def test_sample_sizes_by_hand():
    counts = {"a": 5000, "b": 3000, "c": 400, "d": 9000}
    # training a, b, c: mean 2800, half of it 1400
    assert sampling.sample_sizes(counts, ["a", "b", "c"]) == {"a": 1400, "b": 1400, "c": 400, "d": 1400}
    # the minimum counts when half the mean is below it
    assert sampling.sample_sizes(counts, ["c"]) == {"a": 1000, "b": 1000, "c": 400, "d": 1000}
    # without a split, the mean is over all: 4350, half of it 2175
    assert sampling.sample_sizes(counts)["d"] == 2175
    assert sampling.sample_sizes(counts, [], minimum=10, fraction=0.1) == {"a": 435, "b": 435, "c": 400, "d": 435}


def test_half_a_tile_is_rounded_down():
    # mean 1000.5 of a and b, half of it 500.25; and a fraction of 0.7: 700.35
    counts = {"a": 1001, "b": 1000}
    assert sampling.sample_sizes(counts, minimum=1) == {"a": 500, "b": 500}
    assert sampling.sample_sizes(counts, minimum=1, fraction=0.7) == {"a": 700, "b": 700}
    # mean 1003, half of it 501.5
    assert sampling.sample_sizes({"a": 1003, "b": 1003}, minimum=1) == {"a": 501, "b": 501}


def test_adding_a_test_slide_moves_no_sample():
    counts = {"a": 5000, "b": 3000}
    assert (
        sampling.sample_sizes(counts, ["a", "b"]).items()
        <= sampling.sample_sizes(counts | {"t": 9}, ["a", "b"]).items()
    )


# ---- scripts ------------------------------------------------------------------------------------------------------


def script(name: str):
    path = Path(tiling.__file__).parents[2] / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_scripts_make_tables_and_their_summary(tmp_path):
    record = {"width": 448 * 4, "height": 448 * 3, "mpp": 0.25, "downsamples": [1.0, 2.0], "mask_scale": [32.0, 32.0]}
    (tmp_path / "r.json").write_text(json.dumps(record))
    mask = np.zeros((42, 56), np.uint8)
    mask[:14] = 255  # the first row of tiles
    Image.fromarray(mask).save(tmp_path / "m.png")
    tiles = {"size": 224, "mpp": 0.5, "resample": "target", "min_tissue": 0.5}
    for name in ("a", "b"):
        words = f"--slide {name} --mask {tmp_path}/m.png --record {tmp_path}/r.json --output {tmp_path}/{name}.parquet"
        script("tiles")([*words.split(), "--settings", json.dumps(tiles)])
    assert tile_table.count(tmp_path / "a.parquet") == 4
    (tmp_path / "slides.csv").write_text("slide,split\na,train\nb,test\n")
    tables = f"{tmp_path}/a.parquet {tmp_path}/b.parquet"
    words = f"--slides {tmp_path}/slides.csv --tiles {tables} --output {tmp_path}/o.csv"
    script("tile_summary")([*words.split(), "--settings", '{"minimum": 3, "fraction": 0.5, "seed": 1}'])
    with open(tmp_path / "o.csv", newline="") as handle:
        assert list(csv.reader(handle)) == [
            ["slide", "split", "tiles", "sampled"],
            ["a", "train", "4", "3"],
            ["b", "test", "4", "3"],
        ]
    with pytest.raises(UserError, match=r"no tiles for \['b'\]"):
        words = f"--slides {tmp_path}/slides.csv --tiles {tmp_path}/a.parquet --output {tmp_path}/o.csv"
        script("tile_summary")([*words.split(), "--settings", '{"minimum": 3, "fraction": 0.5, "seed": 1}'])
