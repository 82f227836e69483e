"""A bundle gives back what was put in, says what it is, and a hostile or damaged one is refused in one line."""

from __future__ import annotations

import hashlib
import json
import pickle
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from bundle_fixtures import DIM, manifest, trained, written

from chowder.files import UserError
from chowder.models import bundle


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("bundle") / "chowder_r2.zip")


def unpacked(source: Path, target: Path) -> Path:
    with zipfile.ZipFile(source) as archive:
        archive.extractall(target)
    return target


def repacked(source: Path, target: Path, change=None, extra: dict[str, bytes] | None = None, entries=()) -> Path:
    """A copy of a bundle with a changed manifest, further files, and further zip entries."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        for entry in archive.infolist():
            content = archive.read(entry)
            if entry.filename == bundle.MANIFEST and change:
                content = json.loads(content)
                change(content)
                content = json.dumps(content).encode()
            copy.writestr(entry.filename, (extra or {}).pop(entry.filename, content))
        for name, content in (extra or {}).items():
            copy.writestr(name, content)
        for entry, content in entries:
            copy.writestr(entry, content)
    return target


def refusal(path: Path) -> str:
    """The one line with which a bundle is refused, before or while it is read."""
    with pytest.raises(UserError) as error:
        opened = bundle.open_bundle(path)
        opened.check()
        opened.estimators()
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path)), "says which file"
    return str(error.value)


def test_the_model_that_comes_out_predicts_as_the_one_that_went_in(tmp_path):
    estimator, content = trained(tmp_path)
    other, second = trained(tmp_path, seed=2)
    bundle.write(tmp_path / "b.zip", manifest(), {"cv1": content, "cv2": second}, "read me")
    found = bundle.open_bundle(tmp_path / "b.zip").estimators()
    bags = [np.random.default_rng(5).normal(size=(30, DIM)).astype(np.float32)]
    for before, after in zip((estimator, other), found, strict=True):
        np.testing.assert_array_equal(before.predict_proba(bags), after.predict_proba(bags))
        np.testing.assert_array_equal(before.instance_scores(bags[0]), after.instance_scores(bags[0]))


def test_a_zip_and_its_folder_are_the_same_bundle(good, tmp_path):
    packed, folder = bundle.open_bundle(good), bundle.open_bundle(unpacked(good, tmp_path / "folder"))
    assert packed.manifest == folder.manifest
    assert packed.digest == folder.digest
    assert packed.name == folder.name == "trial_efficientnet-lite0_chowder_r2"
    for name, known in packed.manifest["files"].items():
        content = folder.read(name)
        assert content == packed.read(name)
        assert hashlib.sha256(content).hexdigest() == known["sha256"]


def test_the_same_content_gives_the_same_bytes(good, tmp_path):
    assert written(tmp_path / "again.zip").read_bytes() == good.read_bytes()


def test_the_manifest_says_what_it_must(good):
    found = bundle.open_bundle(good).manifest
    assert found["note"] == "For research, not for diagnosis."
    assert found["format"] == 1
    assert set(found["labels"]) == {"0", "1"}
    assert found["models"] == ["models/competition.pt"]


def test_what_cannot_be_read_again_is_not_written(tmp_path):
    with pytest.raises(UserError, match=r"encoder\.weights_sha256"):
        bundle.write(tmp_path / "b.zip", manifest(encoder=manifest()["encoder"] | {"weights_sha256": "12"}), {}, "")
    assert not list(tmp_path.iterdir())


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def listed(name: str, content: bytes):
    """A change of the manifest that lists a file with its right sha256."""

    def change(found: dict) -> None:
        found["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    return change


def test_a_pickle_is_refused_by_its_name_and_never_runs_under_another(good, tmp_path):
    touched = tmp_path / "touched"
    content = pickle.dumps(Evil(touched))
    named = repacked(good, tmp_path / "a.zip", listed("models/x.pkl", content), {"models/x.pkl": content})
    assert "models/x.pkl" in refusal(named)
    hidden = repacked(
        good, tmp_path / "b.zip", listed("models/competition.pt", content), {"models/competition.pt": content}
    )
    assert "not a model file of this workflow" in refusal(hidden)
    assert not touched.exists()


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/out.txt", "models/../../out.txt", "a\\..\\out.txt", "a/b.txt", "-x.txt"]
)
def test_a_path_that_leaves_the_bundle_is_refused(good, tmp_path, name):
    path = repacked(good, tmp_path / "b.zip", listed(name, b"x"), {name: b"x"})
    assert "which no bundle has: refused" in refusal(path)
    only_listed = repacked(good, tmp_path / "c.zip", listed(name, b"x"))
    assert "refused" in refusal(only_listed)


def test_links_and_double_entries_are_refused(good, tmp_path):
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "is a link" in refusal(repacked(good, tmp_path / "a.zip", entries=[(link, b"/etc/passwd")]))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = repacked(good, tmp_path / "b.zip", entries=[(zipfile.ZipInfo("README.txt"), b"other")])
    assert "there twice" in refusal(twice)
    folder = unpacked(good, tmp_path / "folder")
    (folder / "notes.txt").symlink_to("/etc/passwd")
    assert "is a link" in refusal(folder)


def test_sizes_are_limited_by_what_is_claimed_and_by_what_comes(good, tmp_path, monkeypatch):
    bomb = repacked(good, tmp_path / "a.zip", extra={})
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.txt", b"\0" * 2_000_000)
    monkeypatch.setattr(bundle, "MAX_FILE", 1_000_000)
    assert "big.txt has 2000000 bytes, too many" in refusal(bomb)
    monkeypatch.setattr(bundle, "MAX_FILES", 2)
    assert "at most 2" in refusal(good)
    monkeypatch.setattr(bundle, "MAX_MANIFEST", 100)
    monkeypatch.setattr(bundle, "MAX_FILES", 64)
    assert "manifest.json has" in refusal(good)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(format=2), "has format 2, this version reads 1"),
        (lambda m: m.update(format="1"), "has format '1'"),
        (lambda m: m.update(format=True), "has format True"),
        (lambda m: m.pop("format"), "has format None"),
        (lambda m: m.pop("sample"), "'sample' is a required property"),
        (lambda m: m["sample"].update(tiles=0), "sample.tiles"),
        (lambda m: m["encoder"].update(weights_sha256="f" * 63), "encoder.weights_sha256"),
        (lambda m: m["encoder"].update(name="x; rm -rf"), "encoder.name"),
        (lambda m: m.update(dataset="../up"), "dataset"),
        (lambda m: m.update(method="chowder"), "method 'chowder' is not known"),
        (lambda m: m.update(models=["README.txt"]), "'README.txt' is no model file"),
        (lambda m: m.update(models=["models/other.pt"]), "'models/other.pt' is no model file"),
        (lambda m: m["cohort"]["stain"].update(eosin_mean={"min": 1}), "cohort.stain.eosin_mean"),
        (lambda m: m["files"].pop("README.txt"), "README.txt is not in the manifest"),
        (lambda m: m["files"]["README.txt"].update(sha256="0" * 64), "README.txt is not the file of the manifest"),
        (lambda m: m["files"]["models/competition.pt"].update(sha256="0" * 64), "sha256 differs"),
        (lambda m: m["files"].update({"more.txt": {"sha256": "0" * 64, "bytes": 3}}), "more.txt is missing"),
    ],
)
def test_a_manifest_that_is_wrong_is_one_line(good, tmp_path, change, words):
    path = repacked(good, tmp_path / "b.zip", change)
    if "is not known" in words:
        with pytest.raises(UserError, match=words):
            bundle.open_bundle(path)
    else:
        assert words in refusal(path)


def test_what_is_no_bundle_is_said_so(good, tmp_path):
    assert "no such bundle" in refusal(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("text")
    assert "is no zip file" in refusal(tmp_path / "text.zip")
    (tmp_path / "empty").mkdir()
    assert "has no manifest.json" in refusal(tmp_path / "empty")
    assert "cannot be read as JSON" in refusal(
        repacked(good, tmp_path / "j.zip", extra={bundle.MANIFEST: b"{" * 100_000})
    )
    content = good.read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    assert "is no zip file" in refusal(tmp_path / "cut.zip")
    place = content.index(b"read me")
    (tmp_path / "bit.zip").write_bytes(content[:place] + b"R" + content[place + 1 :])
    assert "README.txt cannot be read" in refusal(tmp_path / "bit.zip")
    folder = unpacked(good, tmp_path / "folder")
    (folder / "README.txt").write_text("READ ME")
    assert "sha256 differs" in refusal(folder)
