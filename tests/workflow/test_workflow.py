"""The real Snakefile, run for real on the tiny configuration: what a user sees, what reruns, and what does not."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from shared_data import REASON, SHARED
from workflow_clone import PARTS, TINY, clone, planned, snakemake


def test_list_of_rules_reads_like_a_table_of_contents(fresh):
    lines = snakemake(fresh, "--list-rules").stdout.splitlines()
    rules = dict(re.match(r"(\w+) \((.+)\)$", line).groups() for line in lines if re.match(r"\w+ \(", line))
    assert {"all", "features", "models", "benchmark", "figures", "report", "simulate", "train", "evaluate"} <= set(
        rules
    )
    assert all(text.endswith(".") or text.endswith("?") for text in rules.values()), "every rule says what it makes"


def test_dry_run_works_offline_and_plans_the_whole_chain(fresh):
    jobs = planned(snakemake(fresh, "-n", "--cores", "1").stdout)
    slides = len((fresh / "config/demo.csv").read_text().splitlines()) - 1
    methods = len(yaml.safe_load((fresh / "config/config.yaml").read_text())["methods"])
    assert jobs["simulate"] == jobs["tissue"] == jobs["tiles"] == slides >= 40
    assert jobs["train"] == jobs["localise"] == jobs["evaluate"] == methods
    assert jobs["measure"] == methods
    assert jobs["tests_table"] == jobs["metrics_table"] == jobs["benchmark_table"] == jobs["report_html"] == 1
    assert not (fresh / "results").exists(), "a dry run writes nothing"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["colour=red"], ["unknown key colour"]),
        (["tiles={sise: 224}"], ["unknown key tiles.sise", "did you mean size?"]),
        (["tiles={size: large}"], ["tiles.size", "'large'", "integer"]),
        (["methods=[chowder]"], ["method 'chowder' is not known", "chowder_r"]),
        (["methods=[meanpool]"], ["figures.method", "chowder_r5"]),
        (["encoders=[resnet51]"], ["encoders.0", "resnet51"]),
        (["slides={table: none.csv}"], ["none.csv", "no such file"]),
        (["figures={heatmaps: [test_999]}"], ["test_999", "not a test slide"]),
        (["slides={source: table}"], ["slides.root is not set"]),
        (["results=a{b}"], ["results", "'a{b}'", "brace"]),
        (["encoders=[timm:a/b, timm:a-b]"], ["timm:a/b", "timm:a-b", "would share the folder"]),
        (["slides={image: '{name}.tif'}"], ["slides.image", "{name}", "use {slide} only"]),
        (["cv={folds: 20, over: train}"], ["cv.folds", "20 folds need 20 tumour training slides"]),
        (["evaluation={reference: maxpol}"], ["evaluation.reference", "'maxpol'", "maxpool"]),
    ],
)
def test_a_mistake_in_the_config_is_named_before_any_job(fresh, arguments, words):
    result = snakemake(fresh, "-n", "--config", *arguments, check=False)
    assert result.returncode == 1
    line = next((line for line in result.stdout.splitlines() if words[0] in line), "")
    for word in words:
        assert word in line, result.stdout[-2000:]
    assert "Traceback" not in result.stdout


def test_the_doctor_answers_also_where_the_config_is_wrong(fresh):
    good = snakemake(fresh, "doctor", "--config", "dataset=healthy").stdout
    assert re.search(r"^ok +config +healthy: \d+ slides", good, re.M), good
    bad = snakemake(fresh, "doctor", "--config", "colour=red", check=False)
    assert bad.returncode == 1
    assert re.search(r"^wrong +config +unknown key colour$", bad.stdout, re.M), bad.stdout
    assert re.search(r"^ok +python ", bad.stdout, re.M)
    assert not (fresh / "results").exists(), "it writes nothing"


def test_a_mistake_in_the_table_is_named_before_any_job(fresh, tmp_path):
    table = tmp_path / "slides.csv"
    table.write_text("slide,label,split\na,0,train\na,1,train\n")
    result = snakemake(fresh, "-n", "--config", f"slides={{table: {table}}}", check=False)
    assert result.returncode == 1
    assert "slide a is listed twice" in result.stdout
    assert "Building DAG" not in result.stdout


def test_the_tiny_run_makes_every_target(tiny):
    results = tiny / "results/tiny"
    for path in (
        "slides/test_001.tif",
        "annotations/tumor_001.xml",
        "tissue/test_002.png",
        "tissue/test_002.json",
        "tiles/tumor_003.parquet",
        "tiles/summary.csv",
        "features/efficientnet_lite0/normal_001.h5",
        "features/efficientnet_lite0/index.json",
        "models/efficientnet_lite0/chowder_r1/competition.pt",
        "predictions/efficientnet_lite0/meanpool/cv2.csv",
        "tile_scores/efficientnet_lite0/weldon_r1/test_003.parquet",
        "detections/efficientnet_lite0/weldon_r1/test_002.csv",
        "metrics/efficientnet_lite0/chowder_r1/auc.json",
        "metrics/efficientnet_lite0/chowder_r1/froc.json",
        "benchmark.csv",
        "benchmark.md",
        "benchmark.tex",
        "benchmark.html",
        "figures/curves_efficientnet_lite0.png",
        "figures/curves_efficientnet_lite0.svg",
        "figures/curves_efficientnet_lite0.csv",
        "figures/heatmap_efficientnet_lite0_chowder_r1_test_001.png",
        "index.html",
        "report.html",
        "config.yaml",
    ):
        assert (results / path).stat().st_size > 0, path
    assert not list(results.rglob("*.partial*")), "scratch files are gone"
    here = {path.name for path in tiny.iterdir()}
    assert here == {*PARTS, "results", ".snakemake"}, "nothing is written outside results"


def test_rule_program_and_log_have_the_same_name(fresh):
    """Where to look is known from the name of a failed job; `fetch_slide` and its like share the program `fetch`."""
    programs = set()
    for path in sorted((fresh / "workflow/rules").glob("*.smk")):
        for rule in re.split(r"^ *rule ", path.read_text(), flags=re.M)[1:]:
            name = rule.partition(":")[0]
            used = re.search(r"\*\*(?:code|program|drawing)\(\s*\"(\w+)\"", rule)
            if not used:
                assert "shell:" not in rule, f"{name}: a rule that runs something takes its program by **code(...)"
                continue
            programs.add(used[1])
            assert name == used[1] or name.startswith(f"{used[1]}_"), f"rule {name} runs {used[1]}.py"
            assert re.search(rf"log:\s+f\"{{LOGS}}/{name}[./]", rule), f"{name}: its log has another name"
    by_hand = {"init", "join"}  # which people run
    unused = {path.stem for path in (fresh / "workflow/scripts").glob("*.py")} - programs - by_hand
    assert not unused, "every program has a rule"


def test_rules_pass_options_that_their_programs_have(fresh):
    for path in sorted((fresh / "workflow/rules").glob("*.smk")):
        for rule in re.split(r"^ *rule ", path.read_text(), flags=re.M)[1:]:
            if used := re.search(r"\*\*(?:code|program|drawing)\(\s*\"(\w+)\"", rule):
                shell = rule.partition("shell:")[2]
                text = (fresh / f"workflow/scripts/{used[1]}.py").read_text()
                if "chowder.evaluation.command" in text:  # a command of the package, with its options
                    text = (fresh / "workflow/scripts/chowder/evaluation/command.py").read_text()
                if "gather.options(" in text:
                    text += (fresh / "workflow/scripts/chowder/report/table/gather.py").read_text()
                known = set(re.findall(r"\"(--[a-z0-9-]+)\"", text)) | {"--csv", "--markdown", "--latex", "--html"}
                known |= {"--settings", "--output-stem"} if "**drawing(" in rule else set()
                passed = re.findall(r"\" (--[a-z0-9-]+)", shell)
                assert set(passed) <= known, f"{used[1]}.py knows no {set(passed) - known}"
                assert len(passed) == len(set(passed)) == shell.count(" --"), f"{used[1]}: one option per line"
                needed = set(re.findall(r"\"(--[a-z0-9-]+)\",[^)]*required=True", text))
                assert needed <= set(passed), f"{used[1]}.py needs {needed - set(passed)}"


def test_the_table_has_a_row_a_method_and_says_that_slides_are_simulated(tiny):
    with (tiny / "results/tiny/benchmark.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["method"] for row in rows] == ["meanpool", "weldon_r1", "chowder_r1"]
    assert all(0 <= float(row["auc_test"]) <= 1 for row in rows)
    assert all(0 <= float(row["froc"]) <= 1 for row in rows)
    assert rows[2]["paper_auc_test"] == "0.821"
    for form in ("md", "html", "tex"):
        assert "simulated" in (tiny / f"results/tiny/benchmark.{form}").read_text().lower()


def test_the_second_table_has_a_row_a_method(tiny):
    with (tiny / "results/tiny/metrics.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["method"] for row in rows] == ["meanpool", "weldon_r1", "chowder_r1"]
    assert all(0 <= float(row[key]) <= 1 for row in rows for key in ("auprc", "brier", "f1", "sensitivity_at_90"))


def test_another_tools_detections_get_the_numbers_of_the_workflow(tiny):
    """`snakemake score`, and the command on its own, on the detections of a method of the run."""
    folder = tiny / "results/tiny/detections/efficientnet_lite0/chowder_r1"
    section = f"evaluation={{detections: {folder}, against: {folder.with_name('weldon_r1')}}}"
    snakemake(tiny, "--cores", "1", *TINY, "--config", section, "--", "score")
    metrics, score = tiny / "results/tiny/metrics/efficientnet_lite0/chowder_r1", tiny / "results/tiny/score"
    wanted, found = (json.loads(path.read_text()) for path in (metrics / "froc.json", score / "score.json"))
    assert {key: found[key] for key in wanted if key not in ("method", "settings")} == {
        key: value for key, value in wanted.items() if key not in ("method", "settings")
    }
    for name in ("lesions.csv", "froc_curve.csv"):
        assert (score / name).read_bytes() == (metrics / name).read_bytes()
    assert set(found["against"]) == {"official", "corrected"}
    shutil.rmtree(score)
    result = snakemake(tiny, "-n", *TINY, "--", "score", check=False)
    assert "evaluation.detections is not set" in result.stdout


def test_the_report_holds_table_and_figures_with_captions(tiny):
    text = (tiny / "results/tiny/report.html").read_text()
    for words in ("1 Table", "2 Curves", "3 Heat maps", "4 Tiles", "5 Tissue", "test_001"):
        assert words in text
    assert len(text) > 500_000, "figures are inside"


def test_the_page_to_open_first_holds_every_test_slide_and_every_figure(tiny):
    text = (tiny / "results/tiny/index.html").read_text()
    assert re.findall(r'<li class="card[^"]*" id="slide-(test_\d+)"', text)
    rows = list(csv.DictReader((tiny / "results/tiny/slides.csv").open()))
    assert set(re.findall(r'id="slide-([^"]+)"', text)) == {row["slide"] for row in rows if row["split"] == "test"}
    assert set(re.findall(r'id="tissue-([^"]+)"', text)) == {row["slide"] for row in rows}
    drawn = {path.stem for path in (tiny / "results/tiny/figures").glob("*.png")} - {"tissue"}
    assert set(re.findall(r'id="figure-([^"]+)"', text)) == drawn
    assert "SIMULATED" in text and "processor hours" in text
    assert len(text) < 30e6


def test_a_second_run_has_nothing_to_do(tiny):
    assert "Nothing to be done" in snakemake(tiny, "--cores", "2", *TINY).stdout


def test_a_moved_clone_with_its_results_has_nothing_to_do(tiny, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(tiny, moved, symlinks=True, copy_function=shutil.copy2)
    assert "Nothing to be done" in snakemake(moved, "-n", "--cores", "2", *TINY).stdout


def test_an_interrupted_embedding_keeps_the_slides_that_were_done(tiny):
    """The store survives a lost manifest: nothing is embedded twice."""
    manifest = "results/tiny/features/efficientnet_lite0/shards/normal_001.json"
    (tiny / manifest).unlink()
    snakemake(tiny, manifest, "--cores", "2", *TINY)
    log = (tiny / "results/tiny/logs/embed/efficientnet_lite0/normal_001.log").read_text()
    assert log.count("were embedded before") == 4
    assert "Nothing to be done" in snakemake(tiny, "-n", *TINY).stdout


CHANGES = ("altered", "removed", "cut", "NaN")


def damaged(path: Path, change: str) -> None:
    """Damage a feature file and give it its old time stamp back."""
    import h5py
    import numpy as np

    stamp = path.stat()
    if change == "removed":
        path.unlink()
        return
    if change == "cut":
        os.truncate(path, stamp.st_size // 2)
    else:
        with h5py.File(path, "r+") as handle:
            handle["features"][:2] = 1 if change == "altered" else np.nan
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


@pytest.mark.parametrize("store_too", [False, True], ids=["store whole", "store damaged too"])
def test_damaged_features_come_back_by_doing_what_the_error_says(tiny, store_too):
    """Each way of damage to a slide of its own, all at once; the messages are followed to the letter until it works."""
    folder = tiny / "results/tiny/features/efficientnet_lite0"
    slides = dict(zip(("normal_001", "tumor_001", "test_001", "test_002"), CHANGES, strict=True))
    before = {slide: (folder / f"{slide}.h5").read_bytes() for slide in slides}
    predictions = tiny / "results/tiny/predictions/efficientnet_lite0/meanpool/competition.csv"
    numbers = predictions.read_bytes()
    for slide, change in slides.items():
        damaged(folder / f"{slide}.h5", change)
        if store_too:
            damaged(next((folder / ".store").glob(f"{slide}.*.h5")), change)
    target = ["--cores", "2", *TINY, "--", str(predictions.relative_to(tiny))]
    predictions.unlink()
    shutil.rmtree(tiny / "results/tiny/models/efficientnet_lite0/.store")  # which would answer without the features
    for _ in range(3 * len(slides)):
        result = snakemake(tiny, *target, check=False)
        commands = set(re.findall(r"run '(rm -f [^']*)', then", result.stdout))
        if not result.returncode:
            break
        assert commands, result.stdout[-3000:]
        for command in commands:
            subprocess.run(shlex.split(command), cwd=tiny, check=True)
    assert result.returncode == 0
    assert {slide: (folder / f"{slide}.h5").read_bytes() for slide in slides} == before
    assert predictions.read_bytes() == numbers
    snakemake(tiny, "--cores", "2", *TINY)


def test_two_runs_give_the_same_bytes(tiny, tmp_path):
    """Another folder, one core, another order of jobs: the same slides, features, predictions and table."""
    other = clone(tmp_path / "other")
    snakemake(other, "benchmark", "--cores", "1", *TINY)
    results, again = tiny / "results/tiny", other / "results/tiny"
    for pattern in (
        "slides/*.tif",
        "annotations/*.xml",
        "tiles/*.parquet",
        "predictions/*/*/*.csv",
        "detections/*/*/*.csv",
    ):
        files = sorted(results.glob(pattern))
        assert files
        for path in files:
            assert path.read_bytes() == (again / path.relative_to(results)).read_bytes(), path

    def table(folder):
        with (folder / "benchmark.csv").open() as handle:
            return [{k: v for k, v in row.items() if k != "train_seconds"} for row in csv.DictReader(handle)]

    assert table(results) == table(again)

    def features(folder):
        index = json.loads((folder / "features/efficientnet_lite0/index.json").read_text())
        return {slide["slide"]: slide["sha256"] for slide in index["slides"]}

    assert features(results) == features(again)


def test_a_broken_slide_is_named_and_the_others_are_kept(tiny, tmp_path):
    """A slide's own file, cut in half: the job says which, and no file under a final name is half-written."""
    root = tmp_path / "slides"
    (root / "images").mkdir(parents=True)
    for slide in ("normal_001", "tumor_001", "normal_002", "tumor_002"):
        shutil.copy(tiny / f"results/tiny/slides/{slide}.tif", root / "images")
    whole = (root / "images/tumor_002.tif").read_bytes()
    (root / "images/tumor_002.tif").write_bytes(whole[: len(whole) // 2])
    (root / "slides.csv").write_text(
        "slide,label\nnormal_001,normal\ntumor_001,tumor\nnormal_002,normal\ntumor_002,tumor\n"
    )
    arguments = ["--configfile", "config/own_slides.yaml", "--config", f"slides={{root: {root}}}", "dataset=broken"]
    other = clone(tmp_path / "clone")
    small = ["figures={heatmaps: []}", "cv={folds: 2}"]
    result = snakemake(other, "features", "--cores", "2", "--keep-going", *arguments, *small, check=False)
    assert result.returncode == 1
    assert "tumor_002" in result.stdout
    assert (other / "results/broken/tiles/normal_001.parquet").is_file()
    assert not (other / "results/broken/features/efficientnet_lite0/index.json").exists()
    assert not list((other / "results").rglob("*.partial*"))


def test_a_table_without_split_gives_cross_validation_only(fresh, tmp_path):
    (tmp_path / "images").mkdir()
    rows = [f"s{i},{i % 2}" for i in range(8)]
    for i in range(8):
        (tmp_path / f"images/s{i}.tif").touch()
    (tmp_path / "slides.csv").write_text("\n".join(["slide,label", *rows]) + "\n")
    jobs = planned(snakemake(fresh, "-n", "--configfile", "config/own_slides.yaml", "--config",
                             f"slides={{root: {tmp_path}}}").stdout)  # fmt: skip
    assert jobs["evaluate"] == 6
    assert not {"localise", "lesions", "split_bias", "simulate", "figure_heatmap"} & set(jobs)


def test_an_md5_column_is_verified_and_reruns_nothing_else(tiny, tmp_path):
    """Added later, it plans the verification and the table; a wrong sum, and a file that changes, are one line."""
    root, names = tmp_path / "slides", ("normal_001", "tumor_001", "normal_002", "tumor_002")
    (root / "images").mkdir(parents=True)
    sums = {}
    for name in names:
        shutil.copy(tiny / f"results/tiny/slides/{name}.tif", root / "images")
        sums[name] = hashlib.md5((root / f"images/{name}.tif").read_bytes()).hexdigest()

    def write(**md5):
        rows = [f"{name},{name[:-4]},{md5.get(name, '')}" for name in names]
        (root / "slides.csv").write_text("\n".join(["slide,label,md5", *rows]) + "\n")

    arguments = ["--configfile", "config/own_slides.yaml", "--config", f"slides={{root: {root}}}", "dataset=own"]
    arguments += ["figures={heatmaps: []}", "cv={folds: 2}"]
    targets = ["--", "results/own/slides.csv", *(f"results/own/tiles/{name}.parquet" for name in names)]
    verified = [f"results/own/verified/{name}.json" for name in names]
    other = clone(tmp_path / "clone")
    write()
    snakemake(other, "--cores", "2", *arguments, *targets)
    write(normal_001=sums["normal_001"], tumor_001=sums["tumor_001"])
    assert planned(snakemake(other, "-n", *arguments, *targets, *verified[:2]).stdout) == {"verify_slide": 2}
    assert planned(snakemake(other, "-n", *arguments).stdout)["verify_slide"] == 2, "the default target asks for it"
    snakemake(other, "--cores", "2", *arguments, *targets, *verified[:2])
    assert "Nothing to be done" in snakemake(other, "-n", *arguments, *targets, *verified[:2]).stdout
    write(normal_001=sums["normal_001"], tumor_001=sums["tumor_001"], tumor_002=sums["tumor_001"].upper())
    result = snakemake(other, "--cores", "2", *arguments, *targets, verified[3], check=False)
    assert result.returncode == 1
    words = f"tumor_002.tif: md5 is {sums['tumor_002']}, the slides table has {sums['tumor_001']} for slide tumor_002"
    assert words in result.stdout + (other / "results/own/logs/verify_slide/tumor_002.log").read_text()
    write(normal_001=sums["normal_001"], tumor_001=sums["tumor_001"])
    os.utime(root / "images/tumor_001.tif", (1, 1))  # another file, older than the one that was verified
    assert planned(snakemake(other, "-n", *arguments, "--", *verified[:2]).stdout) == {"verify_slide": 1}


def test_test_slides_without_any_annotated_tumour_plan_no_lesion_evaluation(fresh, tmp_path):
    """Normal test slides alone hold nothing to find: their lesions are not made, nor detections but for heat maps."""
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    for i in range(8):
        (tmp_path / f"images/s{i}.tif").touch()
    rows = [f"s{i},{i % 2},{'train' if i < 4 else 'test'}" for i in range(8)]
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/mine.csv").write_text("\n".join(["slide,label,split", *rows]) + "\n")
    place = f"slides={{root: {tmp_path}, table: {tmp_path}/tables/mine.csv}}"
    options = ["--configfile", "config/own_slides.yaml", "--config", place]
    options.append("figures={heatmaps: []}")
    jobs = planned(snakemake(fresh, "-n", *options).stdout)
    assert jobs["evaluate"] == 6 and jobs["split_bias"] == 1
    assert "lesions" not in jobs and jobs["localise"] == 1, "one method's tile scores, for the heat maps of index.html"
    (tmp_path / "annotations/s5.xml").touch()
    jobs = planned(snakemake(fresh, "-n", *options).stdout)
    assert jobs["lesions"] == 3, "one tumour with its annotation, two normal slides"


def test_weights_are_looked_for_when_the_jobs_of_a_run_need_them(fresh, monkeypatch):
    """In a dry run too, with one line that says why; targets that embed nothing ask nobody."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    wanted = ["-n", *TINY, "--config", "encoders=[uni]"]
    result = snakemake(fresh, *wanted, check=False)
    assert result.returncode == 1 and "Traceback" not in result.stdout
    assert "WorkflowError:\nencoder uni: HF_HUB_OFFLINE is set and MahmoodLab/UNI is not in the hub's cache" in (
        result.stdout
    )
    assert planned(snakemake(fresh, *wanted, "--", "results/tiny/tiles/summary.csv").stdout)["tiles"] == 9
    result = snakemake(fresh, "-n", *TINY, "--config", "encoders=[timm:vit_tiny_patch16_224]")
    assert "warning: config: encoders: timm:vit_tiny_patch16_224: its weights are neither in the cache" in result.stdout
    assert planned(result.stdout)["embed"] == 3


def test_repeats_are_trained_beside_each_method_and_make_a_table(fresh):
    jobs = planned(snakemake(fresh, "-n", *TINY, "--config", "training={repeats: 3}").stdout)
    assert (jobs["train"], jobs["localise"], jobs["evaluate"], jobs["repeats_table"]) == (9, 9, 3, 1)
    options = ["methods=[meanpool,chowder_r1,chowder_r1_s1]", "training={repeats: 2}"]
    result = snakemake(fresh, "-n", *TINY, "--config", *options, check=False)
    assert "methods names a repeat (_s1) itself" in result.stdout


@pytest.mark.skipif(SHARED is None, reason=REASON)
def test_the_real_pixel_slides_run_through_the_same_rules(fresh):
    root = f"slides={{root: {SHARED / 'real_slides'}}}"
    jobs = planned(snakemake(fresh, "-n", "--configfile", "config/own_slides.yaml", "--config", root).stdout)
    assert jobs["tissue"] == jobs["tiles"] == 20
    assert jobs["lesions"] == 7
    assert jobs["figure_heatmap"] == 3, "two tumour slides and a normal one, by the table's order"
    assert "simulate" not in jobs


def test_camelyon16_plans_all_slides_from_download_to_table(fresh):
    jobs = planned(snakemake(fresh, "-n", "--configfile", "config/camelyon16.yaml").stdout)
    assert jobs["fetch_slide"] == jobs["tissue"] == jobs["tiles"] == 399
    assert jobs["fetch_source"] == 2
    assert jobs["lesions"] == 128, "129 test slides less test_114"
    assert jobs["fetch_annotation"] == 49, "48 that count, and that of test_114 for its heat map"
    assert jobs["train"] == 11


def test_the_mini_run_plans_eight_slides_and_two_folds(fresh):
    jobs = planned(snakemake(fresh, "-n", "--configfile", "config/camelyon16-mini.yaml").stdout)
    assert jobs["fetch_slide"] == 8
    assert "localise" not in jobs


@pytest.mark.parametrize("profile", ["default", "slurm", "ci"])
def test_every_profile_is_accepted_and_every_entry_explained(fresh, profile):
    assert planned(snakemake(fresh, "-n", "--workflow-profile", f"profiles/{profile}", *TINY).stdout)["train"] == 3
    for line in (fresh / f"profiles/{profile}/profile.yaml").read_text().splitlines():
        assert "#" in line or line.strip().endswith(":"), line


def test_the_run_becomes_a_crate_by_one_job(tiny):
    """Every file that the metadata names is in the zip, and the table is the run's."""
    assert planned(snakemake(tiny, "-n", "crate", *TINY).stdout) == {"crate": 1}
    snakemake(tiny, "crate", "--cores", "1", *TINY)
    with zipfile.ZipFile(tiny / "results/tiny/crate.zip") as crate:
        graph = json.loads(crate.read("ro-crate-metadata.json"))["@graph"]
        parts = next(one for one in graph if one["@id"] == "./")["hasPart"]
        assert {part["@id"] for part in parts} == set(crate.namelist()) - {"ro-crate-metadata.json"}
        assert crate.read("results/benchmark.csv") == (tiny / "results/tiny/benchmark.csv").read_bytes()
        assert json.loads(crate.read("config.json"))["training"]["epochs"] == 3
    (tiny / "results/tiny/crate.zip").unlink()


@pytest.mark.skipif(not os.environ.get("CHOWDER_LONG"), reason="a minute: set CHOWDER_LONG=1")
def test_a_cohort_embedded_in_two_parts_gives_the_table_of_the_whole(tiny, tmp_path):
    """Each half of the slides as a run of its own that has only features; joined, trained and scored.

    Under the name of the whole, because folds, samples and first weights are drawn by the name of the dataset.
    """
    whole = tiny / "results/tiny"
    table = (whole / "slides.csv").read_text().splitlines()
    index = json.loads((whole / "features/efficientnet_lite0/index.json").read_text())
    for name, rows in (("a", table[1:5]), ("b", table[5:])):
        part = tmp_path / name
        (part / "features/efficientnet_lite0").mkdir(parents=True)
        shutil.copytree(whole / "tissue", part / "tissue")
        shutil.copytree(whole / "annotations", part / "annotations")
        shutil.copy2(whole / "config.yaml", part)
        (part / "slides.csv").write_text("\n".join([table[0], *rows]) + "\n")
        slides = {row.partition(",")[0] for row in rows}
        kept = index | {"slides": [one for one in index["slides"] if one["slide"] in slides]}
        (part / "features/efficientnet_lite0/index.json").write_text(json.dumps(kept))
        for slide in slides:
            shutil.copy2(whole / f"features/efficientnet_lite0/{slide}.h5", part / "features/efficientnet_lite0")
    folder = clone(tmp_path / "clone")
    join = [sys.executable, "workflow/scripts/join.py", str(tmp_path / "a"), str(tmp_path / "b"), "--name", "tiny"]
    assert "simulated" in subprocess.run(join, cwd=folder, capture_output=True, text=True, check=True).stdout
    snakemake(folder, "benchmark", "--cores", "2", *TINY, "own/tiny/config.yaml")
    tables = []
    for path in (whole / "benchmark.csv", folder / "results/tiny/benchmark.csv"):
        with path.open(newline="") as handle:
            tables.append([{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(handle)])
    assert tables[0] == tables[1]
