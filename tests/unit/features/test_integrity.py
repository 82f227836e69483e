"""A feature file that is not what was embedded is noticed, named, and built again by doing what the message says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

import index_features
from chowder import files
from chowder.features import feature_file, integrity
from chowder.features.bags import Bags, read_entry, read_index
from chowder.files import UserError, sha256

DIM = 8


def rows_of(number: int, tiles: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    return rng.normal(0, 1, (tiles, DIM)).astype(np.float16), rng.integers(0, 9999, (tiles, 2)).astype(np.int32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two slides as the workflow leaves them: a store, a manifest, feature files, an index. The folder is current."""
    monkeypatch.chdir(tmp_path)
    embed("a", "b")
    index()
    return tmp_path


def embed(*slides: str) -> list[str]:
    """What embed.py does with its store, without an encoder; returns the slides that had to be made."""
    made, entries = [], {}
    for number, slide in enumerate(slides):
        path = Path(".store") / f"{slide}.{'0' * 16}.h5"
        if not integrity.intact(path):
            made.append(slide)
            feature_file.write(path, *rows_of(number), {"slide": slide, "encoder": "toy"})
            integrity.record(path, path)
        entries[slide] = {"file": f"../{path}", "sha256": integrity.recorded(path)}
    files.write_text("shards/0.json", json.dumps({"encoder": "toy", "slides": entries}))
    return made


def index() -> None:
    """What the rule does: Snakemake deletes the old outputs, then the program runs."""
    for name in ("a.h5", "b.h5", "index.json"):
        Path(name).unlink(missing_ok=True)
    index_features.main(
        ["--encoder", "toy", "--shards", "shards/0.json", "--slides", "a", "b", "--output", "index.json"]
    )


def keep_stamp(path, change) -> None:
    """Change a file and give it its old time stamp back."""
    stamp = os.stat(path)
    change(path)
    if os.path.exists(path):
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def altered(path) -> None:
    with h5py.File(path, "r+") as handle:
        handle["features"][7, 3] += 1


def exchanged(path) -> None:
    with h5py.File(path, "r+") as handle:
        values = handle["features"][:]
        values[[4, 9]] = values[[9, 4]]
        handle["features"][:] = values


def moved(path) -> None:
    with h5py.File(path, "r+") as handle:
        handle["coords"][0, 0] += 1


def filled_with_nan(path) -> None:
    with h5py.File(path, "r+") as handle:
        handle["features"][:] = np.nan


def cut(path) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


CHANGES = [altered, exchanged, moved, filled_with_nan, cut, os.remove]


def do_what_it_says(message: str) -> None:
    """Run the command between the quotes of an error message, and nothing else."""
    command = re.search(r"run '(rm -f [^']*)', then", message)
    assert command, message
    subprocess.run(shlex.split(command[1]), check=True)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("store_too", [False, True], ids=["store whole", "store damaged too"])
def test_a_changed_file_is_found_on_reading_and_comes_back_by_the_advice(folder, change, store_too):
    before, entry = sha256("a.h5"), read_index("index.json")[1]["a"]
    keep_stamp("a.h5", change)
    if store_too:
        keep_stamp(f".store/a.{'0' * 16}.h5", change)
    with pytest.raises(UserError, match=r"^a\.h5: .*slide a") as error:
        read_entry("index.json", entry, DIM)
    with pytest.raises(UserError, match=r"^a\.h5: .*slide a"):
        Bags.from_index("index.json", sample=False)
    do_what_it_says(str(error.value))
    assert not os.path.exists("a.h5") and not os.path.exists("index.json"), "so the workflow makes both again"
    if store_too and change is not os.remove:  # of a removed name the second one is left
        with pytest.raises(UserError, match=r"\.store/a.*(is damaged|is gone)") as error:
            index()
        assert not os.path.exists("a.h5")
        do_what_it_says(str(error.value))
        assert not os.path.exists("shards/0.json")
        assert embed("a", "b") == ["a"], "the other slide is not embedded again"
    index()
    assert sha256("a.h5") == before
    assert read_index("index.json")[1]["a"] == entry
    np.testing.assert_array_equal(read_entry("index.json", entry, DIM)[0], rows_of(0)[0])


def test_all_damaged_files_are_named_in_one_error_with_one_command(folder):
    altered("a.h5")
    os.remove("b.h5")
    with pytest.raises(UserError, match=r"^a\.h5: .*slide a .*: b\): run") as error:
        Bags.from_index("index.json", sample=False)
    do_what_it_says(str(error.value))
    assert not any(os.path.exists(name) for name in ("a.h5", "b.h5", "index.json"))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_index_takes_no_file_that_was_not_embedded(folder, change):
    """A new time stamp makes Snakemake build the index again: it must not adopt what is there."""
    before = sha256("b.h5"), (folder / "index.json").read_text()
    change("b.h5")
    index()
    assert (sha256("b.h5"), (folder / "index.json").read_text()) == before


