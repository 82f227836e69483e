"""Bundles and predict as a user runs them: what is planned and refused at once, and (CHOWDER_LONG=1) the whole way."""

from __future__ import annotations

import csv
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from bundle_fixtures import manifest, written
from slide_fixtures import halved, tissue_like, write_tiff

from workflow_clone import TINY, clone, planned, snakemake


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A bundle of a model trained on random numbers, and two slides that nobody labelled."""
    folder = tmp_path_factory.mktemp("predict")
    written(folder / "b.zip")
    other = manifest()["encoder"] | {"name": "resnet50", "weights": "IMAGENET1K_V9"}
    written(folder / "other.zip", encoder=other)
    (folder / "slides").mkdir()
    picture = tissue_like(600, 500)
    for name, mpp in (("one", 0.25), ("two", 0.24)):
        write_tiff(folder / "slides" / f"{name}.tif", [picture, halved(picture)], mpp=mpp)
    return folder


def asked(fresh: Path, model: Path, slides: Path, check: bool = True):
    arguments = ("-n", "--cores", "1", "predict", "--config", f"predict={{model: {model}, slides: {slides}}}")
    return snakemake(fresh, *arguments, check=check)


def test_a_clone_with_nothing_but_a_bundle_plans_the_prediction_alone(fresh, place):
    jobs = planned(asked(fresh, place / "b.zip", place / "slides").stdout)
    one_each = dict.fromkeys(("encoder_identity", "embed", "index_features", "predict_slides", "predict"), 1)
    assert jobs == one_each | dict.fromkeys(("tissue", "tiles", "predict_pictures"), 2)
    assert not (fresh / "results").exists(), "a dry run writes nothing"


def test_what_cannot_be_reproduced_is_refused_before_the_first_job(fresh, place):
    """In a bundle: a file that was changed, an encoder that is not known. Among the slides: one that is too coarse."""
    shutil.copytree(place / "slides", place / "coarse")
    write_tiff(place / "coarse" / "three.tif", [tissue_like(600, 500)], mpp=0.9)
    content = (place / "b.zip").read_bytes()
    (place / "bit.zip").write_bytes(content.replace(b"read me", b"read ME"))
    for model, slides, words in (
        ("bit.zip", "slides", "bit.zip: README.txt cannot be read"),
        ("other.zip", "slides", "other.zip: config: embedding.weights.resnet50: torchvision has no IMAGENET1K_V9"),
        ("b.zip", "coarse", "1 of 3 slides cannot be used: slide three: its finest level that serves has 0.9 um/px"),
    ):
        result = asked(fresh, place / model, place / slides, check=False)
        assert result.returncode == 1
        assert words in result.stdout
        assert "Building DAG" not in result.stdout


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open() as handle:
        return {row["slide"]: row for row in csv.DictReader(handle)}


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("CHOWDER_LONG"), reason="a minute: set CHOWDER_LONG=1")
def test_a_fresh_clone_with_only_the_bundle_gives_the_probabilities_of_the_table(tiny, tmp_path):
    place = tmp_path / "training"  # a copy, with a sample smaller than a slide
    shutil.copytree(tiny, place, symlinks=True)
    snakemake(place, "--cores", "2", "bundles", *TINY, "--config", "sample={minimum: 20}")
    trained = place / "results/tiny"
    folder = clone(tmp_path / "clone")
    slides = folder / "slides"
    slides.mkdir()
    for number in (1, 2, 3):
        shutil.copy(trained / f"slides/test_00{number}.tif", slides)
    for method in ("meanpool", "weldon_r1", "chowder_r1"):
        shutil.copy(trained / f"bundles/efficientnet_lite0/{method}.zip", folder)
    for method in ("meanpool", "weldon_r1", "chowder_r1"):
        model = f"{method}.zip"
        if method == "weldon_r1":  # a folder does as well
            with zipfile.ZipFile(folder / model) as archive:
                archive.extractall(folder / "unpacked")
            model = "unpacked"
        arguments = ("--cores", "2", "predict", "--config", f"predict={{model: {model}, slides: slides}}")
        first = snakemake(folder, *arguments)
        assert ("embed" in planned(first.stdout)) == (method == "meanpool"), "another method embeds nothing"
        assert "Nothing to be done" in snakemake(folder, "-n", *arguments).stdout
        known = rows_of(trained / f"predictions/efficientnet_lite0/{method}/competition.csv")
        results = folder / f"results/predict/tiny_efficientnet-lite0_{method}"
        found = rows_of(results / "predictions.csv")
        assert set(found) == set(known) == {"test_001", "test_002", "test_003"}
        for slide, row in found.items():
            assert int(row["sampled"]) < int(row["tiles"])
            assert float(row["probability"]) == pytest.approx(float(known[slide]["probability"]), abs=1e-6)
            assert row["note"] == "For research, not for diagnosis"
            assert "trained on simulated slides" in row["warnings"]
            for name in ("heatmap.png", "heatmap.svg", "heatmap.csv", "tiles.png"):
                assert (results / slide / name).stat().st_size > 0
            geojson = json.loads((results / slide / "tiles.geojson").read_text())
            assert len(geojson["features"]) == int(row["tiles"])
            assert geojson["properties"]["note"] == "For research, not for diagnosis."
    features = folder / "results/predict/features/efficientnet_lite0"
    assert len(list((features / ".store").glob("*.h5"))) == 3, "each slide was embedded once"

    with zipfile.ZipFile(folder / "chowder_r1.zip") as archive, zipfile.ZipFile(folder / "bad.zip", "w") as copy:
        for entry in archive.infolist():
            content = archive.read(entry)
            if entry.filename == "manifest.json":
                content = json.loads(content)
                content["encoder"]["weights_sha256"] = "0" * 64
                content = json.dumps(content).encode()
            copy.writestr(entry, content)
    other = snakemake(
        folder, "--cores", "2", "predict", "--config", "predict={model: bad.zip, slides: slides, name: b}", check=False
    )
    assert other.returncode == 1
    assert "its weights here have sha256" in other.stdout
    assert not (folder / "results/b/features/efficientnet_lite0/index.json").exists()
