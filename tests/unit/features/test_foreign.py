"""Feature files of other tools: written here as those tools write them, read by ours, and the other way round."""

from __future__ import annotations

import csv
import json

import h5py
import numpy as np
import pytest

import ready_features
from chowder.features import feature_file, foreign, layouts
from chowder.files import UserError
from chowder.slides import tile_table

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
XY = np.array([[0, 0], [448, 0], [448, 896], [1344, 448]])
FEATURES = RNG.normal(size=(4, 6)).astype(np.float32)


def h5(path, features, coords, key="features", attributes=None, places=None):
    """An h5 file with datasets ``key`` and coords, attributes of the file and of coords."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[key] = features
        if coords is not None:
            file["coords"] = coords
            for name, value in (places or {}).items():
                file["coords"].attrs[name] = value
        for name, value in (attributes or {}).items():
            file.attrs[name] = value
    return path


def trident(path):
    """As TRIDENT's save_h5 and coords_to_h5 write it, 40x read at 20x."""
    places = {"patch_size": 224, "patch_size_level0": 448, "level0_magnification": 40, "target_magnification": 20}
    places |= {"overlap": 0, "name": path.stem, "savetodir": "x", "level0_width": 2000, "level0_height": 1500}
    return h5(path, FEATURES, XY, places=places)


def stamp(path):
    """As STAMP 2 writes it: um, float32."""
    attributes = {
        "stamp_version": "2.3.0",
        "extractor": "uni",
        "unit": "um",
        "tile_size_um": 112.0,
        "tile_size_px": 224,
    }
    return h5(path, FEATURES.astype(np.float16), (XY * 0.25).astype(np.float32), "feats", attributes)


def histossl(path):
    """As HistoSSLscaling has them: level, column, row, then the features."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.concatenate([np.full((4, 1), 16), XY / 448, FEATURES], axis=1).astype(np.float32))
    return path


def clam(folder, name):
    """As CLAM's extract_features_fp writes both."""
    h5(folder / "h5_files" / f"{name}.h5", FEATURES, XY.astype(np.int32))
    (folder / "pt_files").mkdir(exist_ok=True)
    torch.save(torch.from_numpy(FEATURES), folder / "pt_files" / f"{name}.pt")
    return folder / "h5_files" / f"{name}.h5"


@pytest.mark.parametrize(
    ("make", "mpp", "tile_um"),
    [
        (lambda f: trident(f / "a.h5"), 0.25, None),
        (lambda f: stamp(f / "a.h5"), 0.25, None),
        (lambda f: clam(f, "a"), 0.25, 112.0),
        (lambda f: histossl(f / "a" / "features.npy"), 0.25, 112.0),
    ],
)
def test_every_layout_gives_the_same_tiles_and_features(make, mpp, tile_um, tmp_path):
    path = make(tmp_path)
    assert foreign.find(tmp_path, ["a"]) == {"a": path}
    ready = foreign.read(path)
    np.testing.assert_allclose(ready.features.astype(np.float32), FEATURES, atol=2e-3)
    placed = foreign.place(path, ready, mpp, tile_um, None)
    np.testing.assert_array_equal(placed.xy, XY)
    assert (placed.extent, placed.mpp) == (448.0, 0.25)
    known = (2000, 1500) if ready.width else (1792, 1344)  # else as far as the tiles reach
    assert (placed.width, placed.height) == known
    assert foreign.place(path, ready, mpp, tile_um, (3000, 2000)).width == 3000


def test_what_the_file_does_not_say_is_asked_for_and_never_guessed(tmp_path):
    path = clam(tmp_path, "a")
    with pytest.raises(UserError, match=r"um/px of the slide is not known: fill the column mpp"):
        foreign.place(path, foreign.read(path), None, 112.0, None)
    with pytest.raises(UserError, match=r"edge of a tile is not known: set features\.tile_um"):
        foreign.place(path, foreign.read(path), 0.25, None, None)
    old = h5(tmp_path / "old.h5", FEATURES, XY, "feats", {"tile_size": 224})
    with pytest.raises(UserError, match=r"does not say the unit of its coords"):
        foreign.read(old)
    with pytest.raises(UserError, match=r"outside the slide of 1000 x 1000 px"):
        foreign.place(path, foreign.read(path), 0.25, 112.0, (1000, 1000))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_bytes(b"no file"), "cannot be read as features"),
        (lambda p: h5(p, FEATURES, XY[:3]), r"4 tiles have coords \(3, 2\)"),
        (lambda p: h5(p, FEATURES * np.nan, XY), "holds NaN"),
        (lambda p: h5(p, FEATURES[0], XY), r"features are \(6,\)"),
        (lambda p: h5(p, FEATURES[:0], XY[:0]), "at least one tile"),
        (lambda p: h5(p, FEATURES, XY, "other"), "has no dataset features or feats"),
        (lambda p: h5(p, FEATURES, XY - 1), "negative places"),
    ],
)
def test_a_file_that_is_no_feature_file_is_one_line(make, message, tmp_path):
    make(tmp_path / "a.h5")
    with pytest.raises(UserError, match=message) as error:
        foreign.read(tmp_path / "a.h5")
    assert "a.h5" in str(error.value) and "\n" not in str(error.value)


