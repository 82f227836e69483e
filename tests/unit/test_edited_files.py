"""Files of the workflow that somebody edited are one line that names the file, never a traceback."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest

from chowder.features import bags, feature_file, integrity, shards
from chowder.files import UserError, field, read_json
from chowder.models import memory, splits, store
from chowder.report.table import entry, measures
from chowder.slides import picture, record, tile_scores, tile_table
from chowder.slides.grid import Grid

WRONG = (None, "x", "", "a\0b", "\ud800", -1, 0, 1.5, 10**400, True, [], {}, [[]], [None], {"x": 1}, math.nan, math.inf)
INDEX = {
    "encoder": "toy",
    "dim": 3,
    "slides": [{"slide": "a", "file": "a.h5", "tiles": 2, "sha256": "0" * 64, "digest": "1" * 64}],
}
MANIFEST = {"encoder": "toy", "slides": {"a": {"file": "../store/a.h5", "sha256": "0" * 64}}}
RECORD = {
    "warnings": [],
    "width": 10,
    "height": 20,
    "mpp": 0.25,
    "downsamples": [1.0, 4.0],
    "mask_scale": [32.0, 32.0],
    "area_mm2": 1.0,
}
SPLITS = {"cv1": {"train": ["a"], "test": ["b"]}}
AUC = {
    "ensemble": 2,
    "settings": {"froc_mode": "official", "confidence": 0.95},
    "competition": {"auc": 0.5, "low": 0.4, "high": 0.6, "slides": 3, "by_center": {"A": {"auc": 0.5}}},
    "cv": {"auc_mean": 0.5, "auc_sd": 0.1, "folds": [1, 2]},
}
MEASURES = {
    "competition": {"auprc": {"value": 0.5, "low": 0.4, "high": 0.6}, "positives": 1, "slides": 2},
    "threshold": {"value": 0.5},
    "cv": {"auprc_mean": 0.5, "auprc_sd": 0.1},
}


def read_features(path):
    _, entries = bags.read_index(path)
    for slide in entries.values():
        bags.read_entry(path, slide, 3)


def read_timing(path):
    path.rename(path.with_name("timing.json"))
    return store.Store(path.parent.parent).timing(path.parent.name)


def read_resources(path):
    """What Snakemake computes memory by never fails: the job says what is wrong."""
    assert memory.of_index(path)


def read_shards(path):
    assert isinstance(shards.made(path.parent), dict)


def read_measures(path):
    (path.parent / "sizes.csv").write_text("fps,from_um,sensitivity,low,high,lesions\n1,0,0.5,0.4,0.6,3\n")
    measures.entry(path, path.parent / "sizes.csv", encoder="toy", method="meanpool")


READERS = {
    "index": (INDEX, read_features),
    "index for memory": (INDEX, read_resources),
    "manifest": (MANIFEST, integrity.read_manifest),
    "manifest for shards": (MANIFEST, read_shards),
    "record": (RECORD, lambda path: record.read(path, *record.KINDS)),
    "splits": (SPLITS, lambda path: splits.read_splits(path, ["cv1"])),
    "timing": ({"seconds": 1.5, "epochs": 3, "undertrained": [1]}, read_timing),
    "auc": (AUC, lambda path: entry.method_entry(path, None, None, encoder="toy", method="meanpool", settings={})),
    "measures": (MEASURES, read_measures),
}


def edits(content):
    """Yield ``content`` with each part removed, and replaced by each of :data:`WRONG`, one at a time."""

    def places(value, path=()):
        yield path
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in items:
            yield from places(item, (*path, key))

    for path in places(content):
        for wrong in WRONG if path else (*WRONG, "removed"):
            if not path:
                yield wrong
                continue
            changed = copy.deepcopy(content)
            place = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = wrong
            yield changed
        if path:
            changed = copy.deepcopy(content)
            place = changed
            for key in path[:-1]:
                place = place[key]
            del place[path[-1]]
            yield changed


def refused(read, path) -> bool:
    """Whether ``read(path)`` ends in one line that names the file; anything but that and success fails the test."""
    try:
        read(path)
    except UserError as error:
        assert "\n" not in str(error)
        assert path.parent.name in str(error)
        assert len(str(error)) < 1000
        return True
    return False


@pytest.mark.parametrize("name", READERS)
def test_every_edit_is_read_or_one_line(tmp_path, name):
    content, read = READERS[name]
    count = said = 0
    for number, changed in enumerate(edits(content)):
        path = tmp_path / str(number) / "file.json"
        path.parent.mkdir()
        path.write_text(json.dumps(changed))
        said += refused(read, path)
        count += 1
    never = name.startswith(("index for", "manifest for"))
    assert said == 0 if never else said > count / 5


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"null", b"1e999", b"9" * 5000, b"\0" * 10]
)
def test_what_is_no_json_object_is_one_line(tmp_path, name, data):
    _, read = READERS[name]
    path = tmp_path / "folder" / "file.json"
    path.parent.mkdir()
    path.write_bytes(data)
    assert refused(read, path) is not name.startswith(("index for", "manifest for"))


def test_the_files_as_they_were_written_are_read(tmp_path):
    for name, (content, read) in READERS.items():
        path = tmp_path / name / "file.json"
        path.parent.mkdir()
        path.write_text(json.dumps(content))
        if name == "index":
            feature_file.write(path.parent / "a.h5", np.ones((2, 3)), np.zeros((2, 2), int), {})
            entry_ = content["slides"][0] | {"digest": integrity.digest(*feature_file.read(path.parent / "a.h5"))}
            path.write_text(json.dumps(content | {"slides": [entry_]}))
        assert not refused(read, path), name


@pytest.mark.parametrize(
    ("key", "value"),
    [("extent", 0.0), ("size", "x"), ("level", -1), ("mpp", None), ("rows", True), ("resample", 3), ("more", 1)],
)
def test_a_tile_table_whose_grid_was_edited_is_refused(tmp_path, key, value):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    table = pa.table({"x": pa.array([0], pa.int32()), "y": pa.array([0], pa.int32())})
    tile_table.write(path, table, Grid(224, 0.5, 0.5, "target", 0, 448.0, 0.25, 1.0, 2, 2), "a")
    assert tile_table.read(path)[2] == "a"
    about = json.loads(pq.read_table(path).schema.metadata[b"tiles"]) | {key: value}
    pq.write_table(table.replace_schema_metadata({b"tiles": json.dumps(about).encode()}), path)
    with pytest.raises(UserError, match=r"a\.parquet: is no tile table"):
        tile_table.read(path)


@pytest.mark.parametrize("kind", ["meanpool", "chowder_r2"])
def test_a_model_file_whose_parts_were_edited_is_refused(tmp_path, kind):
    import torch

    from chowder.models import build, model_file

    rng = np.random.default_rng(0)
    slides = [rng.random((6, 3), np.float32) for _ in range(8)]
    settings = {"training": {"members": 1, "epochs": 1, "hidden": [2]}, "baselines": {}}
    estimator = build.build(kind, settings).fit(slides, [0, 1] * 4)
    whole = tmp_path / "whole.pt"
    estimator.save(whole)
    content = model_file.read_content(whole)
    path = tmp_path / "edited.pt"
    said = 0
    for key in content:
        for value in ("removed", None, "x", -1, [], {}, torch.zeros(2), {"x": torch.zeros(1)}):
            changed = dict(content)
            changed[key] = value
            if isinstance(value, str) and value == "removed":
                del changed[key]
            torch.save(changed, path)
            try:
                build.load(path)
            except UserError as error:
                said += 1
                assert str(path) in str(error)
                assert "\n" not in str(error)
    assert said > len(content)
    assert build.load(whole).kind == estimator.kind


def test_a_lesion_file_that_was_edited_is_refused(tmp_path):
    from chowder.evaluation import lesions

    mask = np.zeros((20, 20), bool)
    mask[3:9, 4:12] = True
    path = tmp_path / "a.npz"
    lesions.save(path, lesions.label_lesions(mask))
    whole = dict(np.load(path))
    for key in whole:
        for value in (None, np.zeros(0), np.zeros((2, 2, 2)), np.array("x"), np.array([np.nan] * 3)):
            changed = dict(whole)
            if value is None:
                del changed[key]
            else:
                changed[key] = value
            np.savez(path, **changed)
            try:
                lesions.load(path)
            except UserError as error:
                assert str(path) in str(error)
                assert "\n" not in str(error)


def test_a_feature_file_with_groups_in_place_of_arrays_is_refused(tmp_path):
    import h5py

    path = tmp_path / "a.h5"
    for shapes in ({"features": None}, {"features": (3,), "coords": (3, 2)}, {"features": (3, 2), "coords": (2, 2)}):
        with h5py.File(path, "w") as file:
            file.create_group("other")
            for name, shape in shapes.items():
                if shape is None:
                    file.create_group(name)
                else:
                    file[name] = np.zeros(shape, np.float16)
        for read in (feature_file.read, feature_file.attributes):
            with pytest.raises(UserError, match="is no feature file"):
                read(path)
        with pytest.raises(UserError, match=r"a\.h5: "):
            bags.read_entry(tmp_path / "index.json", INDEX["slides"][0], 2)


def test_a_field_says_what_it_is_and_what_it_should_be(tmp_path):
    path = tmp_path / "f.json"
    path.write_text('{"n": "many\\nlines"}')
    with pytest.raises(UserError, match=r"f\.json: n is 'many\\nlines', not a count: delete the file"):
        field(path, read_json(path), "n", "count")
    with pytest.raises(UserError, match=r"f\.json: m is missing: delete"):
        field(path, read_json(path), "m", "count")


@pytest.mark.parametrize("data", [b"", b"garbage" * 99, b"\x89PNG\r\n\x1a\n", None])
def test_what_is_no_picture_is_refused(tmp_path, data):
    path = tmp_path / "a.png"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.png: cannot be read as a picture \(.*: delete it") as error:
        picture.read(path)
    assert "\n" not in str(error.value)


def test_a_picture_is_read_as_asked_and_an_absurd_one_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    from PIL import Image

    path = tmp_path / "a.png"
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(pixels).save(path)
    assert np.array_equal(picture.read(path), pixels)
    assert picture.read(path, "L").shape == (4, 5)
    monkeypatch.setattr(picture, "LARGEST", 19)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(UserError, match=r"has 5 x 4 px, more than any preview: give another"):
        picture.read(path, todo="give another")


def test_scores_of_tiles_are_read_or_refused(tmp_path):
    import pandas as pd

    path = tmp_path / "a.parquet"
    good = pd.DataFrame({"x": [0], "y": [1], "score": [0.5]})
    good.to_parquet(path)
    assert tile_scores.read(path).equals(good)
    for bad in (good.drop(columns="score"), good.assign(x="a"), good.assign(score=[[1.0]])):
        bad.to_parquet(path)
        with pytest.raises(UserError, match=r"a\.parquet: no scores of tiles"):
            tile_scores.read(path)
    path.write_bytes(b"PAR1garbagePAR1")
    with pytest.raises(UserError, match=r"a\.parquet: no scores of tiles"):
        tile_scores.read(path)
