"""The programs around bundles: encoders that are refused, the summary of training slides, what a bundle is told."""

from __future__ import annotations

import csv
import json
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundle_fixtures import DIM, manifest, settings, trained, written
from PIL import Image
from slide_fixtures import halved, tissue_like, write_tiff

import bundle as program
import encoder_identity
import predict
import predict_pictures
import training_cohort
from chowder.features import feature_file
from chowder.files import UserError, sha256
from chowder.models import bundle
from chowder.slides import grid as tiling
from chowder.slides import tile_table
from chowder.slides.describe import describe


@pytest.fixture
def slides(tmp_path):
    """Two slides of random pixels with everything that the steps before a model write."""
    index, rng = [], np.random.default_rng(2)
    encoder = manifest()["encoder"]
    for folder in ("tissue", "previews", "tiles", "features", "slides"):
        (tmp_path / folder).mkdir()
    for name, label, mpp in (("one", 0, 0.25), ("two", 1, 0.24)):
        picture = tissue_like(1400, 1100, seed=label)
        write_tiff(tmp_path / f"slides/{name}.tif", [picture, halved(picture)], mpp=mpp)
        info = describe(tmp_path / f"slides/{name}.tif")
        Image.fromarray(picture[::32, ::32]).save(tmp_path / f"previews/{name}.jpg")
        mask = np.ones(picture[::32, ::32].shape[:2], bool)
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / f"tissue/{name}.png")
        record = {"mpp": info.mpp, "width": info.width, "height": info.height, "warnings": ["pen marks"] * label}
        (tmp_path / f"tissue/{name}.json").write_text(json.dumps(record))
        own = tiling.grid(info, 224, 0.5)
        table, _ = tiling.tissue_tiles(mask, (32.0, 32.0), own, 0.5)
        tile_table.write(tmp_path / f"tiles/{name}.parquet", table, own, name)
        corners = np.stack([table["x"], table["y"]], 1)
        path = tmp_path / f"features/{name}.h5"
        about = {key: encoder[key] for key in ("weights_sha256", "normalisation", "precision", "code")}
        about |= {"slide": name, "encoder": encoder["name"], "tile_size": 224, "extent": own.extent, "mpp_wanted": 0.5}
        feature_file.write(path, rng.normal(size=(len(corners), DIM)), corners, about | {"resample": "target"})
        index.append({"slide": name, "file": path.name, "tiles": len(corners), "sha256": sha256(path)})
    (tmp_path / "features/index.json").write_text(json.dumps({"encoder": "x", "dim": DIM, "slides": index}))
    (tmp_path / "slides.csv").write_text("slide,label,split,class\none,0,,negative\ntwo,1,,macro\n")
    return tmp_path


def predicted(place, model):
    predict.main(
        f"--bundle {model} --slides one two --index {place}/features/index.json --tiles-dir {place}/tiles "
        f"--tissue-dir {place}/tissue --previews-dir {place}/previews --output {place}/p.csv "
        f"--scores-dir {place}/scores".split()
    )
    with open(place / "p.csv") as handle:
        return {row["slide"]: row for row in csv.DictReader(handle)}


def test_another_encoder_of_the_same_name_is_refused():
    wanted = manifest()["encoder"]
    encoder_identity.refuse_other("b.zip", wanted, dict(wanted), "")
    for key, value, words in (
        (
            "weights_sha256",
            "0" * 64,
            r"b\.zip: encoder efficientnet_lite0: its weights here \(/x\.pth\) have sha256 0000",
        ),
        ("mean", [0.4, 0.5, 0.5], r"mean is \[0\.4, 0\.5, 0\.5\] here, \[0\.5, 0\.5, 0\.5\] in the bundle"),
        ("dim", 7, "dim is 7 here, 6 in the bundle"),
        ("normalisation", "none", "normalisation is none here"),
    ):
        with pytest.raises(UserError, match=words):
            encoder_identity.refuse_other("b.zip", wanted, wanted | {key: value}, "/x.pth")


