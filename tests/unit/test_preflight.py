"""Mistakes that can be known before the first job are one line, and what is right passes."""

from __future__ import annotations

import dataclasses
import http.server
import threading
from pathlib import Path

import pytest

from chowder import preflight
from chowder.data import cohort
from chowder.files import UserError

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Row:
    slide: str
    label: int
    split: str = ""
    patient: str = ""


@pytest.mark.parametrize("pattern", ["images/{slide}.tif", "{slide}/{slide}.svs", "fixed.tif", ""])
def test_patterns_with_the_slides_name_pass(pattern):
    preflight.patterns({"image": pattern, "annotation": pattern})


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("images/{name}.tif", "{name}: use {slide} only"),
        ("{0}.tif", "{0}"),
        ("{}.tif", "{}"),
        ("{slide", "is no pattern"),
        ("slide}", "is no pattern"),
        ("{slide:>9}", "{slide}"),
        ("{slide!r}", "{slide}"),
        ("{slide.__class__}", "{slide.__class__}"),
    ],
)
def test_other_patterns_are_named(pattern, words):
    with pytest.raises(UserError) as error:
        preflight.patterns({"image": "{slide}.tif", "annotation": pattern})
    assert str(error.value).startswith("config: slides.annotation: ")
    assert words.replace(": use {slide} only", "") in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("results", "a{b}", "'a{b}' holds a brace"),
        ("results", "}", "holds a brace"),
        ("results", "r/" + "x" * 300, "longer than 255 bytes"),
        ("results", "\u00e9" * 128, "longer than 255 bytes"),
        ("slides.table", "{root}/{x}.csv", "holds a brace"),
        ("slides.root", "/data/{slides}", "holds a brace"),
        ("slides.labels", "l{.csv", "holds a brace"),
        ("slides.annotation", "a{{b}}{slide}", "holds a brace"),
        ("slides.image", "x" * 256, "longer than 255 bytes"),
        ("features.folder", "{f}", "holds a brace"),
        ("features.thumbnails", "{f}", "holds a brace"),
        ("evaluation.detections", "{f}", "holds a brace"),
        ("evaluation.against", "{f}", "holds a brace"),
        ("embedding.weights.resnet50", "{f}.pt", "holds a brace"),
    ],
)
def test_paths_that_snakemake_or_the_system_would_not_take_are_named(key, value, words):
    *sections, name = key.split(".")
    config: dict = {"results": "results"}
    place = config
    for section in sections:
        place = place.setdefault(section, {})
    place[name] = value
    with pytest.raises(UserError) as error:
        preflight.paths(config)
    assert str(error.value).startswith(f"config: {key}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_ordinary_paths_pass():
    preflight.paths(
        {
            "results": "/data/results of mine/\u00e9",
            "slides": {"table": "{root}/slides.csv", "root": "/data", "image": "images/{slide}.tif", "labels": None},
            "embedding": {"weights": {"resnet50": "/w/resnet.pt"}},
        }
    )


@pytest.mark.parametrize("other", ["timm:a-b", "timm:A:b", "timm-a/b"])
def test_two_encoders_never_share_a_folder(other):
    with pytest.raises(UserError, match=r"^config: encoders: 'timm:a/b' and '.*' would share the folder timm-[aA]-b: "):
        preflight.folders(["resnet18", "timm:a/b", other])


def test_folders_of_encoders_are_what_they_were():
    assert preflight.folders(["resnet50", "timm:vit/x:y.z"]) == {
        "resnet50": "resnet50",
        "timm-vit-x-y.z": "timm:vit/x:y.z",
    }


def test_addresses(tmp_path):
    for good in (
        "https://example.org/CAMELYON16",
        "HTTP://127.0.0.1:8000/x",
        f"file://{tmp_path}",
        f"file://localhost{tmp_path}",
        str(tmp_path),
    ):
        preflight.address(good)
    for bad, words in (
        ("htps://example.org/x", "did you mean https://"),
        ("s3://camelyon-dataset/CAMELYON16", "amazonaws.com"),
        ("gopher://x/y", "use https://"),
        ("https:///x", "names no host"),
        (f"{tmp_path}/nothing", "no such folder"),
        (f"file://{tmp_path}/nothing", "no such folder"),
    ):
        with pytest.raises(UserError, match=r"^config: download.base_url: ") as error:
            preflight.address(bad)
        assert words in str(error.value)


def test_encoders_and_weights(tmp_path):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"x")
    preflight.encoders(["resnet50", "timm:vit_tiny"], {"resnet50": str(weights)})
    preflight.encoders(["resnet50"], {"resnet50": "IMAGENET1K_V2"})
    for listed, given, words in (
        (["resnet5O"], {}, "did you mean resnet50?"),
        (["vgg"], {}, "use one of"),
        (["timm"], {}, "is not known"),
        (["resnet50:x"], {}, "is not known"),
        (["resnet50"], {"resnet18": str(weights)}, "'resnet18' is not among encoders"),
        (["resnet50"], {"resnet50": f"{weights}x"}, "no such file"),
    ):
        with pytest.raises(UserError) as error:
            preflight.encoders(listed, given)
        assert words in str(error.value)


