"""Every reader either reads what it is given or raises one UserError, whatever is in the file.

Each case damages a good file: values of a JSON file replaced, bytes changed, cut, doubled. CI tries 200 cases per
reader, always the same ones; ``make fuzz`` tries 20,000 new ones (``make fuzz CASES=1000``). A reader of another file
is one more entry of READERS.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from bundle_fixtures import manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slide_fixtures import Held, generic

from chowder import preflight
from chowder import settings as config_check
from chowder.data import annotations, camelyon16, cohort
from chowder.data.download import pages, places
from chowder.evaluation import detections, lesions, masks, scorer_table, tables
from chowder.features import bags, feature_file, foreign, identity, integrity, shards
from chowder.files import UserError
from chowder.models import bundle, memory, model_file, predicting, predictions, splits, training_cohort
from chowder.report.table import entry
from chowder.slides import describe, picture, record, stored, tile_scores, tile_table
from chowder.slides.grid import Grid

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
CASES = int(os.environ.get("FUZZ_CASES", "200"))
PROFILE = settings(
    max_examples=CASES,
    derandomize="FUZZ_CASES" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

# ---------------------------------------------------------------------------------------------------- damage

TOKENS = [
    b"", b"\0", b"\n", b"\r", b",", b";", b'"', b"'", b"<", b">", b"&", b"/", b"\\", b"{", b"}", b"[", b"]",
    b":", b"=", b"nan", b"inf", b"-inf", b"-1", b"0", b"1", b"1e999", b"9" * 400, b"0x10", b"1_000", b"true",
    b"null", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\x00" * 8, b"\xff" * 8,
    b"\x7f\xff\xff\xff", b"\x80", b"a" * 300, b"../../etc/passwd", b"<!DOCTYPE x>", b"]]>", b"slide,label\n",
    "١".encode(), "é".encode(), "½".encode(),
]  # fmt: skip


@st.composite
def bytes_like(draw, seed: bytes) -> bytes:
    """``seed`` with one to four changes."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 40))
        match draw(st.integers(0, 5)):
            case 0:
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                data[at : at + size] = draw(st.sampled_from(TOKENS))
            case 2:
                del data[at:]
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size]
            case 5:
                data[at:at] = draw(st.binary(max_size=8))
    return bytes(data)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**63, 2**64, 10**400, -1, 0, "", "a\0b", "../x", "\ud800", "x" * 300, "nan", "1e999"]),
    st.floats(),
    st.text(max_size=8),
)
VALUES = st.recursive(
    LEAVES,
    lambda more: st.lists(more, max_size=3) | st.dictionaries(st.text(max_size=4), more, max_size=3),
    max_leaves=5,
)


@st.composite
def tree_like(draw, seed):
    """The JSON value ``seed`` with one to three parts replaced, removed or added."""
    tree = copy.deepcopy(seed)
    for _ in range(draw(st.integers(1, 3))):
        holder, key, value = None, None, tree
        while isinstance(value, dict | list) and value and draw(st.integers(0, 4)):
            keys = list(value) if isinstance(value, dict) else list(range(len(value)))
            holder, key = value, draw(st.sampled_from(keys))
            value = holder[key]
        kind = draw(st.integers(0, 4))
        if holder is None:
            tree = tree if kind else draw(VALUES)
        elif kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[draw(st.text(max_size=6))] = draw(VALUES)
        elif kind == 2 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(value))
        else:
            holder[key] = draw(VALUES)
    return tree


# ---------------------------------------------------------------------------------------------------- good files