def test_only_what_changed_is_copied_out_of_the_store(folder):
    before = {slide: os.stat(f"{slide}.h5").st_ino for slide in "ab"}
    altered("a.h5")
    index()
    assert os.stat("b.h5").st_ino == before["b"], "its second name was left when Snakemake deleted the first"
    assert os.stat("a.h5").st_ino != before["a"]
    Path(".published/gone.h5").touch()
    index()
    assert sorted(path.name for path in Path(".published").iterdir()) == ["a.h5", "b.h5"]


def test_without_hard_links_the_files_are_copied(folder, monkeypatch):
    before = sha256("a.h5")
    monkeypatch.setattr(os, "link", lambda *args: (_ for _ in ()).throw(OSError("no hard links here")))
    index()
    assert sha256("a.h5") == before


def test_all_files_that_the_store_lost_are_named_with_one_command(folder):
    for slide in "ab":
        altered(f"{slide}.h5")
        os.remove(f".store/{slide}.{'0' * 16}.h5")
    with pytest.raises(UserError, match=r"slide a is gone \(the same or worse: b\): run 'rm -f shards/0.json'"):
        index()


def test_an_index_without_a_manifest_still_refuses_nan(folder):
    filled_with_nan("b.h5")
    with pytest.raises(UserError, match=r"b\.h5: features of slide b hold NaN"):
        feature_file.index(["a.h5", "b.h5"], ".")


@pytest.mark.parametrize("change", CHANGES[:-1], ids=lambda change: change.__name__)
def test_the_stores_copy_shares_nothing_with_the_feature_file(folder, change):
    stored = f".store/a.{'0' * 16}.h5"
    assert not os.path.samefile("a.h5", stored) and os.stat(stored).st_nlink == 1
    before = sha256(stored)
    change("a.h5")
    assert sha256(stored) == before and integrity.intact(folder / stored)


def test_without_reflinks_the_bytes_are_copied(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10_000)
    integrity.separate_copy(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a").write_bytes(b"y")
    assert (tmp_path / "b").read_bytes() == b"x" * 10_000


def test_an_index_without_digests_is_checked_by_sha256(folder):
    content = json.loads((folder / "index.json").read_text())
    for entry in content["slides"]:
        del entry["digest"]
    (folder / "index.json").write_text(json.dumps(content))
    assert len(Bags.from_index("index.json", sample=False)) == 2
    altered("b.h5")
    with pytest.raises(UserError, match=r"^b\.h5: is not the file of slide b in the index"):
        Bags.from_index("index.json", sample=False)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 6, 8, 24, 1280, 2048])
def test_every_value_and_its_place_count_in_the_digest(width):
    rng = np.random.default_rng(width)
    values, coords = rng.normal(0, 1, (300, width)).astype(np.float16), rng.integers(0, 99, (300, 2)).astype(np.int32)
    seen = {integrity.digest(values, coords)}
    assert integrity.digest(np.asfortranarray(values), coords.astype(np.int64)) in seen, "memory layout does not count"
    for row, column in zip(rng.integers(0, 300, 50), rng.integers(0, width, 50), strict=True):
        other = values.copy()
        other.view(np.uint16)[row, column] ^= np.uint16(1 << int(rng.integers(0, 16)))
        seen.add(integrity.digest(other, coords))
    assert len(seen) > 45, "one bit, and each place of it, is told (a few draws may repeat)"
    assert integrity.digest(values[::-1], coords) not in seen
    assert integrity.digest(np.roll(values, 1), coords) not in seen
    assert integrity.digest(values, coords[::-1]) not in seen
    assert integrity.digest(values[:-1], coords[:-1]) not in seen
    assert integrity.digest(values.view(np.int16), coords) not in seen


def test_the_digest_is_the_sums_of_rows_and_columns():
    """Against the plain statement, in whole numbers of any size."""
    import hashlib

    values, coords = rows_of(3, 70)
    words = [[int.from_bytes(row[i : i + 8].tobytes(), "little") for i in range(0, 16, 8)] for row in values.view("u1")]
    across = [sum(row) % 2**64 for row in words]
    down = [sum(column) % 2**64 for column in zip(*words, strict=True)]
    total = hashlib.sha256(b"(70, 8) <f2 (70, 2)")
    total.update(b"".join(number.to_bytes(8, "little") for number in across + down))
    total.update(coords.astype("<i4").tobytes())
    assert integrity.digest(values, coords) == total.hexdigest()


def test_a_manifest_that_is_none_is_named(tmp_path):
    for text in ("", "[]", '{"slides": {"a": {"file": "x"}}}'):
        (tmp_path / "0.json").write_text(text)
        with pytest.raises(UserError, match=r"0\.json: not a record of embedded slides"):
            integrity.read_manifest(tmp_path / "0.json")