def test_models_of_timm_and_tags_of_torchvision():
    import timm
    import torchvision

    names = timm.list_models(pretrained=True)
    for name in [*names[::40], "vit_tiny_patch16_224.augreg_in21k", "vit_tiny_patch16_224_in21k", "hf-hub:org/model"]:
        preflight.models([f"timm:{name}"], {})
    for model in ("resnet18", "resnet50", "resnet152"):
        tags = torchvision.models.get_model_weights(model)
        assert preflight.torchvision_tags(model) == {tag.name: tag.url for tag in tags}
        for tag in tags:
            preflight.models([model], {model: tag.name})
    for name, weights, words in (
        ("timm:vit_tiny_patch16_242", {}, "timm has no such model: did you mean timm:vit_tiny_patch16_224?"),
        ("timm:nothing_of_that_kind", {}, "timm has no such model: see"),
        ("timm:vit_tiny_patch16_224.mine", {}, "timm has no such weights: use one of augreg_in21k, "),
        ("resnet50", {"resnet50": "IMAGENET1K_V9"}, "no IMAGENET1K_V9: use one of IMAGENET1K_V1, IMAGENET1K_V2, or"),
    ):
        with pytest.raises(UserError, match=r"^config: (encoders|embedding\.weights\.resnet50): ") as error:
            preflight.models([name], weights)
        assert words in str(error.value) and "\n" not in str(error.value)


def test_models_are_not_judged_without_the_packages(monkeypatch):
    monkeypatch.setattr(preflight, "package", lambda name: None)
    preflight.models(["timm:nothing", "resnet50"], {"resnet50": "IMAGENET1K_V9"})