def in_memory(write: Callable[[Path], object], suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write(path)
        return path.read_bytes()


SLIDES = (
    b"slide,label,split,center,class,annotation,mpp,md5,froc,patient,width,height\n"
    b"n1,normal,train,A,negative,,0.25,,1,p1,900,800\n"
    b't1,tumor,train,"B, b",micro,t1.xml,,0123456789abcdef0123456789abcdef,,p2,,\n'
    b"x1,0,test,B,,,0.5,,0,,700,600\n"
    b"x2,1,test,A,macro,x2.xml,,,1,,700,600\n"
)
XML = b"""<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
<Annotation Name="a" Type="Polygon" PartOfGroup="_0" Color="#F4FA58"><Coordinates>
<Coordinate Order="0" X="10,5" Y="10" /><Coordinate Order="1" X="200" Y="10.25" />
<Coordinate Order="2" X="200" Y="180" /><Coordinate Order="3" X="10" Y="200" /></Coordinates></Annotation>
<Annotation Name="b" Type="Spline" PartOfGroup="Exclusion"><Coordinates><Coordinate Order="0" X="20" Y="20" />
<Coordinate Order="1" X="60" Y="20" /><Coordinate Order="2" X="20" Y="70" /></Coordinates></Annotation>
</Annotations><AnnotationGroups><Group Name="_0" PartOfGroup="None" Color="#F4FA58"/></AnnotationGroups>
</ASAP_Annotations>
"""
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
CONFIG["encoders"] = ["resnet50"]
CONFIG["embedding"] |= {"weights": {"resnet50": "IMAGENET1K_V2"}, "mean": {"resnet50": [0.1, 0.2, 0.3]}}
INDEX = {
    "encoder": "toy",
    "dim": 3,
    "slides": [{"slide": s, "file": f"{s}.h5", "tiles": 4, "sha256": "0" * 64, "digest": "1" * 64} for s in "ab"],
}
FEATURES = np.arange(12.0).reshape(4, 3), np.arange(8).reshape(4, 2) * 224
RECORD = {
    "slide": "a", "width": 900, "height": 800, "mpp": 0.25, "levels": [[900, 800]], "downsamples": [1.0], "rule": "x",
    "mask_mpp": 8.0, "mask_scale": [32.0, 32.0], "thresholds": {}, "area_mm2": 1.0, "pen_area_mm2": 0.0, "warnings": [],
}  # fmt: skip
FETCHED = {"content": "0" * 32, "length": 10, "levels": [0, 1]}
AUC = {
    "ensemble": 2,
    "settings": {"froc_mode": "official", "confidence": 0.95},
    "competition": {"auc": 0.5, "low": 0.4, "high": 0.6, "slides": 3, "by_center": {"A": {"auc": 0.5}}},
    "cv": {"auc_mean": 0.5, "auc_sd": 0.1, "folds": [1, 2]},
}


def tile_table_file(path: Path) -> None:
    import pyarrow as pa

    columns = {name: pa.array([0, 448, 896], pa.int32()) for name in ("x", "y", "column", "row")}
    tile_table.write(path, pa.table(columns), Grid(224, 0.5, 0.5, "target", 0, 448.0, 0.25, 1.0, 3, 3), "a")


def stamp_file(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["feats"], file["coords"] = FEATURES[0].astype(np.float16), FEATURES[1].astype(float)
        file.attrs.update({"unit": "um", "tile_size_um": 112.0, "extractor": "uni", "level0_mpp": 0.25})


def lesion_file(path: Path) -> None:
    mask = np.zeros((20, 20), bool)
    mask[3:9, 4:12] = True
    lesions.save(path, lesions.label_lesions(mask))


def tensor_file(path: Path) -> None:
    import torch

    torch.save(torch.ones(4, 3), path)


def pooled_model(path: Path) -> None:
    from chowder.models import build

    slides = [np.full((3, 2), float(i % 2)) + i / 10 for i in range(6)]
    build.build("meanpool", {}).fit(slides, [0, 1] * 3).save(path)


def image_file(path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.eye(30, 25, dtype=np.uint8)).save(path)


def score_file(path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"x": [0, 448], "y": [0, 448], "score": [0.5, -1.0]}).to_parquet(path)


# ---------------------------------------------------------------------------------------------------- readers


def read_config(path: Path) -> None:
    config = json.loads(path.read_text())
    if isinstance(config, dict):  # Snakemake refuses others
        config_check.check(config, SCHEMA)
        preflight.patterns(config["slides"])
        preflight.paths(config)
        preflight.folders(config["encoders"])
        preflight.encoders(config["encoders"], config["embedding"]["weights"])
        preflight.address(config["download"]["base_url"])


def read_index(path: Path) -> None:
    for name in "ab":
        (path.parent / f"{name}.h5").write_bytes(STORED)
    dim, entries = bags.read_index(path)
    for slide in entries.values():
        bags.read_entry(path, slide, dim)
    memory.of_index(path)


def read_directories(path: Path) -> None:
    stored.tiff_directories(str(path))
    pages.directories(pages.Window(None, Held(path.read_bytes())))
    describe.describe(path)


def read_foreign(path: Path) -> None:
    ready = foreign.read(path)
    if ready.coords is not None:
        foreign.table(foreign.place(path, ready, ready.mpp or 0.25, ready.tile_um or 112.0, None))


def read_manifest(path: Path) -> None:
    assert isinstance(shards.made(path.parent), dict)
    integrity.read_manifest(path)


def read_plan(path: Path) -> None:
    (path.parent / places.FOLDER).mkdir(exist_ok=True)
    shutil.copy(path, path.parent / places.FOLDER / "plan.json")
    shutil.copy(path, path.parent / places.FOLDER / "lost.json")
    places._lost(path.parent / places.FOLDER)
    places.read_plan(path.parent)


def read_predictions(path: Path) -> None:
    predictions.count_members(path)
    predictions.read_predictions(path)
    predictions.read_probabilities(path)


def read_summary(path: Path) -> None:
    memory.of_summary(path)
    bags.read_sampled(path)


def read_slides(path: Path) -> None:
    for row in cohort.read(path, "images/{slide}.tif", "xml/{slide}.xml"):
        row.resolved(False)
    with contextlib.suppress(UserError):  # no such images
        cohort.read(path, "{slide}.tif", "{slide}.xml", path.parent)


def read_labels(path: Path) -> None:
    good = path.with_name("good.csv")
    good.write_bytes(SLIDES)
    cohort.override(cohort.read(good), path)


def read_fetched(path: Path) -> None:
    assert isinstance(identity.content(str(path), os.stat(path)), tuple)


def read_model(path: Path) -> None:
    from chowder.models import build

    build.load(path)
    model_file.read_content(path)


def pooled_bundle(path: Path) -> None:
    model = in_memory(pooled_model, ".pt")
    bundle.write(path, manifest("meanpool"), {"competition": model}, "read me")


def read_bundle(path: Path) -> None:
    opened = bundle.open_bundle(path)
    opened.check()
    opened.estimators()


def read_bundle_manifest(path: Path) -> None:
    """As the workflow does: unpacked, its settings in the config, its cohort against a slide."""
    folder = path.parent / "bundle"
    if not folder.is_dir():
        with zipfile.ZipFile(io.BytesIO(BUNDLE)) as archive:
            archive.extractall(folder)
    shutil.copy(path, folder / bundle.MANIFEST)
    opened = bundle.open_bundle(folder)
    opened.check()
    config = copy.deepcopy(CONFIG) | {"predict": {"model": str(folder), "slides": "slides", "name": "predict"}}
    predicting.overlay(config, opened)
    predicting.settings_fit(config, SCHEMA, opened)
    assert "/" not in opened.name
    training_cohort.outside(opened.manifest["cohort"], 10, 0.3, {"eosin_mean": 0.1})
    predicting.sampled(np.zeros((9, 2)), "a", opened.manifest["sample"])


BUNDLE = in_memory(pooled_bundle, ".zip")
with zipfile.ZipFile(io.BytesIO(BUNDLE)) as _archive:
    MANIFEST = json.loads(_archive.read(bundle.MANIFEST))
STORED = in_memory(lambda path: feature_file.write(path, *FEATURES, {"encoder": "toy", "slide": "a"}), ".h5")
INDEX["slides"][0]["digest"] = INDEX["slides"][1]["digest"] = integrity.digest(
    FEATURES[0].astype(np.float16), FEATURES[1].astype(np.int32)
)

# name: (suffix, good content: bytes or a JSON value, what reads it).
READERS: dict[str, tuple[str, object, Callable[[Path], object]]] = {
    "annotation": (".xml", XML, lambda path: annotations.read_asap(path, (1000, 900))),
    "slides table": (".csv", SLIDES, read_slides),
    "resolved slides table": (".csv", SLIDES, cohort.read_rows),
    "slides table of the evaluation": (".csv", SLIDES, tables.read_slides),
    "slides table of the scorer": (".csv", SLIDES, scorer_table.read),
    "second label set": (".csv", b"slide,label,class,annotation,froc\nx1,1,micro,a.xml,1\nn1,,,,0\n", read_labels),
    "reference": (".csv", b"image,type,class,center\ntest_001.tif,tumor,macro,RUMC\n", camelyon16.read_reference),
    "list of md5": (".md5", b"0123456789abcdef0123456789abcdef *images/a.tif\n" * 2, camelyon16.read_md5_list),
    "config": (".json", CONFIG, read_config),
    "TIFF directories": (".tif", in_memory(lambda path: generic(path, 300, 200, 2, tile=64), ".tif"), read_directories),
    "detections": (".csv", b"0.5,10,20\n1e-3,0,3.5\n", detections.read_detections),
    "mask png": (".png", in_memory(image_file, ".png"), lambda path: masks.read_mask(path, None)),
    "mask tif": (".tif", in_memory(image_file, ".tif"), lambda path: masks.read_mask(path, (800, 960))),
    "mask npy": (
        ".npy",
        in_memory(lambda path: np.save(path, np.eye(30, dtype=np.uint8)), ".npy"),
        lambda path: masks.read_mask(path, None),
    ),
    "lesion file": (".npz", in_memory(lesion_file, ".npz"), lesions.load),
    "index": (".json", INDEX, read_index),
    "manifest": (".json", {"encoder": "x", "slides": {"a": {"file": "a.h5", "sha256": "0" * 64}}}, read_manifest),
    "tissue record": (".json", RECORD, lambda path: record.read(path, *record.KINDS)),
    "record of a fetch": (".json", FETCHED, read_fetched),
    "plan of places": (".json", {"at_once": 2, "groups": [["a", "b"]], "keep_going": False}, read_plan),
    "splits": (".json", {"cv1": {"train": ["a"], "test": ["b"]}}, splits.read_splits),
    "auc": (
        ".json",
        AUC,
        lambda path: entry.method_entry(path, path, path, encoder="x", method="meanpool", settings={}),
    ),
    "feature file": (".h5", STORED, lambda path: (feature_file.attributes(path), feature_file.read(path))),
    "external features": (".h5", STORED, read_foreign),
    "external features of STAMP": (".h5", in_memory(stamp_file, ".h5"), read_foreign),
    "external features npy": (
        ".npy",
        in_memory(lambda path: np.save(path, np.arange(24.0).reshape(4, 6)), ".npy"),
        read_foreign,
    ),
    "external features pt": (".pt", in_memory(tensor_file, ".pt"), read_foreign),
    "tile table": (".parquet", in_memory(tile_table_file, ".parquet"), tile_table.read),
    "picture": (".png", in_memory(image_file, ".png"), picture.read),
    "tile scores": (".parquet", in_memory(score_file, ".parquet"), tile_scores.read),
    "tile summary": (".csv", b"slide,split,tiles,sampled\na,train,30,10\n", read_summary),
    "predictions": (".csv", b"slide,label,probability,member_1,member_2\na,0,0.5,0.4,0.6\n", read_predictions),
    "bundle": (".zip", BUNDLE, read_bundle),
    "manifest of a bundle": (".json", MANIFEST, read_bundle_manifest),
    "model": (".pt", in_memory(pooled_model, ".pt"), read_model),
}


def as_bytes(content: object) -> bytes:
    if isinstance(content, bytes):
        return content
    try:
        return json.dumps(content).encode()
    except ValueError:  # an integer that is too long to write
        return b"{}"


@pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow and numpy say of damaged headers
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_in_one_line(name, tmp_path):
    suffix, seed, read = READERS[name]
    path = tmp_path / f"file{suffix}"
    path.write_bytes(as_bytes(seed))
    read(path)
    count: Counter[str] = Counter()
    damaged = bytes_like(as_bytes(seed))
    if not isinstance(seed, bytes) and name != "config":
        damaged = st.one_of(tree_like(seed), tree_like(seed), damaged)
    elif name == "config":
        damaged = tree_like(seed)

    @PROFILE
    @given(damaged)
    def case(content):
        path.write_bytes(as_bytes(content))
        try:
            read(path)
            count["read"] += 1
        except UserError as error:
            count["refused"] += 1
            assert "\n" not in str(error), "more than one line"
            assert len(str(error)) < 2000

    case()
    assert sum(count.values()) >= CASES / 2, count
    assert count["refused"] >= (0 if name == "record of a fetch" else CASES / 50), count


def test_the_damage_is_of_all_kinds():
    """The strategies reach cuts, tokens and replaced values: else the tests above prove little."""
    kinds = set()

    @settings(PROFILE, max_examples=150)
    @given(bytes_like(b"0123456789"), tree_like({"a": [1, 2], "b": {"c": "d"}}))
    def case(data, tree):
        kinds.add("shorter" if len(data) < 10 else "longer" if len(data) > 10 else "as long")
        kinds.add("no object" if not isinstance(tree, dict) else "without a" if "a" not in tree else "with a")

    case()
    assert kinds == {"shorter", "longer", "as long", "no object", "without a", "with a"}