def test_the_identity_is_that_of_the_encoder_that_embeds(tmp_path):
    from chowder.features.encoders import registry

    asked = {"normalisation": "auto", "weights": {}, "mean": {"efficientnet_lite0": [0.1, 0.2, 0.3]}}
    asked |= {"std": {"efficientnet_lite0": [0.3, 0.2, 0.1]}}
    options = ["--encoder", "efficientnet_lite0", "--settings", json.dumps(asked), "--output", str(tmp_path / "i.json")]
    encoder_identity.main(options)
    found = json.loads((tmp_path / "i.json").read_text())
    encoder = registry.load("efficientnet_lite0", device="cpu", normalisation="none")
    assert found["weights_sha256"] == encoder.weights_sha256
    assert (found["dim"], found["size"], found["normalisation"]) == (encoder.dim, encoder.size, "none")
    assert (found["mean"], found["std"]) == ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1])
    assert found["licence"].startswith("Apache-2.0")
    encoder = manifest()["encoder"] | {key: found[key] for key in ("dim", "mean", "std", "normalisation", "code")}
    encoder_identity.main([*options, "--bundle", str(written(tmp_path / "same.zip", encoder=encoder))])
    other = written(tmp_path / "other.zip", encoder=encoder | {"weights_sha256": "1" * 64})
    with pytest.raises(UserError, match="have sha256 579344248a93"):
        encoder_identity.main([*options, "--bundle", str(other)])


def test_a_bundle_tells_what_the_files_say(slides):
    folders = f"--tissue-dir {slides}/tissue --previews-dir {slides}/previews --tiles-dir {slides}/tiles"
    options = f"--slides {slides}/slides.csv {folders} --output {slides}/cohort.json --settings"
    training_cohort.main([*options.split(), '{"minimum": 3, "fraction": 0.5}'])
    cohort = json.loads((slides / "cohort.json").read_text())
    counts = [pq.read_table(slides / f"tiles/{name}.parquet").num_rows for name in ("one", "two")]
    assert (cohort["tiles"]["min"], cohort["tiles"]["max"]) == (min(counts), max(counts))
    assert cohort["sampled"] == max(3, int(0.5 * np.mean(counts))), "not limited by a slide's own tiles"
    assert (cohort["mpp"]["min"], cohort["mpp_read"]["max"]) == (0.24, pytest.approx(0.5))
    assert cohort["classes"] == {"macro": 1, "negative": 1}

    _, content = trained(slides)
    (slides / "m.pt").write_bytes(content)
    scores = np.linspace(-1, 3, 1001)
    pq.write_table(pa.table({"score": scores}), slides / "s.parquet")
    (slides / "i.json").write_text(json.dumps(manifest()["encoder"]))
    (slides / "auc.json").write_text('{"competition": {"auc": 0.8, "by_center": {"us": {}}}, "cv": {"auc_mean": 0.7}}')
    told = settings() | {"dataset": "trial", "simulated": True, "seed": 5}
    options = (
        f"--method chowder_r2_s1 --models cv1={slides}/m.pt --identity {slides}/i.json --cohort {slides}/cohort.json "
        f"--index {slides}/features/index.json --scores {slides}/s.parquet --auc {slides}/auc.json"
    )
    arguments = [*options.split(), "--output", f"{slides}/b.zip", "--training", "{}", "--settings", json.dumps(told)]
    program.main(arguments)
    found = bundle.open_bundle(slides / "b.zip")
    assert found.manifest["sample"] == {"seed": 5, "dataset": "trial", "repeat": 1, "tiles": cohort["sampled"]}
    assert found.manifest["full_red"] == pytest.approx(np.quantile(scores, 0.995))
    assert found.manifest["numbers"] == {"auc_test": {"auc": 0.8}, "auc_cross_validation": {"auc_mean": 0.7}}
    assert "one" not in json.dumps(found.manifest["cohort"]), "no slide's name"
    assert {"python", "torch", "timm", "scikit-learn", "chowder"} <= set(found.manifest["versions"])
    readme = found.read("README.txt").decode()
    assert "For research, not for diagnosis" in readme
    assert "(simulated slides)" in readme
    assert found.read("models/cv1.pt") == content
    (slides / "i.json").write_text(json.dumps(manifest()["encoder"] | {"weights_sha256": "1" * 64}))
    with pytest.raises(UserError, match=r"one\.h5: weights_sha256 is"):
        program.main(arguments)