def test_weights_in_a_cache_given_or_within_reach_are_not_absent(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(preflight, "unreachable", lambda url, timeout: asked.append(url) or "no route")
    for key in ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TORCH_HOME"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    given = tmp_path / "w.pth"
    given.touch()
    assert preflight.weights("resnet50", str(given)) == preflight.weights("efficientnet_lite0", "") == ("", True)
    assert asked == []
    for name, tag in (("resnet50", "IMAGENET1K_V2"), ("timm:vit", "")):
        text, certain = preflight.weights(name, tag)
        assert text.startswith(
            f"config: encoders: {name}: its weights are neither in the cache nor to be fetched (no ro"
        )
        assert not certain
    assert asked == ["https://download.pytorch.org/models/resnet50-11ad3fa6.pth", "https://huggingface.co"]
    cached = tmp_path / "torch/hub/checkpoints/resnet50-11ad3fa6.pth"
    cached.parent.mkdir(parents=True)
    cached.touch()
    (tmp_path / "huggingface/hub/models--timm--vit.a").mkdir(parents=True)
    assert preflight.weights("resnet50", "IMAGENET1K_V2") == preflight.weights("timm:vit", "") == ("", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in preflight.weights("timm:other", "")[0]
    text, certain = preflight.weights("uni", "")
    assert (
        text.startswith("encoder uni: HF_HUB_OFFLINE is set and MahmoodLab/UNI is not in the hub's cache") and certain
    )
    assert preflight.weights("uni", str(given)) == ("", True)


def test_what_is_within_reach(monkeypatch):
    for key in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(key, raising=False)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(int(self.path[1:]))
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        assert [preflight.unreachable(f"{base}/{code}", 5) for code in (200, 403)] == ["", ""]
        assert preflight.unreachable(f"{base}/404", 5) == f"{base}/404: HTTP 404"
        server.shutdown()
    assert "refused" in preflight.unreachable(base, 5)
    assert preflight.unreachable("nothing://x", 5)


def test_folds_need_a_slide_of_each_class():
    rows = [Row("a", 1, "train"), Row("b", 1, "test"), Row("c", 0, "train"), Row("d", 0, "train"), Row("e", 0)]
    preflight.folds(2, "all", rows)
    with pytest.raises(UserError, match="3 folds need 3 tumour slides, the table has 2"):
        preflight.folds(3, "all", rows)
    with pytest.raises(UserError, match="2 folds need 2 tumour training slides, the table has 1"):
        preflight.folds(2, "train", rows)
    rows = [Row(name, int(name > "c"), "", patient) for name, patient in zip("abcdef", "ppqrrs", strict=True)]
    preflight.folds(2, "all", rows)
    with pytest.raises(UserError, match="3 folds need 3 tumour slides of different patients, the table has 2"):
        preflight.folds(3, "all", rows)
    with pytest.raises(UserError, match=r"cv.stratify: label does not keep a patient's slides together"):
        preflight.folds(2, "all", rows, "label")


def test_camelyon16_tables_hold_its_slides_only():
    known = [row.slide for row in cohort.read(preflight.shipped(ROOT), "images/{slide}.tif", "annotations/{slide}.xml")]
    assert len(known) == 399
    rows = [Row(name, 0, "test" if name.startswith("test") else "train") for name in known]
    preflight.camelyon16(rows, known, "t.csv")
    preflight.camelyon16([Row(name, 0) for name in known], known, "t.csv")
    with pytest.raises(UserError, match=r"^t.csv: slide normal_001: is a train slide, the table says test: "):
        preflight.camelyon16([Row("normal_001", 0, "test")], known, "t.csv")
    with pytest.raises(UserError, match=r"^t.csv: slide test_001: is a test slide, the table says train: "):
        preflight.camelyon16([Row("test_001", 0, "train")], known, "t.csv")
    for name, hint in (
        ("normal_086", "normal_0"),
        ("test_049", "test_"),
        ("mine", "use names such as"),
        ("Tumor_001", "tumor_001?"),
    ):
        with pytest.raises(UserError, match=rf"^t.csv: slide {name}: Camelyon-16 has no such slide: ") as error:
            preflight.camelyon16([Row("normal_001", 0), Row(name, 0)], known, "t.csv")
        assert hint in str(error.value)


def test_the_shipped_table_may_be_absent(tmp_path):
    assert preflight.shipped(tmp_path) is None


def test_heat_maps_are_of_slides_that_are_named_or_the_first_of_the_table():
    splits = ("train", "test", "", "test", "test", "test", "test", "test")
    labels = (1, 0, 1, 1, 0, 1, 1, 0)
    rows = [Row(f"s{i}", label, split) for i, (label, split) in enumerate(zip(labels, splits, strict=True))]
    assert preflight.heatmaps("auto", rows, "t.csv") == ["s3", "s5", "s1"]
    assert preflight.heatmaps("auto", rows[:2], "t.csv") == ["s1"]
    assert preflight.heatmaps("auto", rows[:1], "t.csv") == preflight.heatmaps([], rows, "t.csv") == []
    assert preflight.heatmaps(["s4", "s1"], rows, "t.csv") == ["s4", "s1"]
    with pytest.raises(
        UserError, match=r"^config: figures.heatmaps: 's0' is not a test slide of t.csv: use auto, or some of s1"
    ):
        preflight.heatmaps(["s4", "s0"], rows, "t.csv")
