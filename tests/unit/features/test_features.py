"""Feature files and shards: same bytes whatever the neighbours, nothing half-written, a broken slide stops no other."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from slide_fixtures import generic

from chowder.features import embedding, feature_file, identity, integrity
from chowder.features.encoders import base, registry
from chowder.files import DiskFull, UserError
from chowder.slides import describe, tile_table
from chowder.slides import grid as tiling
from chowder.slides.reader import Reader

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


class Toy(torch.nn.Module):
    """A small convolution network: quick, and as sensitive to its pixels as a large one."""

    def __init__(self, dim: int = 24):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = torch.nn.Conv2d(3, 16, 5, 4)
        self.second = torch.nn.Conv2d(16, dim, 3, 2)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2

    def forward(self, x):
        return self.second(torch.relu(self.first(x))).mean((2, 3))


def toy(**changes) -> base.Encoder:
    arguments = {
        "name": "toy",
        "model": Toy().eval().to(memory_format=torch.channels_last),
        "dim": 24,
        "size": 64,
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "weights_sha256": "0" * 64,
        "normalisation": "nikitenko",
        "precision": "fp32",
        "device": torch.device("cpu"),
    }
    return base.Encoder(**(arguments | changes))


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """Three slides of different size with their tile tables; resampled 0.25 to 0.52 um/px."""
    folder = tmp_path_factory.mktemp("shard")
    items = []
    for seed, (name, width, height) in enumerate((("a", 1500, 1200), ("b", 700, 500), ("c", 2600, 400))):
        image = generic(folder / f"{name}.tif", width, height, seed=seed)
        grid = tiling.grid(describe.describe(image), 64, 0.52, "target")
        table, _ = tiling.tissue_tiles(np.ones((height // 10, width // 10), bool), (10.0, 10.0), grid)
        tile_table.write(folder / f"{name}.parquet", table, grid, name)
        items.append(identity.Item(name, str(image), str(folder / f"{name}.parquet")))
    return items


@pytest.fixture(scope="module")
def reference(shard, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    return {name: path.read_bytes() for name, path in embedding.embed_shard(shard, toy(), folder, batch=16).items()}


# ---- files --------------------------------------------------------------------------------------------------------


def test_a_feature_file_has_the_layout_that_other_tools_read(tmp_path):
    rows = np.random.default_rng(0).normal(size=(3000, 32))
    coords = np.stack([np.arange(3000), np.arange(3000) * 2], 1)
    feature_file.write(
        tmp_path / "s.h5", rows, coords, {"encoder": "toy", "slide": "s", "tile_size": 224, "extent": 460.9}
    )
    with h5py.File(tmp_path / "s.h5") as file:  # as CLAM and TRIDENT do
        assert file["features"].shape == (3000, 32) and file["features"].dtype == np.float16
        assert file["coords"].shape == (3000, 2) and file["coords"].dtype == np.int32
        assert file["features"].chunks == (1024, 32) and file["features"].compression is None
        assert file["coords"].attrs["patch_size_level0"] == 461
    found, places = feature_file.read(tmp_path / "s.h5")
    assert np.array_equal(found, rows.astype(np.float16)) and np.array_equal(places, coords)
    some = np.array([5, 2999, 0])
    assert np.array_equal(feature_file.read(tmp_path / "s.h5", some)[0], found[some])
    assert feature_file.attributes(tmp_path / "s.h5")["tiles"] == 3000


def test_the_same_features_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        feature_file.write(tmp_path / f"{name}.h5", np.ones((5, 4)), np.zeros((5, 2)), {"x": 1, "b": "text"})
        time.sleep(1.1 if name == "a" else 0)  # a time stamp would differ
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e6])
def test_features_that_are_no_numbers_are_an_error_with_the_place(tmp_path, value):
    rows = np.ones((4, 3))
    rows[2, 1] = value
    with pytest.raises(UserError, match=r"s\.h5: 1 tiles .*\(20, 200\)"):
        feature_file.write(tmp_path / "s.h5", rows, np.arange(4)[:, None] * [10, 100], {})
    assert list(tmp_path.iterdir()) == []


def test_reading_ten_thousand_tiles_takes_no_time(tmp_path):
    feature_file.write(tmp_path / "s.h5", np.zeros((10_000, 2048), np.float16), np.zeros((10_000, 2)), {})
    feature_file.read(tmp_path / "s.h5")
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        feature_file.read(tmp_path / "s.h5")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1  # 0.014 s on an idle machine; the bound of a test must hold on a busy one


def test_what_is_no_feature_file_is_named(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"x" * 100)
    for reader in (feature_file.read, feature_file.attributes):
        for name in ("x.h5", "missing.h5"):
            with pytest.raises(UserError, match=rf"{name}: is no feature file"):
                reader(tmp_path / name)


def test_the_index_lists_files_and_refuses_mixtures(tmp_path):
    base = {"encoder": "toy", "weights_sha256": "1", "precision": "fp32", "code": "c"}
    for name in ("b", "a"):
        feature_file.write(tmp_path / "f" / f"{name}.h5", np.ones((3, 4)), np.zeros((3, 2)), base | {"slide": name})
    record, warnings = feature_file.index(sorted((tmp_path / "f").iterdir()), tmp_path)
    assert (record["encoder"], record["dim"], warnings) == ("toy", 4, [])
    assert [(s["slide"], s["file"], s["tiles"]) for s in record["slides"]] == [("a", "f/a.h5", 3), ("b", "f/b.h5", 3)]
    feature_file.write(
        tmp_path / "f" / "c.h5", np.ones((3, 4)), np.zeros((3, 2)), base | {"slide": "c", "precision": "bf16"}
    )
    assert "precision differs" in feature_file.index((tmp_path / "f").glob("*.h5"), tmp_path)[1][0]
    other = base | {"slide": "d", "weights_sha256": "2"}
    feature_file.write(tmp_path / "f" / "d.h5", np.ones((3, 4)), np.zeros((3, 2)), other)
    with pytest.raises(UserError, match=r"d\.h5: weights_sha256 is '2', but '1' in"):
        feature_file.index((tmp_path / "f").glob("*.h5"), tmp_path)


@pytest.mark.parametrize(
    ("key", "first", "other"),
    [
        ("encoder", "toy", "tiny"),
        ("weights_sha256", "1", "2"),
        ("normalisation", "nikitenko", "none"),
        ("tile_size", 224, 256),
        ("mpp_wanted", 0.5, 1.0),
        ("resample", "target", "level"),
    ],
)
def test_the_index_refuses_files_that_differ_in_what_decides_features(tmp_path, key, first, other):
    for name, value in (("a", first), ("b", first), ("c", other)):
        feature_file.write(tmp_path / f"{name}.h5", np.ones((3, 4)), np.zeros((3, 2)), {"slide": name, key: value})
    record, _ = feature_file.index([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path)
    assert [entry["slide"] for entry in record["slides"]] == ["a", "b"]
    with pytest.raises(UserError, match=rf"c\.h5: {key} is {other!r}, but {first!r} in .*a\.h5"):
        feature_file.index(tmp_path.glob("*.h5"), tmp_path)


# ---- shards -------------------------------------------------------------------------------------------------------


def test_every_tile_is_embedded_in_the_order_of_the_table(shard, reference, tmp_path):
    for item in shard:
        (tmp_path / "x.h5").write_bytes(reference[item.slide])
        found, places = feature_file.read(tmp_path / "x.h5")
        corners, grid, _ = tile_table.read(item.tiles)
        assert np.array_equal(places, corners)
        with Reader(item.image) as reader:
            tiles = np.stack(list(reader.tiles(corners, grid)))
        expected = toy().embed(tiles).numpy()
        assert np.allclose(found, expected, rtol=2e-3, atol=2e-3)
        record = feature_file.attributes(tmp_path / "x.h5")
        assert (record["decoder"], record["level"], record["mpp_wanted"]) == ("simplejpeg", 1, 0.52)
        assert record["code"] == identity.code(toy()) and "torch" in json.loads(record["versions"])


@pytest.mark.parametrize("order", [[0], [1], [2, 0], [2, 1, 0]])
@pytest.mark.parametrize("threads", [1, 3])
def test_bytes_do_not_depend_on_the_shard_or_its_threads(shard, reference, tmp_path, order, threads):
    made = embedding.embed_shard([shard[i] for i in order], toy(), tmp_path, 16, threads)
    for name, path in made.items():
        assert path.read_bytes() == reference[name]


def test_torch_keeps_the_threads_it_had_and_no_operation_takes_more_than_one(shard, tmp_path):
    encoder, seen = toy(), set()
    encoder.embed = lambda batch, plain=encoder.embed: seen.add(torch.get_num_threads()) or plain(batch)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        embedding.embed_shard(shard[1:2], encoder, tmp_path, 16, threads=2)
        assert seen == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_features_do_not_depend_on_the_batch_size_beyond_rounding(shard, reference, tmp_path, batch):
    made = embedding.embed_shard(shard, toy(), tmp_path, batch)
    for name, path in made.items():
        (tmp_path / "x").write_bytes(reference[name])
        assert np.allclose(feature_file.read(path)[0], feature_file.read(tmp_path / "x")[0], rtol=1e-3, atol=1e-3)


def test_a_real_network_gives_the_same_bits_wherever_a_tile_stands_in_a_batch():
    encoder = registry.load("efficientnet_lite0", device="cpu", precision="fp32")
    tiles = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (8, 224, 224, 3), dtype=np.uint8))
    whole = encoder.embed(tiles)
    assert torch.equal(encoder.embed(tiles.flip(0)).flip(0), whole)
    assert torch.equal(encoder.embed(torch.cat([tiles[5:], torch.zeros_like(tiles[:5])]))[:3], whole[5:])


def test_a_second_run_embeds_nothing_and_a_changed_slide_only_itself(shard, tmp_path):
    calls = []
    encoder = toy()
    encoder.embed = lambda batch, plain=encoder.embed: calls.append(len(batch)) or plain(batch)
    first = embedding.embed_shard(shard, encoder, tmp_path, 16)
    assert len(calls) > 5
    calls.clear()
    assert embedding.embed_shard(shard, encoder, tmp_path, 16) == first and calls == []
    again = embedding.embed_shard(shard, toy(weights_sha256="1" * 64), tmp_path, 16)
    assert not set(again.values()) & set(first.values())
    first["b"].write_bytes(first["b"].read_bytes()[:-900])  # a damaged file is no result
    embedding.embed_shard(shard, encoder, tmp_path, 16)
    assert feature_file.attributes(first["b"])["tiles"] > 0 and sum(calls) > 0


def test_the_identity_of_features_holds_what_decides_them_and_nothing_else(shard, tmp_path, monkeypatch):
    def key(item=shard[0], **changes):
        return identity.feature_key(item, toy(**changes))

    same = key()
    assert key(device=torch.device("cpu", 0)) == same
    assert key(normalisation="none") != same and key(precision="bf16") != same and key(name="other") != same
    assert key(weights_sha256="1" * 64) != same
    assert key(dataclasses.replace(shard[0], mpp=0.3)) != same
    image = tmp_path / "a.tif"
    image.write_bytes(Path(shard[0].image).read_bytes())
    moved = dataclasses.replace(shard[0], image=str(image))
    stamp = os.stat(shard[0].image)
    os.utime(image, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert key(moved) == same  # where the slide lies does not matter
    os.utime(image, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert key(moved) != same
    other = dataclasses.replace(shard[0], tiles=shard[1].tiles)
    assert key(other) != same


def test_a_slide_that_is_fetched_again_has_the_same_features(shard, tmp_path):
    image, record = tmp_path / "a.tif", tmp_path / "a.json"

    def key(md5: str, age: float = 0.0) -> str:
        """Of a slide fetched just now; ``age``: seconds by which its file is younger than the record."""
        image.write_bytes(Path(shard[0].image).read_bytes())
        record.write_text(json.dumps({"content": md5, "length": image.stat().st_size}))
        time = record.stat().st_mtime + age
        os.utime(image, (time, time))
        return identity.feature_key(dataclasses.replace(shard[0], image=str(image), record=str(record)), toy())

    same = key("1" * 32)
    assert key("1" * 32, 5.0) == key("1" * 32, -9e6) == same
    assert key("2" * 32) != same
    assert key("1" * 32, 3600.0) != same, "somebody put another file there"
    record.write_text(json.dumps({"content": "1" * 32, "length": 1}))
    item = dataclasses.replace(shard[0], image=str(image), record=str(record))
    assert identity.feature_key(item, toy()) != same, "another length"
    for text in ("", "[]", '{"content": null, "length": 5}'):
        record.write_text(text)
        plain = dataclasses.replace(item, record="")
        assert identity.feature_key(item, toy()) == identity.feature_key(plain, toy())


def test_code_of_features_is_the_readers_and_the_encoders_own_module_without_comments(tmp_path, monkeypatch):
    package = Path(identity.__file__).parents[1]
    copy = tmp_path / "chowder"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(identity.fingerprint, "__file__", str(copy / "fingerprint.py"))
    encoder = toy(module="chowder.features.encoders.resnet")
    before = identity.code(encoder)
    assert before != identity.code(toy())
    for name, text, changes in (
        ("slides/reader.py", "# a comment\n", False),
        ("features/encoders/registry.py", "NEW = 1\n", False),
        ("features/encoders/timm.py", "NEW = 1\n", False),
        ("slides/grid.py", "NEW = 1\n", False),
        ("features/sampling.py", "NEW = 1\n", False),
        ("features/encoders/resnet.py", "NEW = 1\n", True),
        ("slides/reader.py", "NEW = 1\n", False),  # pixels count, not the code that reads them
        ("features/encoders/base.py", "NEW = 1\n", True),
    ):
        path = copy / name
        original = path.read_text()
        path.write_text(original + text)
        assert (identity.code(encoder) != before) == changes, name
        path.write_text(original)
    assert identity.code(encoder) == before


def test_another_batch_size_embeds_nothing_again(shard, tmp_path, capsys):
    first = embedding.embed_shard(shard[:2], toy(), tmp_path, 16)
    capsys.readouterr()
    assert embedding.embed_shard(shard[:2], toy(), tmp_path, 7) == first
    assert capsys.readouterr().err.count("were embedded before") == 2


def nan_with_the_same_tile_count(path):
    with h5py.File(path, "r+") as file:
        file["features"][:] = np.nan


@pytest.mark.parametrize(
    "damage",
    [
        nan_with_the_same_tile_count,
        lambda path: path.write_bytes(path.read_bytes()[:-900]),
        lambda path: path.with_suffix(".sha256").unlink(),
        lambda path: path.unlink(),
    ],
    ids=["NaN", "cut", "no sha256", "gone"],
)
def test_a_damaged_file_of_the_store_is_embedded_again_and_no_other(shard, reference, tmp_path, damage, capsys):
    made = embedding.embed_shard(shard, toy(), tmp_path, 16)
    stamp = made["b"].stat()
    damage(made["b"])
    if made["b"].exists():  # as it would be after a silent error of the disk
        os.utime(made["b"], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    others = {name: path.stat().st_mtime_ns for name, path in made.items() if name != "b"}
    capsys.readouterr()
    assert embedding.embed_shard(shard, toy(), tmp_path, 16) == made
    assert capsys.readouterr().err.count("were embedded before") == len(shard) - 1
    assert made["b"].read_bytes() == reference["b"]
    assert {name: made[name].stat().st_mtime_ns for name in others} == others


def test_a_broken_slide_is_named_with_its_place_and_the_others_are_kept(shard, tmp_path):
    data = bytearray(Path(shard[0].image).read_bytes())
    starts = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"]
    middle = starts[-20]  # a stored tile of level 1
    data[middle : middle + 700] = bytes(700)
    (tmp_path / "bad.tif").write_bytes(data)
    bad = identity.Item("a", str(tmp_path / "bad.tif"), shard[0].tiles)
    gone = identity.Item("d", str(tmp_path / "gone.tif"), shard[0].tiles)
    with pytest.raises(UserError) as error:
        embedding.embed_shard([shard[1], bad, gone, shard[2]], toy(), tmp_path / "scratch", 16, threads=2)
    text = str(error.value)
    assert "2 of 4 slides failed (the other 2 are kept" in text and "\n" not in text
    assert "slide a: " in text and "bad.tif: level 1: the stored tile in column " in text and "slide d: " in text
    kept = sorted((path.name.split(".")[0], path.suffix) for path in (tmp_path / "scratch").iterdir())
    assert kept == [("b", ".h5"), ("b", ".sha256"), ("c", ".h5"), ("c", ".sha256")]


def test_features_that_overflow_fail_their_slide_only(shard, tmp_path):
    encoder = toy()
    with torch.no_grad():
        encoder.model.second.bias.fill_(1e7)
    with pytest.raises(UserError, match=r"3 of 3 slides failed.*exceed float16"):
        embedding.embed_shard(shard, encoder, tmp_path, 16)


def test_out_of_memory_halves_the_batch_and_goes_on(shard, reference, tmp_path, capsys):
    encoder = toy()

    def small(batch, plain=encoder.embed):
        if len(batch) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(batch)

    encoder.embed = small
    made = embedding.embed_shard(shard, encoder, tmp_path, 16)
    assert "going on with batches of 4" in capsys.readouterr().err
    for name, path in made.items():
        (tmp_path / "x").write_bytes(reference[name])
        assert np.allclose(feature_file.read(path)[0], feature_file.read(tmp_path / "x")[0], rtol=1e-3, atol=1e-3)

    def never(batch):
        if len(batch):
            raise torch.OutOfMemoryError("CUDA out of memory")

    encoder = toy()
    encoder.check = lambda *_: None
    encoder.embed = never
    with pytest.raises(UserError, match="one tile is too much"):
        embedding.embed_shard(shard[:1], encoder, tmp_path / "n", 16)


def test_another_slides_tile_table_is_refused(shard, tmp_path):
    with pytest.raises(UserError, match="is the tile table of 'a', not of 'z'"):
        embedding.embed_shard([identity.Item("z", shard[0].image, shard[0].tiles)], toy(), tmp_path)


def test_bands_hold_whole_rows_and_every_tile_once(shard):
    work = []
    for item in shard:
        coords, grid, _ = tile_table.read(item.tiles)
        work.append(embedding._Slide(item, coords, grid, Path("x")))
    seen = [[] for _ in shard]
    for number, first, stop in embedding._plan(work):
        seen[number] += range(first, stop)
        rows = work[number].coords[:, 1]
        assert stop == len(rows) or rows[stop] != rows[stop - 1]
        assert len(set(rows[first:stop])) <= embedding.BAND_ROWS
    assert seen == [list(range(len(slide.coords))) for slide in work]


KILLED = """
import json, sys, time
sys.path[:0] = json.loads(sys.argv[1])
from chowder.features import embedding, identity
from test_features import toy
encoder = toy()
encoder.embed = lambda batch, plain=encoder.embed: time.sleep(float(sys.argv[2])) or plain(batch)
embedding.embed_shard([identity.Item(*item) for item in json.loads(sys.argv[4])], encoder, sys.argv[3], 8)
"""


def test_a_killed_shard_leaves_whole_files_or_none_and_goes_on(shard, reference, tmp_path):
    store = tmp_path / "store"
    order = json.dumps([[shard[i].slide, shard[i].image, shard[i].tiles] for i in (1, 0, 2)])  # the small one first

    def command(pause: float) -> list[str]:
        return [sys.executable, "-c", KILLED, json.dumps(sys.path), str(pause), str(store), order]

    process = subprocess.Popen(command(0.2), stderr=subprocess.DEVNULL)
    while not list(store.glob("b.*.h5")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = list(store.glob("*.h5"))
    assert [path.name.split(".")[0] for path in left] == ["b"]
    stamp = left[0].stat().st_mtime_ns
    done = subprocess.run(command(0.0), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tiles were embedded before" in done.stderr and left[0].stat().st_mtime_ns == stamp
    assert sorted(path.name.split(".")[0] for path in store.glob("*.h5")) == ["a", "b", "c"]
    assert all(feature_file.attributes(path)["dim"] == 24 for path in store.glob("*.h5"))


def test_a_full_disk_ends_the_shard_at_once_and_leaves_nothing(shard, tmp_path, monkeypatch):
    """The slides after it would not fit either: computing them is waste."""
    written = []

    def full(path, *_):
        written.append(path)
        raise DiskFull(f"{path}: its disk is full")

    monkeypatch.setattr(integrity, "record", full)
    with pytest.raises(DiskFull, match="its disk is full"):
        embedding.embed_shard(shard, toy(), tmp_path / "store", 8, 1)
    assert len(written) == 1
    assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
