"""Predictions by a bundle are those of training; slides and features that do not fit it are refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from bundle_fixtures import DIM, manifest, settings, trained, written
from slide_fixtures import halved, tissue_like, write_tiff

from chowder.data.cohort import Slide
from chowder.features import feature_file
from chowder.features.bags import Bags
from chowder.files import UserError, sha256
from chowder.models import bundle, predicting
from chowder.models.predictions import write_predictions

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"


def opened(tmp_path: Path, **more) -> bundle.Bundle:
    return bundle.open_bundle(written(tmp_path / "b.zip", **more))


def config(**predict) -> dict:
    found = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    return found | {"predict": found["predict"] | {"model": "b.zip", "slides": "folder"} | predict}


@pytest.mark.parametrize("method", ["chowder_r2", "meanpool", "maxpool"])
def test_the_sample_and_the_probability_are_those_of_training(tmp_path, method):
    """The way of training: index, summary, Bags, predictions file; beside it the way of a bundle."""
    rng = np.random.default_rng(4)
    counts = {"one": 20, "two": 5, "three": 9}
    entries = []
    for slide, count in counts.items():
        path = tmp_path / f"{slide}.h5"
        feature_file.write(path, rng.normal(size=(count, DIM)), np.zeros((count, 2), int), {"slide": slide})
        entries.append({"slide": slide, "file": path.name, "tiles": count, "sha256": sha256(path)})
    (tmp_path / "index.json").write_text(json.dumps({"encoder": "x", "dim": DIM, "slides": entries}))
    (tmp_path / "summary.csv").write_text("slide,sampled\none,7\ntwo,5\nthree,7\n")
    bags = Bags.from_index(tmp_path / "index.json", tmp_path / "summary.csv", seed=3, dataset="trial")
    estimator, _ = trained(tmp_path, method)
    write_predictions(tmp_path / "known.csv", bags.names, [0, 0, 1], estimator.predict_proba(bags), estimator.averaged)
    with open(tmp_path / "known.csv") as handle:
        known = {row["slide"]: row for row in csv.DictReader(handle)}

    model = opened(tmp_path, method=method)
    estimators = model.estimators()
    for slide in counts:
        features, _ = feature_file.read(tmp_path / f"{slide}.h5")
        bag = predicting.sampled(features, slide, model.manifest["sample"])
        np.testing.assert_array_equal(bag, bags[bags.names.index(slide)])
        members = predicting.members_of(estimators, bag)
        row = predicting.Prediction(slide, members, counts[slide], len(bag), 0.25, []).row("note")
        assert float(row["probability"]) == pytest.approx(float(known[slide]["probability"]), abs=2e-7)
        assert int(row["sampled"]) == min(7, counts[slide])
    assert predicting.sampled(features, "another", model.manifest["sample"]).tolist() != bag.tolist(), "names count"


def test_models_of_several_splits_count_as_one_ensemble(tmp_path):
    models = [trained(tmp_path, seed=seed)[0] for seed in (1, 2)]
    bag = np.random.default_rng(1).normal(size=(9, DIM)).astype(np.float32)
    members = predicting.members_of(models, bag)
    np.testing.assert_array_equal(members, np.concatenate([model.predict_proba([bag])[0] for model in models]))
    scores = predicting.tile_scores(models, bag, "auto")
    np.testing.assert_allclose(scores, (models[0].instance_scores(bag) + models[1].instance_scores(bag)) / 2, rtol=1e-5)


def test_only_members_that_training_averages_count():
    two = SimpleNamespace(predict_proba=lambda bags: np.array([[0.1, 0.2, 0.4]]), averaged=[0, 2])
    assert predicting.members_of([two], np.zeros((1, 2))).tolist() == [0.1, 0.4]


def test_the_row_says_spread_and_warnings():
    row = predicting.Prediction("s", np.array([0.2, 0.4, 0.9]), 50, 20, 0.2431, ["few tiles", "pen"]).row("not for ...")
    assert tuple(row) == predicting.COLUMNS
    assert (row["probability"], row["min"], row["max"], row["members"]) == ("0.5", "0.2", "0.9", "3")
    assert float(row["sd"]) == pytest.approx(np.sqrt((0.3**2 + 0.1**2 + 0.4**2) / 2), rel=1e-3)
    assert (row["warnings"], row["note"]) == ("few tiles; pen", "not for ...")
    assert predicting.Prediction("s", np.array([0.2]), 5, 5, 0.25, []).row("")["sd"] == ""


def test_what_decides_pixels_comes_from_the_bundle(tmp_path):
    other = settings()
    other["tiles"] |= {"mpp": 1.0, "size": 256}
    other["tissue"] |= {"combine": "or"}
    encoder = manifest()["encoder"] | {
        "precision": "bf16",
        "normalisation": "none",
        "overrides": {"mean": [0.1] * 3, "std": [1] * 3},
    }
    model = opened(tmp_path, **other, encoder=encoder)
    found = config()
    found["embedding"] |= {"batch": 7, "weights": {"resnet50": "x"}, "mean": {"resnet50": [1, 1, 1]}, "compile": True}
    found |= {"encoders": ["resnet50"], "tissue": found["tissue"] | {"mpp": 4}}
    predicting.overlay(found, model)
    predicting.settings_fit(found, SCHEMA, model)
    assert (found["tiles"], found["tissue"]) == (other["tiles"], other["tissue"])
    assert found["encoders"] == ["efficientnet_lite0"]
    assert (found["embedding"]["precision"], found["embedding"]["normalisation"]) == ("bf16", "none")
    assert found["embedding"]["mean"] == {"efficientnet_lite0": [0.1] * 3}
    assert (found["embedding"]["pooling"], found["embedding"]["weights"], found["embedding"]["compile"]) == (
        {},
        {},
        False,
    )
    assert found["embedding"]["batch"] == 7, "what decides nothing is the user's"
    assert (found["methods"], found["dataset"], found["slides"]["source"]) == (["chowder_r2"], "predict", "table")


def test_weights_are_where_the_user_says_or_by_the_tag_of_the_bundle(tmp_path):
    encoder = manifest()["encoder"] | {"name": "resnet50", "weights": "IMAGENET1K_V2"}
    model = opened(tmp_path, encoder=encoder)
    found = config()
    predicting.overlay(found, model)
    assert found["embedding"]["weights"] == {"resnet50": "IMAGENET1K_V2"}
    found = config()
    found["embedding"]["weights"] = {"resnet50": "/here.pth"}
    predicting.overlay(found, model)
    assert found["embedding"]["weights"] == {"resnet50": "/here.pth"}


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("tissue", {"command": "rm"}, "tissue.command"),
        ("tiles", {"size": "big"}, "tiles.size"),
        ("localisation", {"score": "best"}, "localisation.score"),
    ],
)
def test_settings_that_the_config_could_not_have_are_refused(tmp_path, section, values, words):
    model = opened(tmp_path, **{section: settings()[section] | values})
    found = config()
    predicting.overlay(found, model)
    with pytest.raises(UserError, match=rf"b\.zip: its settings .*{words}"):
        predicting.settings_fit(found, SCHEMA, model)


def test_a_run_of_training_is_not_written_into_and_fp16_needs_a_gpu(tmp_path):
    predicting.placed(tmp_path)
    (tmp_path / "slides.csv").touch()
    with pytest.raises(UserError, match=r"predict\.name: .* holds a run of training"):
        predicting.placed(tmp_path)
    predicting.computable(opened(tmp_path), 0)
    half = opened(tmp_path, encoder=manifest()["encoder"] | {"precision": "fp16"})
    predicting.computable(half, 1)
    with pytest.raises(UserError, match="made in fp16, which needs a GPU"):
        predicting.computable(half, 0)


def test_slides_that_cannot_give_the_tiles_are_named(tmp_path):
    picture = tissue_like(512, 512)
    for name, mpp in (("fine", 0.25), ("edge", 0.509), ("coarse", 0.52), ("unknown", None)):
        write_tiff(tmp_path / f"{name}.tif", [picture, halved(picture)], mpp=mpp)
    (tmp_path / "text.tif").write_text("text")
    names = ("fine", "edge", "coarse", "unknown", "text")
    slides = [Slide(name, str(tmp_path / f"{name}.tif"), 0) for name in names]
    slides.append(Slide("told", str(tmp_path / "unknown.tif"), 0, mpp="0.3"))
    model = opened(tmp_path)
    found = predicting.unreadable(slides, model)
    assert [text.split(":")[0] for text in found] == ["slide coarse", "slide unknown", "slide text"]
    assert "0.52 um/px" in found[0]
    assert "predict.slides" in found[1]
    model.manifest["cohort"]["mpp_read"]["max"] = 0.6  # it was trained on such slides
    assert [text.split(":")[0] for text in predicting.unreadable(slides, model)] == ["slide unknown", "slide text"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("weights_sha256", "0" * 64), ("dim", 7), ("normalisation", "none"), ("precision", "bf16"), ("mpp_wanted", 0.4),
     ("tile_size", 256), ("resample", "level"), ("encoder", "resnet50")],
)  # fmt: skip
def test_features_that_are_not_the_bundles_are_refused(tmp_path, key, value):
    model = opened(tmp_path)
    encoder = model.manifest["encoder"]
    right = {name: encoder[name] for name in ("weights_sha256", "dim", "normalisation", "precision")}
    right |= {"encoder": "efficientnet_lite0", "tile_size": 224, "mpp_wanted": 0.5, "resample": "target"}
    predicting.same_features(model, "a.h5", right)
    with pytest.raises(UserError, match=f"a.h5: {key} is "):
        predicting.same_features(model, "a.h5", right | {key: value})