def test_tensors_and_arrays_that_hold_something_else(tmp_path):
    torch.save({"features": torch.zeros(2, 2)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="holds a dict, not a tensor"):
        foreign.read(tmp_path / "a.pt")
    np.save(tmp_path / "a.npy", FEATURES)
    with pytest.raises(UserError, match="no level, column and row"):
        foreign.read(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read"):
        foreign.read(tmp_path / "b.npy")


def test_missing_and_double_files_are_named(tmp_path):
    trident(tmp_path / "a.h5")
    with pytest.raises(UserError, match="no feature file of slide b and 1 more"):
        foreign.find(tmp_path, ["a", "b", "c"])
    np.save(tmp_path / "a.npy", FEATURES)
    with pytest.raises(UserError, match="slide a has two feature files"):
        foreign.find(tmp_path, ["a"])
    assert foreign.find(tmp_path, ["a"], "trident")
    with pytest.raises(UserError, match="no such folder"):
        foreign.find(tmp_path / "x", ["a"])
    assert foreign.find(clam(tmp_path / "both", "a").parents[1], ["a"])["a"].suffix == ".h5"


# ---- the whole program ----------------------------------------------------------------------------------------------


def run(tmp_path, files, rows, **settings):
    """Run ready_features on ``files`` by slide; returns its output folder."""
    with open(tmp_path / "slides.csv", "w", newline="") as handle:
        table = csv.DictWriter(handle, ["slide", "label", "mpp", "width", "height"])
        table.writeheader()
        table.writerows(rows)
    given = {"name": "enc", "layout": "auto", "mpp": None, "tile_um": None, "tile_px": 224, "without_places": False}
    arguments = ["--slides-table", tmp_path / "slides.csv", "--slides", *files, "--files", *files.values()]
    arguments += ["--settings", json.dumps(given | settings), "--results", tmp_path / "out"]
    ready_features.main([str(argument) for argument in arguments])
    return tmp_path / "out"


def test_the_program_writes_what_embedding_would(tmp_path):
    files = {"a": trident(tmp_path / "in" / "a.h5"), "b": trident(tmp_path / "in" / "b.h5")}
    rows = [{"slide": slide, "label": 0, "mpp": 0.25} for slide in files]
    out = run(tmp_path, files, rows)
    features, coords = feature_file.read(out / "features/enc/a.h5")
    np.testing.assert_array_equal(features, FEATURES.astype(np.float16))
    np.testing.assert_array_equal(coords, XY)
    xy, grid, slide = tile_table.read(out / "tiles/b.parquet")
    np.testing.assert_array_equal(xy, XY)
    assert (slide, grid.extent, grid.mpp0, grid.columns, grid.rows) == ("b", 448.0, 0.25, 5, 4)
    index = json.loads((out / "features/enc/index.json").read_text())
    assert index["dim"] == 6 and [entry["tiles"] for entry in index["slides"]] == [4, 4]
    record = json.loads((out / "tissue/a.json").read_text())
    assert (record["width"], record["height"], record["mpp"]) == (2000, 1500, 0.25)
    assert record["area_mm2"] == pytest.approx(4 * 0.112**2)
    from PIL import Image

    mask = np.asarray(Image.open(out / "tissue/a.png")) > 127
    assert mask.shape == (47, 63)  # at 8 um/px
    assert mask[0, 0] and mask[29, 15] and not mask[29, 0] and not mask[46, 62]
    assert Image.open(out / "previews/a.jpg").size == (63, 47)


def test_dimensions_that_differ_and_places_that_are_missing_are_errors(tmp_path):
    files = {"a": trident(tmp_path / "a.h5"), "b": h5(tmp_path / "b.h5", FEATURES[:, :5], XY)}
    rows = [{"slide": slide, "label": 0, "mpp": 0.25} for slide in files]
    with pytest.raises(UserError, match=r"b\.h5: has 5 features a tile, .*a\.h5 has 6"):
        run(tmp_path, files, rows, tile_um=112)
    torch.save(torch.from_numpy(FEATURES), tmp_path / "c.pt")
    rows = [{"slide": "c", "label": 0}]
    with pytest.raises(UserError, match="has no coordinates"):
        run(tmp_path, {"c": tmp_path / "c.pt"}, rows)
    out = run(tmp_path, {"c": tmp_path / "c.pt"}, rows, without_places=True)
    assert len(feature_file.read(out / "features/enc/c.h5")[0]) == 4


# ---- our files for other tools --------------------------------------------------------------------------------------

GRID = {"extent": 460.90533125, "mpp0": 0.24300000977695352, "size": 224}
CORNERS = np.rint(np.array([[0, 0], [1, 0], [3, 7]]) * GRID["extent"]).astype(np.int32)
HALF = RNG.normal(size=(3, 6)).astype(np.float16)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_an_export_read_back_is_the_same_to_the_last_bit(layout, tmp_path):
    layouts.write(tmp_path, "a", layout, HALF, CORNERS, GRID, "uni", (9000, 8000))
    path = foreign.find(tmp_path, ["a"])["a"]
    ready = foreign.read(path)
    placed = foreign.place(path, ready, None, None, None)
    np.testing.assert_array_equal(ready.features.astype(np.float16), HALF)
    np.testing.assert_array_equal(placed.xy, CORNERS)
    assert (placed.mpp, placed.width, placed.height) == (GRID["mpp0"], 9000, 8000)
    assert placed.extent == pytest.approx(GRID["extent"], rel=1e-15)


def test_clams_own_reading_of_an_export(tmp_path):
    """Generic_MIL_Dataset.__getitem__: torch.load of pt_files, or features and coords of h5_files."""
    layouts.write(tmp_path, "a", "clam", HALF, CORNERS, GRID, "uni", (9000, 8000))
    features = torch.load(tmp_path / "pt_files" / "a.pt", weights_only=True)
    assert features.dtype == torch.float32 and torch.nn.Linear(6, 2)(features).shape == (3, 2)
    with h5py.File(tmp_path / "h5_files" / "a.h5") as file:
        again, coords = torch.from_numpy(file["features"][:]), file["coords"][:]
    assert torch.equal(features, again) and coords.shape == (3, 2)


def test_tridents_own_reading_of_an_export(tmp_path):
    """IO.read_coords: attributes as a dict, and coords; heat maps take patch_size_level0 as a whole number."""
    layouts.write(tmp_path, "a", "trident", HALF, CORNERS, GRID, "uni", (9000, 8000))
    with h5py.File(tmp_path / "a.h5") as file:
        attributes, coords = dict(file["coords"].attrs), file["coords"][:]
        assert file["features"].ndim == 2 and file["features"].attrs["encoder"] == "uni"
    assert int(attributes["patch_size_level0"]) == 461 and attributes["patch_size"] == 224
    assert (attributes["level0_magnification"], attributes["target_magnification"]) == (41, 20)
    np.testing.assert_array_equal(coords, CORNERS)


def test_stamps_own_reading_of_an_export(tmp_path):
    """modeling.data.get_coords: the unit, tile_size_um and tile_size_px from the attributes, coords in um."""
    layouts.write(tmp_path, "a", "stamp", HALF, CORNERS, GRID, "uni", (9000, 8000))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["feat_type"] == "tile" and "tile_size" not in file.attrs
        size, pixels, coords = file.attrs["tile_size_um"], int(file.attrs["tile_size_px"]), file["coords"][:]
        assert file["feats"].dtype == np.float16
    assert size == pytest.approx(112.0) and pixels == 224
    np.testing.assert_allclose(coords / size, [[0, 0], [1, 0], [3, 7]], atol=0.002)


def test_a_layout_that_nobody_reads_is_named(tmp_path):
    with pytest.raises(UserError, match="export layout 'x' is not known: use clam, trident, stamp"):
        layouts.paths(tmp_path, "a", "x")
