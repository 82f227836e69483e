"""Reading bags: the right rows of the right slide, and a clear line for a broken file."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from chowder.features import integrity
from chowder.features.bags import Bags, read_entry, read_index
from chowder.features.sampling import sample_rows
from chowder.files import UserError

TILES = {"a": 30, "b": 7, "c": 101}


@pytest.fixture
def features(tmp_path):
    """A feature index of three slides; the first feature of a row says slide and tile."""
    folder = tmp_path / "features"
    folder.mkdir()
    entries = []
    for number, (slide, tiles) in enumerate(TILES.items()):
        rows = np.zeros((tiles, 4), np.float16)
        rows[:, 0] = number * 200 + np.arange(tiles)
        with h5py.File(folder / f"{slide}.h5", "w") as handle:
            handle["features"] = rows
            handle["coords"] = np.stack([np.arange(tiles)] * 2, axis=1).astype(np.int32)
        entries.append({"slide": slide, "file": f"{slide}.h5", "tiles": tiles, "sha256": ""})
    (folder / "index.json").write_text(json.dumps({"encoder": "e", "dim": 4, "slides": entries}))
    (tmp_path / "summary.csv").write_text("slide,split,tiles,sampled\na,train,30,10\nb,train,7,10\nc,test,101,50\n")
    return folder / "index.json", tmp_path / "summary.csv"


def test_all_rows_come_in_slide_and_tile_order(features):
    got = Bags.from_index(features[0], slides=["c", "a"], sample=False)
    assert got.names == ["c", "a"] and got.dim == 4 and got.features.dtype == np.float16
    np.testing.assert_array_equal(got[0][:, 0], 400 + np.arange(101))
    np.testing.assert_array_equal(got[1][:, 0], np.arange(30))


def test_a_sample_has_the_size_of_the_summary_and_no_row_twice(features):
    got = Bags.from_index(*features)
    assert got.counts.tolist() == [10, 7, 50]
    for i, first in enumerate((0, 200, 400)):
        tiles = got[i][:, 0].astype(int) - first
        assert (np.diff(tiles) > 0).all() and tiles.min() >= 0 and tiles.max() < TILES[got.names[i]]


def test_a_sample_depends_on_seed_dataset_slide_and_size_only(features):
    alone = Bags.from_index(*features, ["c"])
    among = Bags.from_index(*features, ["b", "c", "a"])
    np.testing.assert_array_equal(alone[0], among[1])
    for other in ({"seed": 1}, {"dataset": "x"}, {"repeat": 1}):
        assert not np.array_equal(alone[0], Bags.from_index(*features, ["c"], **other)[0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_an_entry_gives_features_and_places_of_the_same_tiles(features, dtype):
    dim, entries = read_index(features[0])
    for rows in (None, np.array([2, 5, 29])):
        wanted = np.arange(30) if rows is None else rows
        for out in (None, np.empty((len(wanted), dim), dtype)):
            values, coords = read_entry(features[0], entries["a"], dim, rows, out)
            np.testing.assert_array_equal(values[:, 0], wanted)
            np.testing.assert_array_equal(coords, np.stack([wanted] * 2, axis=1))
            assert out is None or values is out


def test_a_smaller_sample_is_part_of_a_larger_one():
    small, large = (set(sample_rows(1000, m, 1, "d", "s")) for m in (100, 300))
    assert small < large and len(small) == 100


def test_sampling_is_uniform():
    hits = np.zeros(40)
    for slide in range(4000):
        hits[sample_rows(40, 10, 1, "d", f"s{slide}")] += 1
    # Binomial(4000, 1/4) a row: mean 1000, sd 27.4; five sd.
    assert np.abs(hits - 1000).max() < 137


def test_a_subset_shares_memory_and_keeps_the_order_asked_for(features):
    whole = Bags.from_index(*features)
    part = whole.subset(["c", "a"])
    assert np.shares_memory(part.features, whole.features)
    np.testing.assert_array_equal(part[0], whole[2])
    np.testing.assert_array_equal(part[1], whole[0])
    with pytest.raises(UserError, match="slide zz"):
        whole.subset(["zz"])


def test_pooling_is_by_slide():
    arrays = [np.array([[1, 5], [3, 1]], np.float16), np.array([[7, -2]], np.float16)]
    made = Bags.from_arrays(arrays)
    np.testing.assert_array_equal(made.pooled("mean"), [[2, 3], [7, -2]])
    np.testing.assert_array_equal(made.pooled("max"), [[3, 5], [7, -2]])


def test_the_mean_of_many_float16_values_does_not_overflow():
    assert Bags.from_arrays([np.full((5000, 1), 100, np.float16)]).pooled("mean")[0, 0] == 100


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_pooling_is_numpys_for_values_of_any_sign_and_is_shared_by_subsets(dtype, monkeypatch):
    rng = np.random.default_rng(0)
    x = [rng.normal(scale=10.0 ** rng.integers(-7, 4), size=(n, 9)).astype(dtype) for n in (1, 127, 128, 300)]
    x[1] = -abs(x[1])
    made = Bags.from_arrays(x)
    for how in ("mean", "max"):
        expected = [getattr(rows.astype(np.float64), how)(axis=0) for rows in x]
        np.testing.assert_allclose(made.pooled(how), expected, rtol=1e-12 if how == "mean" else 0)
    monkeypatch.setattr("chowder.features.bags.POOLS", dict.fromkeys(("mean", "max"), None))  # nothing is pooled again
    np.testing.assert_array_equal(made.subset(["3", "1"]).pooled("max"), made.pooled("max")[[3, 1]])
    with pytest.raises(ValueError, match="unknown pooling 'sum'"):
        made.pooled("sum")


def _break(path, how):
    if how == "missing":
        path.unlink()
    elif how == "text":
        path.write_text("no HDF5")
    else:
        with h5py.File(path, "r+") as handle:
            values = handle["features"][:]
            del handle["features"]
            if how == "short":
                handle["features"] = values[:-1]
            elif how == "nan":
                values[3, 2] = np.nan
                handle["features"] = values
            elif how == "infinite":
                values[:, 1] = -np.inf
                handle["features"] = values


@pytest.mark.parametrize("how", ["missing", "text", "short", "nan", "infinite", "without"])
def test_a_broken_feature_file_is_named_with_its_slide(features, how):
    _break(features[0].parent / "b.h5", how)
    with pytest.raises(UserError, match=r"b\.h5") as error:
        Bags.from_index(*features)
    assert "slide b" in str(error.value) and "\n" not in str(error.value)


def test_float32_features_are_checked_too():
    assert not integrity.finite(np.array([1, np.nan], np.float32))
    assert integrity.finite(np.array([65504, -65504, 0, 6e-8], np.float16))


def test_slides_without_entry_row_or_tile_are_named(features, tmp_path):
    with pytest.raises(UserError, match="slide zz is not in the index"):
        Bags.from_index(*features, ["zz"])
    (tmp_path / "summary.csv").write_text("slide,split,tiles,sampled\na,train,30,10\n")
    with pytest.raises(UserError, match="slide b is missing"):
        Bags.from_index(*features)
    (tmp_path / "summary.csv").write_text("slide,tiles\na,30\n")
    with pytest.raises(UserError, match="sampled"):
        Bags.from_index(*features)
    with pytest.raises(UserError, match="no tile"):
        Bags.from_arrays([np.zeros((3, 2)), np.zeros((0, 2))], ["x", "y"])
    with pytest.raises(UserError, match="no such feature index"):
        Bags.from_index(tmp_path / "none.json", sample=False)


def test_arrays_of_different_length_are_refused():
    with pytest.raises(UserError, match="one P"):
        Bags.from_arrays([np.zeros((3, 2)), np.zeros((3, 4))])


def test_features_above_the_limit_lie_in_a_file_without_a_name_and_are_the_same(features, tmp_path):
    in_memory = Bags.from_index(*features)
    scratch = tmp_path / "scratch"
    size = in_memory.features.nbytes
    mapped = Bags.from_index(*features, in_memory=size - 1, scratch=scratch)
    assert mapped.mapped is not None and len(mapped.mapped) == size and not list(scratch.iterdir())
    np.testing.assert_array_equal(mapped.features, in_memory.features)
    part = mapped.subset(["c", "a"])
    part.expect([0, 1])  # asks the kernel; changes nothing
    np.testing.assert_array_equal(part[0], in_memory[2])
    assert Bags.from_index(*features, in_memory=size, scratch=scratch).mapped is None


def test_a_disk_without_room_for_the_mapped_file_is_an_error_that_names_the_folder(features, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space") as caught:
        Bags.from_index(*features, in_memory=0, scratch=tmp_path)
    assert caught.value.filename == str(tmp_path)