def test_predictions_warn_and_pictures_say_what_they_are_not_for(slides):
    cohort = manifest()["cohort"] | {"mpp": {"min": 0.25, "max": 0.25}, "stain": {}}
    model = written(slides / "b.zip", cohort=cohort, simulated=True)
    rows = predicted(slides, model)
    assert "um/px" not in rows["one"]["warnings"]
    assert "outside the training slides: 0.24 um/px (training slides: 0.25)" in rows["two"]["warnings"]
    assert "pen marks" in rows["two"]["warnings"]
    assert "simulated" in rows["one"]["warnings"]
    assert {row["note"] for row in rows.values()} == {bundle.NOTE}
    predict_pictures.main(
        f"--bundle {model} --slide two --image {slides}/slides/two.tif --preview {slides}/previews/two.jpg "
        f"--mask {slides}/tissue/two.png --record {slides}/tissue/two.json --tiles {slides}/tiles/two.parquet "
        f"--scores {slides}/scores/two.parquet --predictions {slides}/p.csv --count 2 --heatmap {slides}/h "
        f"--gallery {slides}/g --geojson {slides}/t.geojson".split()
    )
    found = json.loads((slides / "t.geojson").read_text())
    scores = pq.read_table(slides / "scores/two.parquet")
    assert scores.schema.metadata[b"note"].decode() == bundle.NOTE
    assert [f["properties"]["measurements"]["score"] for f in found["features"]] == pytest.approx(
        scores["score"].to_pylist()
    )
    assert found["properties"]["probability"] == float(rows["two"]["probability"])
    assert "um/px" in found["properties"]["warnings"]
    for stem in ("h", "g"):
        assert Image.open(slides / f"{stem}.png").size[0] > 300
        with open(slides / f"{stem}.csv") as handle:
            assert {row["note"] for row in csv.DictReader(handle)} == {bundle.NOTE}


def test_features_and_tiles_that_do_not_belong_together_are_refused(slides):
    model = written(slides / "b.zip")
    table = pq.read_table(slides / "tiles/two.parquet")
    pq.write_table(table.slice(1), slides / "tiles/two.parquet")
    with pytest.raises(UserError, match=r"two\.h5: the tiles are not those of"):
        predicted(slides, model)


def test_what_is_written_below_a_picture():
    from chowder.report.figures import predicted as below
    from chowder.report.figures.style import new_figure

    figure = new_figure(3, 2)
    below.sign(figure, "m", ["a long warning " * 20])
    texts = [text.get_text() for text in figure.texts]
    assert texts[-1] == "For research, not for diagnosis"
    assert texts[-2] == "model m"
    assert "".join(texts[:-2]).replace(" ", "") == "Warning:" + "alongwarning" * 20
    assert all(text.get_position()[1] < 0 for text in figure.texts), "below everything else"
    assert below.spread({"members": "1"}) == "1 member"
    assert below.spread({"members": "3", "min": "0.25", "max": "0.5"}) == "3 members, 0.250 to 0.500"


def test_a_zip_of_a_bundle_opens_with_any_tool(tmp_path):
    with zipfile.ZipFile(written(tmp_path / "b.zip")) as archive:
        assert archive.testzip() is None
        assert {entry.filename for entry in archive.infolist()} == {
            "manifest.json",
            "README.txt",
            "models/competition.pt",
        }
