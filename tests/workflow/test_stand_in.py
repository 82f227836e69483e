"""A stand-in Camelyon-16: small simulated slides under the real names and layout, served over HTTP on loopback.

Run with config/camelyon16.yaml in streaming mode: only base URL, pins, table and the size of the models are changed.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from workflow_clone import begin, clone, planned, snakemake

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
from fault_server import Fault, FaultServer

AT_ONCE = 2
DRAWN = "test_001"


@pytest.fixture(scope="module")
def mirror(tiny, tmp_path_factory):
    """The tree of the bucket, from the tiny run's slides, and the slides table that goes with it."""
    root = tmp_path_factory.mktemp("mirror")
    (root / "images").mkdir()
    (root / "annotations").mkdir()
    (root / "evaluation").mkdir()
    rows, reference, sums = [], ["image,type,class,center"], []
    with (tiny / "results/tiny/slides.csv").open() as handle:
        slides = list(csv.DictReader(handle))
    for row in slides:
        slide, tumour = row["slide"], row["label"] == "1"
        shutil.copy(tiny / f"results/tiny/slides/{slide}.tif", root / "images")
        if tumour:
            shutil.copy(tiny / f"results/tiny/annotations/{slide}.xml", root / "annotations")
        cls = row["class"] if row["split"] == "test" else ""
        annotation = f"annotations/{slide}.xml" if tumour else ""
        rows.append([slide, f"images/{slide}.tif", row["label"], row["split"], "RUMC", cls, annotation])
        reference.append(f"{slide},{'Tumor' if tumour else 'Normal'},{cls or 'negative'},RUMC")
    for path in sorted([*root.glob("images/*"), *root.glob("annotations/*")]):
        sums.append(f"{hashlib.md5(path.read_bytes()).hexdigest()} *{path.relative_to(root).as_posix()}")
    (root / "evaluation/reference.csv").write_text("\n".join(reference) + "\n")
    (root / "checksums.md5").write_text("\n".join(sums) + "\n")
    with (root / "table.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["slide", "image", "label", "split", "center", "class", "annotation"], *rows])
    return root


def options(
    mirror: Path, base: str, at_once: int = AT_ONCE, timeout_s: int = 5, levels: str = "needed", keep: bool = False
) -> list[str]:
    pins = {
        key: hashlib.sha256((mirror / name).read_bytes()).hexdigest()
        for key, name in {"checksums_sha256": "checksums.md5", "reference_sha256": "evaluation/reference.csv"}.items()
    }
    download = {"base_url": base, "levels": levels, "timeout_s": timeout_s, "retries": 3, "patience_min": 0} | pins
    small = {
        "slides": {"table": str(mirror / "table.csv"), "at_once": at_once, "keep": keep},
        "download": download,
        "encoders": ["efficientnet_lite0"],
        "embedding": {"shard": 2, "batch": 32, "threads": 1},
        "methods": ["meanpool", "chowder_r1"],
        "training": {"members": 2, "epochs": 2, "hidden": [8], "threads": 1},
        "cv": {"folds": 2},
        "evaluation": {"bootstrap": 100},
        "figures": {"method": "chowder_r1", "heatmaps": [DRAWN]},
    }
    return ["--configfile", "config/camelyon16.yaml", "--config", *(f"{k}={json.dumps(v)}" for k, v in small.items())]


class Watch:
    """The highest number of slides, parts among them, that were in a folder at a time."""

    def __init__(self, folder: Path):
        self.folder, self.peak = folder, 0
        self.stop = threading.Event()

    def __enter__(self) -> Watch:
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self.stop.set()
        self.thread.join()

    def _look(self) -> None:
        while not self.stop.is_set():
            if self.folder.is_dir():
                names = {path.name.partition(".")[0] for path in self.folder.glob("[a-z]*.tif*")}
                self.peak = max(self.peak, len(names))
            time.sleep(0.005)


def features(index: Path) -> dict[str, str]:
    return {entry["slide"]: entry["sha256"] for entry in json.loads(index.read_text())["slides"]}


def fetched(server: FaultServer) -> dict[str, int]:
    """How often each slide was asked for from its beginning, whole or for its directories."""
    begun = [entry for entry in server.log if entry.range in (None, "bytes=0-15")]
    paths = [entry.path for entry in begun if entry.path.startswith("/images/")]
    return {path: paths.count(path) for path in paths}


@pytest.fixture(scope="module")
def streamed(mirror, tmp_path_factory):
    """A run to the table over a bad network, slides deleted after use: its folder, the watch, the server."""
    folder = clone(tmp_path_factory.mktemp("streamed") / "clone")
    with FaultServer(root=mirror) as server, Watch(folder / "results/camelyon16/slides") as watch:
        # the header and five pieces of directories come first, then the levels in one request
        server.faults["/images/tumor_001.tif"] = [Fault("none")] * 6 + [Fault("drop", 50_000), Fault("status", 503)]
        server.faults["/images/normal_002.tif"] = [Fault("none")] * 6 + [Fault("wrong")]
        server.faults["/images/normal_003.tif"] = [Fault("wrong")]  # no TIFF: the slide comes whole
        snakemake(folder, "--cores", "2", *options(mirror, server.url()))
    return folder, watch, server


def test_checksums_to_table_over_a_bad_network_with_few_slides_on_disk(tiny, mirror, streamed):
    folder, watch, server = streamed
    results, url = folder / "results/camelyon16", server.url()
    assert (results / "benchmark.csv").is_file()
    assert (results / "source/reference.checked").read_text().startswith("9 of 9 slides")
    assert not list(results.glob("slides/*.tif*")), "streaming: every slide is gone at the end"
    assert watch.peak == AT_ONCE
    records = {path.stem: json.loads(path.read_text()) for path in results.glob("source/slides/*.json")}
    assert [slide for slide, record in records.items() if record["levels"] == "all"] == ["normal_003"]
    assert sum(record["size"] for record in records.values()) < 0.5 * sum(map(size, mirror.glob("images/*")))
    made = features(results / "features/efficientnet_lite0/index.json")
    assert made == features(tiny / "results/tiny/features/efficientnet_lite0/index.json"), "the same bytes as kept"
    again = snakemake(folder, "-n", *options(mirror, url)).stdout
    assert "Nothing to be done" in again
    stricter = planned(snakemake(folder, "-n", *options(mirror, url), "tissue={mpp: 9}").stdout)
    each = {rule: stricter.get(rule) for rule in ("fetch_slide", "tissue", "tiles")}
    assert each == dict.fromkeys(each, 9), "a changed setting reaches every slide in one run, never a part of them"
    moved = snakemake(folder, "-n", *options(mirror, str(mirror), timeout_s=9)).stdout
    assert "Nothing to be done" in moved, "another mirror and time-out fetch nothing and embed nothing again"
    for change in ("training={epochs: 3}", "seed=9", "sample={minimum: 900}", "evaluation={bootstrap: 200}"):
        jobs = planned(snakemake(folder, "-n", *options(mirror, url), change).stdout)
        assert jobs["evaluate"] and "fetch_slide" not in jobs, "no slide comes again"
    with FaultServer(root=mirror) as server:
        snakemake(folder, "--cores", "2", *options(mirror, server.url()), "figures={gallery: 3}")
        sent = {path.name: server.sent(f"/images/{path.name}") for path in mirror.glob("images/*")}
    assert {name for name, count in sent.items() if count} == {f"{DRAWN}.tif"}
    assert sent[f"{DRAWN}.tif"] < 0.5 * size(mirror / f"images/{DRAWN}.tif")


@pytest.mark.skipif(not os.environ.get("CHOWDER_LONG"), reason="a minute: set CHOWDER_LONG=1 to run it")
def test_whole_slides_that_are_kept_give_the_same_table(mirror, streamed, tmp_path):
    folder = clone(tmp_path / "clone")
    with FaultServer(root=mirror) as server:
        snakemake(folder, "benchmark", "--cores", "2", *options(mirror, server.url(), levels="all", keep=True))
        sent = sum(server.sent(f"/images/{path.name}") for path in mirror.glob("images/*"))
    assert sent == sum(map(size, mirror.glob("images/*")))
    tables = []
    for results in (folder / "results/camelyon16", streamed[0] / "results/camelyon16"):
        with (results / "benchmark.csv").open() as handle:
            tables.append([row | {"train_seconds": ""} for row in csv.DictReader(handle)])
    assert tables[0] == tables[1]


@pytest.mark.skipif(not os.environ.get("CHOWDER_LONG"), reason="four minutes: set CHOWDER_LONG=1 to run it")
def test_places_hold_for_every_bound_and_a_changed_setting_reaches_each_slide_once(mirror, tmp_path):
    folder = clone(tmp_path / "clone")
    results = folder / "results/camelyon16"
    for at_once, min_tissue in ((1, 0.5), (4, 0.6)):
        more = [*options(mirror, "BASE", at_once), f"tiles={{min_tissue: {min_tissue}}}"]
        with FaultServer(root=mirror) as server, Watch(results / "slides") as watch:
            snakemake(folder, "features", "--cores", "2", *(text.replace("BASE", server.url()) for text in more))
            assert fetched(server) == {f"/images/{path.name}": 1 for path in mirror.glob("images/*")}
        assert 1 <= watch.peak <= at_once
        assert not list(results.glob("slides/*.tif*"))


def test_a_wrong_checksum_list_stops_before_any_slide_comes(mirror, tmp_path):
    folder = clone(tmp_path / "clone")
    arguments = options(mirror, str(mirror))
    at = next(i for i, text in enumerate(arguments) if text.startswith("download="))
    arguments[at] = arguments[at].replace(hashlib.sha256((mirror / "checksums.md5").read_bytes()).hexdigest(), "0" * 64)
    result = snakemake(folder, "features", "--cores", "2", *arguments, check=False)
    assert result.returncode == 1
    assert "0" * 64 in result.stdout, "both sums are named"
    assert not list((folder / "results").rglob("*.tif"))


def test_a_reference_that_disagrees_stops_any_target_before_any_slide_comes(mirror, tmp_path):
    folder, other = clone(tmp_path / "clone"), tmp_path / "mirror"
    shutil.copytree(mirror, other)
    reference = other / "evaluation/reference.csv"
    reference.write_text(reference.read_text().replace("test_002,Normal", "test_002,Tumor"))
    result = snakemake(folder, "features", "--cores", "2", *options(other, str(other)), check=False)
    assert result.returncode == 1
    assert "test_002 has label 0 but the reference says 1" in result.stdout
    assert not list((folder / "results").rglob("*.tif"))


def test_too_little_disk_is_one_line_before_any_slide_comes(mirror, tmp_path):
    folder = clone(tmp_path / "clone")
    with FaultServer(root=mirror) as server:
        content = server.content
        server.content = lambda path: content(path) if "/images/" not in path else Huge()
        arguments = ["features", "--cores", "2", "--workflow-profile", "none", "--show-failed-logs"]
        result = snakemake(folder, *arguments, *options(mirror, server.url()), check=False)
        assert 'net=Resource("net", 4)' in result.stdout, "downloads are bounded also without a profile"
        assert not server.sent("/images/normal_001.tif")
    assert result.returncode == 1
    assert "2 slides at a time (slides.at_once), up to 8e+04 TB more on the disk; " in result.stdout
    assert result.stdout.count("are missing: free some space, lower slides.at_once") >= 1
    assert "Traceback" not in result.stdout


class Huge(bytes):
    """A file that is large only for who asks how large it is."""

    def __len__(self) -> int:
        return 10**17


@pytest.mark.skipif(not os.environ.get("CHOWDER_LONG"), reason="two minutes: set CHOWDER_LONG=1 to run it")
def test_after_a_kill_of_snakemake_no_byte_comes_twice(tiny, mirror, tmp_path):
    folder = clone(tmp_path / "clone")
    images = sorted(mirror.glob("images/*"))
    with FaultServer(root=mirror) as server:
        arguments = ["features", "--cores", "2", *options(mirror, server.url(), levels="all")]
        for path in images:
            server.always[f"/images/{path.name}"] = Fault("slow", rate=2e6)
        left = {}  # requests so far, and the bytes of each slide that lay on the disk after a kill
        for part in (0.3, 0.6):
            running = begin(folder, *arguments)
            while sum(server.sent(f"/images/{path.name}") for path in images) < part * sum(map(size, images)):
                assert running.poll() is None
                time.sleep(0.05)
            fetches(running)[0].kill()  # Snakemake starts it again
            time.sleep(1)
            running.kill()
            running.wait()
            time.sleep(3)  # what Snakemake had started ends
            moved = len(server.log)
            time.sleep(1)
            assert len(server.log) == moved, "the fetches ended with their Snakemake"
            left[moved] = {path.name: size(path) for path in folder.rglob("*.tif.partial") if size(path)}
            snakemake(folder, "--unlock", *arguments[3:])
        server.always.clear()
        snakemake(folder, *arguments)
    assert any(left.values())
    for moved, parts in left.items():
        for name, there in parts.items():
            again = next(one for one in server.log[moved:] if one.path == f"/images/{name.removesuffix('.partial')}")
            assert again.range == f"bytes={there}-", name
    index = folder / "results/camelyon16/features/efficientnet_lite0/index.json"
    assert features(index) == features(tiny / "results/tiny/features/efficientnet_lite0/index.json")


def fetches(running) -> list[psutil.Process]:
    """The programs that fetch a slide below a running Snakemake."""
    below = psutil.Process(running.pid).children(recursive=True)
    return [one for one in below if one.cmdline()[1:2] == ["workflow/scripts/fetch.py"]]


def size(path: Path) -> int:
    return path.stat().st_size


def test_a_local_mirror_is_linked_not_copied(mirror, tmp_path):
    folder = clone(tmp_path / "clone")
    target = "results/camelyon16/slides/normal_001.tif"
    snakemake(folder, target, "--cores", "2", "--notemp", *options(mirror, str(mirror)))
    assert (folder / target).is_symlink()
    assert (folder / target).resolve() == (mirror / "images/normal_001.tif").resolve()
