"""Splits without overlap, experiments about them, and the scripts from end to end on a small feature folder."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from chowder.files import UserError
from chowder.models import build, estimators, names, predictions, splits, store
from chowder.slides import tile_table
from chowder.slides.grid import Grid

sys.path.insert(0, str(Path(names.__file__).parents[2]))
import ensemble_size as ensemble_size_script
import localise as localise_script
import split_bias as split_bias_script
import splits as splits_script
import train as train_script


def table(normal=12, tumour=8, test=6):
    rows = [{"slide": f"s{i:02d}", "label": str(int(i >= normal)), "split": "train"} for i in range(normal + tumour)]
    for i in range(test):
        rows[3 * i]["split"] = "test"
    return rows


def test_folds_share_no_slide_cover_all_and_keep_the_classes():
    rows = table()
    got = splits.splits(rows, folds=3, seed=1)
    assert list(got) == ["competition", "cv1", "cv2", "cv3"]
    labels = splits.labels_of(rows)
    assert sorted(s for n in (1, 2, 3) for s in got[f"cv{n}"]["test"]) == sorted(labels)
    for name, sides in got.items():
        assert not set(sides["train"]) & set(sides["test"])
        if name != "competition":
            assert sorted(sides["train"] + sides["test"]) == sorted(labels)
            assert 2 <= sum(labels[s] for s in sides["test"]) <= 3
    assert got["competition"]["test"] == [r["slide"] for r in rows if r["split"] == "test"]


def test_folds_over_the_training_slides_hold_no_test_slide():
    rows = table()
    got = splits.splits(rows, over="train", folds=2)
    held = set(got["competition"]["test"])
    assert all(not held & set(got[f"cv{n}"]["train"] + got[f"cv{n}"]["test"]) for n in (1, 2))


def test_splits_depend_on_the_seed_and_not_on_the_order_of_the_rows():
    rows = table()
    assert splits.splits(rows, seed=1) == splits.splits(rows[::-1], seed=1)
    assert splits.splits(rows, seed=1) != splits.splits(rows, seed=2)


def test_without_a_split_there_is_cross_validation_only():
    rows = [{"slide": r["slide"], "label": r["label"]} for r in table()]
    assert list(splits.splits(rows)) == ["cv1", "cv2", "cv3"]
    assert list(splits.splits([dict(r, split="") for r in rows])) == ["cv1", "cv2", "cv3"]


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (table(tumour=2, test=1), {}, "label 1 has 2"),
        (table(), {"over": "test"}, "over is 'test'"),
        (table(), {"folds": 1}, "folds is 1"),
        ([dict(r, split="train") for r in table()], {}, "no test slide"),
        ([dict(r, split="Test") for r in table()], {}, "split 'Test'"),
        (table() + table()[:1], {}, "s00 is listed twice"),
        ([dict(r, label="x") for r in table()], {}, "label 'x'"),
        ([dict(r, split="") for r in table()], {"over": "train"}, "no split column"),
    ],
)
def test_a_bad_table_or_setting_is_one_clear_line(rows, settings, message):
    with pytest.raises(UserError, match=message):
        splits.splits(rows, **settings)


def test_rank_auc_is_scikit_learns_also_with_ties():
    rng = np.random.default_rng(0)
    labels = rng.random(60) < 0.4
    scores = rng.integers(0, 9, (4, 60)) / 8
    np.testing.assert_allclose(splits.rank_auc(labels, scores), [roc_auc_score(labels, s) for s in scores])


def test_split_bias_finds_a_shifted_test_set_and_nothing_in_random_splits():
    rng = np.random.default_rng(0)
    is_test = np.arange(120) >= 80
    pooled = rng.normal(size=(120, 10))
    shifted = pooled + 1.0 * is_test[:, None]
    rows = splits.split_bias(shifted, is_test, repeats=8)
    random = [row["auc"] for row in rows if row["split"] == "random"]
    assert rows[0]["split"] == "competition" and rows[0]["auc"] > 0.9
    assert len(random) == 8 and abs(np.mean(random) - 0.5) < 0.1
    assert splits.split_bias(pooled, is_test, repeats=0)[0]["auc"] < 0.7
    with pytest.raises(UserError, match="two slides"):
        splits.split_bias(pooled, np.arange(120) == 3)


def test_the_ensemble_curve_has_every_single_member_and_the_whole_ensemble():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    members = 1 / (1 + np.exp(-(labels[:, None] + rng.normal(0, 2, (40, 8)))))
    rows = splits.ensemble_curve(labels, members, repeats=50)
    assert [row["members"] for row in rows] == list(range(1, 9))
    single = [roc_auc_score(labels, members[:, m]) for m in range(8)]
    np.testing.assert_allclose([rows[0]["auc"], rows[0]["sd"]], [np.mean(single), np.std(single, ddof=1)])
    whole = roc_auc_score(labels, members.mean(axis=1))
    np.testing.assert_allclose([rows[-1][key] for key in ("auc", "low", "high")], whole)
    assert rows[-1]["auc"] > rows[0]["auc"] and rows[3]["low"] <= rows[3]["auc"] <= rows[3]["high"]
    assert rows == splits.ensemble_curve(labels, members, repeats=50)
    with pytest.raises(UserError, match="ensemble size 9"):
        splits.ensemble_curve(labels, members, sizes=[9])


def test_predictions_come_back_as_written(tmp_path):
    members = np.array([[0.25, 0.5], [1e-9, 1 / 3]])
    predictions.write_predictions(tmp_path / "p.csv", ["a", "b"], [0, 1], members)
    slides, labels, got = predictions.read_predictions(tmp_path / "p.csv")
    assert slides == ["a", "b"] and labels.tolist() == [0, 1]
    np.testing.assert_allclose(got, members, rtol=1e-7)
    assert (tmp_path / "p.csv").read_text().splitlines()[1] == "a,0,0.375,0.25,0.5"
    (tmp_path / "bad.csv").write_text("")
    with pytest.raises(UserError, match=r"bad\.csv"):
        predictions.read_predictions(tmp_path / "bad.csv")


def test_probabilities_are_the_column_as_written_and_a_bad_file_is_named(tmp_path):
    members = np.array([[0.25, 0.5], [1e-9, 1 / 3]])
    predictions.write_predictions(tmp_path / "p.csv", ["a", "b"], [0, 1], members)
    assert predictions.read_probabilities(tmp_path / "p.csv") == {"a": (0, 0.375), "b": (1, 0.16666667)}
    for row, message in {
        "a,0,": "line 2: probability is ''",
        "a,0": "line 2: probability is 'None'",
        "a,2,0.5": "line 2: label is '2'",
        "a,0,nan": "line 2: probability is 'nan'",
        "a,0,0.5\na,0,0.5": "line 3: slide a is there twice",
    }.items():
        (tmp_path / "bad.csv").write_text(f"slide,label,probability\n{row}\n")
        with pytest.raises(UserError, match=message):
            predictions.read_probabilities(tmp_path / "bad.csv")
    for text in ("", "slide,label,probability\n"):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(UserError, match=r"bad\.csv: not a predictions file"):
            predictions.read_probabilities(tmp_path / "bad.csv")


def test_the_probability_is_the_mean_of_the_members_that_are_averaged(tmp_path):
    members = np.array([[0.1, 0.5, 0.9], [0.2, 0.4, 0.3]])
    for averaged, expected in ((None, [0.5, 0.3]), ([0, 1], [0.3, 0.3]), ([2], [0.9, 0.3])):
        predictions.write_predictions(tmp_path / "p.csv", ["a", "b"], [1, 0], members, averaged)
        found = predictions.read_probabilities(tmp_path / "p.csv")
        assert [found[slide] for slide in "ab"] == [(1, pytest.approx(expected[0])), (0, pytest.approx(expected[1]))]
        slides, labels, every = predictions.read_predictions(tmp_path / "p.csv")
        assert (slides, labels.tolist()) == (["a", "b"], [1, 0])
        np.testing.assert_allclose(every, members, err_msg="members left out are written all the same")


def test_outputs_are_named_by_split():
    assert splits.outputs(["cv1=a/b.pt", "cv2=c=d.pt"]) == {"cv1": "a/b.pt", "cv2": "c=d.pt"}
    for text in ("t.json", "=x", "cv1="):
        with pytest.raises(UserError, match="SPLIT=PATH"):
            splits.outputs([text])


# ------------------------------------------------------------------------------------------------- the scripts

METHODS = ["meanpool", "maxpool", "weldon_r2", "chowder_r2", "chowder_r2_j2", "chowder_r2_s1"]
METHODS += ["chowder_r2_b4", "chowder_mlp_r2"]
TRAINING = {"epochs": 3, "members": 2, "hidden": [6, 4], "dropout": [0.5, 0.2], "tile_hidden": [5]}
SETTINGS = {"training": TRAINING, "dataset": "fake", "sample": {"seed": 5}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Feature files, tiles, slides table, summary and splits of 16 made-up slides."""
    root = tmp_path_factory.mktemp("fake")
    rng = np.random.default_rng(0)
    slides, summary, entries = ["slide,label,split"], ["slide,split,tiles,sampled"], []
    (root / "tiles").mkdir()
    (root / "features").mkdir()
    for i in range(16):
        slide, tiles, split = f"s{i:02d}", int(rng.integers(5, 30)), "train" if i < 10 else "test"
        coords = np.stack([np.arange(tiles) * 461, np.full(tiles, 922)], axis=1).astype(np.int32)
        with h5py.File(root / "features" / f"{slide}.h5", "w") as handle:
            handle["features"] = rng.gamma(1, 0.5, (tiles, 8)).astype(np.float16)
            handle["coords"] = coords
        grid = Grid(224, 0.5, 0.486, "target", 1, 460.8, 0.243, 1.03, 40, 4)
        tiles_of = pa.table({"x": coords[:, 0], "y": coords[:, 1]})
        tile_table.write(root / "tiles" / f"{slide}.parquet", tiles_of, grid, slide)
        slides.append(f"{slide},{i % 2},{split}")
        summary.append(f"{slide},{split},{tiles},{min(tiles, 12)}")
        entries.append({"slide": slide, "file": f"{slide}.h5", "tiles": tiles, "sha256": ""})
    (root / "slides.csv").write_text("\n".join(slides) + "\n")
    (root / "tiles" / "summary.csv").write_text("\n".join(summary) + "\n")
    (root / "features" / "index.json").write_text(json.dumps({"encoder": "e", "dim": 8, "slides": entries}))
    splits_script.main(
        ["--slides", f"{root}/slides.csv", "--settings", '{"folds": 2}', "--output", f"{root}/splits.json"]
    )
    return root


def settings_of(name):
    section = names.KINDS[names.parse(name).kind].settings
    kept = SETTINGS.get(section, {})
    without = names.KINDS[names.parse(name).kind].unused
    return {k: v for k, v in SETTINGS.items() if k in ("dataset", "sample")} | {
        section: {k: v for k, v in kept.items() if k not in without}
    }


def arguments_of(folder, out, name, slides="slides.csv", splits=("competition", "cv1"), together=(), code="1"):
    plan = {other: {"settings": settings_of(other), "code": code} for other in together}
    given = {"index": folder / "features/index.json", "summary": folder / "tiles/summary.csv"}
    given |= {"slides": folder / slides, "splits": folder / "splits.json", "method": name, "code": code}
    given |= {"settings": json.dumps(settings_of(name)), "together": json.dumps(plan), "store": out / ".store"}
    given |= {"timing": out / f"{name}.json"}
    arguments = [part for key, value in given.items() for part in (f"--{key}", str(value))]
    for key, suffix in (("models", ".pt"), ("curves", ".curve.csv"), ("predictions", ".csv")):
        arguments += [f"--{key}", *(f"{split}={out}/{name}/{split}{suffix}" for split in splits)]
    return arguments


def train(folder, out, wanted, slides="slides.csv", splits=("competition", "cv1"), code="1"):
    for name in wanted:
        train_script.main(arguments_of(folder, out, name, slides, splits, wanted, code))
    paths = [path for path in sorted(Path(out).rglob("*.*")) if ".store" not in path.parts and path.suffix != ".json"]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    return out, train(folder, out, METHODS)


def test_training_writes_every_file_with_the_test_slides_of_its_split(folder, trained):
    out, files = trained
    assert len(files) == len(METHODS) * 2 * 3
    for name in METHODS:
        for split in ("competition", "cv1"):
            slides, labels, members = predictions.read_predictions(out / name / f"{split}.csv")
            assert slides == splits.read_splits(folder / "splits.json")[split]["test"]
            assert labels.tolist() == [int(s[1:]) % 2 for s in slides]
            ensemble = names.parse(name).trained_as_ensemble
            assert members.shape[1] == (2 if ensemble else 1)
            assert len((out / name / f"{split}.curve.csv").read_text().splitlines()) == (7 if ensemble else 1)
        timing = json.loads((out / f"{name}.json").read_text())
        assert timing["method"] == name and timing["train_seconds"] >= 0
        assert timing["epochs"] == dict.fromkeys(("competition", "cv1"), 3 if ensemble else 0)


def test_a_method_trained_alone_predicts_what_it_predicts_among_others_and_always_the_same(folder, trained, tmp_path):
    for name in ("meanpool", "weldon_r2", "chowder_r2"):
        alone = train(folder, tmp_path / name, [name])
        assert train(folder, tmp_path / f"{name} again", [name]) == alone
        for split in ("competition", "cv1"):
            _, _, ours = predictions.read_predictions(tmp_path / name / name / f"{split}.csv")
            _, _, among = predictions.read_predictions(trained[0] / name / f"{split}.csv")
            np.testing.assert_allclose(ours, among, rtol=1e-4)


def test_a_repeat_differs(trained):
    assert trained[1]["chowder_r2/cv1.csv"] != trained[1]["chowder_r2_s1/cv1.csv"]


def test_labels_of_test_slides_can_not_influence_a_prediction(folder, trained, tmp_path):
    flipped = []
    for row in csv.DictReader((folder / "slides.csv").read_text().splitlines()):
        label = 1 - int(row["label"]) if row["split"] == "test" else int(row["label"])
        flipped.append(f"{row['slide']},{label},{row['split']}")
    (folder / "flipped.csv").write_text("slide,label,split\n" + "\n".join(flipped) + "\n")
    files = train(folder, tmp_path, METHODS, "flipped.csv", ["competition"])
    for name in METHODS:
        for kind in (".pt", ".curve.csv"):
            assert files[f"{name}/competition{kind}"] == trained[1][f"{name}/competition{kind}"]
        slides, labels, members = predictions.read_predictions(tmp_path / name / "competition.csv")
        before = predictions.read_predictions(trained[0] / name / "competition.csv")
        np.testing.assert_array_equal(members, before[2])
        assert (labels == 1 - before[1]).all() and slides == before[0]


@pytest.mark.parametrize("name", METHODS)
def test_every_tissue_tile_of_a_test_slide_gets_a_score_and_a_detection(folder, trained, tmp_path, name):
    arguments = ["--method", name, "--model", trained[0] / name / "competition.pt", "--splits", folder / "splits.json"]
    arguments += ["--index", folder / "features/index.json", "--tiles-dir", folder / "tiles"]
    arguments += ["--scores-dir", tmp_path / "scores", "--detections-dir", tmp_path / "detections"]
    localise_script.main([str(a) for a in arguments])
    test = splits.read_splits(folder / "splits.json")["competition"]["test"]
    assert sorted(p.stem for p in (tmp_path / "scores").iterdir()) == sorted(test)
    model = build.load(trained[0] / name / "competition.pt")
    for slide in test:
        scores = pq.read_table(tmp_path / "scores" / f"{slide}.parquet").to_pandas()
        tiles = pq.read_table(folder / "tiles" / f"{slide}.parquet").to_pandas()
        assert list(scores.columns) == ["x", "y", "score"] and scores["score"].dtype == np.float32
        np.testing.assert_array_equal(scores[["x", "y"]], tiles[["x", "y"]])
        with h5py.File(folder / "features" / f"{slide}.h5") as handle:
            np.testing.assert_array_equal(scores["score"], model.instance_scores(handle["features"][:]))
        detected = np.loadtxt(tmp_path / "detections" / f"{slide}.csv", delimiter=",", ndmin=2)
        np.testing.assert_array_equal(detected[:, 1:], tiles[["x", "y"]] + 230)
        assert (np.argsort(detected[:, 0], kind="stable") == np.argsort(scores["score"], kind="stable")).all()


def test_tiles_of_another_run_are_refused(folder, trained, tmp_path):
    (tmp_path / "tiles").mkdir()
    for path in (folder / "tiles").glob("*.parquet"):
        grid = pq.read_table(path)
        pq.write_table(grid.slice(1), tmp_path / "tiles" / path.name)
    arguments = [
        "--method",
        "meanpool",
        "--model",
        trained[0] / "meanpool/competition.pt",
        "--tiles-dir",
        tmp_path / "tiles",
    ]
    arguments += ["--index", folder / "features/index.json", "--splits", folder / "splits.json"]
    arguments += ["--scores-dir", tmp_path / "s", "--detections-dir", tmp_path / "d"]
    with pytest.raises(UserError, match="the tiles are not those of the feature file"):
        localise_script.main([str(a) for a in arguments])


def test_the_experiments_scripts_write_their_tables(folder, trained, tmp_path):
    predictions = str(trained[0] / "chowder_r2" / "competition.csv")
    ensemble_size_script.main(["--predictions", predictions, "--output", str(tmp_path / "e.csv")])
    rows = list(csv.DictReader((tmp_path / "e.csv").open()))
    assert [row["members"] for row in rows] == ["1", "2"] and set(rows[0]) >= {"auc", "low", "high"}
    index, summary, splits = folder / "features/index.json", folder / "tiles/summary.csv", folder / "splits.json"
    arguments = ["--index", index, "--summary", summary, "--splits", splits]
    arguments += ["--settings", '{"split_bias": {"repeats": 2}, "dataset": "fake"}']
    split_bias_script.main(
        [str(a) for a in [*arguments, "--output", tmp_path / "b.csv", "--json", tmp_path / "b.json"]]
    )
    rows = list(csv.DictReader((tmp_path / "b.csv").open()))
    assert [row["split"] for row in rows] == ["competition", "random", "random"]
    assert json.loads((tmp_path / "b.json").read_text())["test"] == 6


def test_a_split_that_does_not_exist_is_named(folder):
    with pytest.raises(UserError, match="no split 'cv9'"):
        splits.read_splits(folder / "splits.json", ["cv9"])


# ----------------------------------------------------------------------------------------------- the store of models


def entries_of(out):
    return {path.name for path in (out / ".store").iterdir() if not path.name.startswith(".")}


def test_the_first_job_trains_all_methods_and_the_others_take_theirs(folder, tmp_path, capsys):
    train_script.main(arguments_of(folder, tmp_path, "weldon_r2", together=METHODS))
    assert len(entries_of(tmp_path)) == 2 * len(METHODS)
    assert {path.name for path in tmp_path.iterdir()} == {".store", "weldon_r2", "weldon_r2.json"}
    capsys.readouterr()
    for name in METHODS:
        train_script.main(arguments_of(folder, tmp_path, name, together=METHODS))
        said = capsys.readouterr().err
        assert f"{name} was trained before" in said and "read" not in said


def test_one_more_method_or_another_code_trains_that_method_alone(folder, tmp_path, capsys):
    train(folder, tmp_path, ["meanpool", "weldon_r2"])
    before = entries_of(tmp_path)
    capsys.readouterr()
    train_script.main(arguments_of(folder, tmp_path, "maxpool", together=["meanpool", "weldon_r2", "maxpool"]))
    assert len(entries_of(tmp_path) - before) == 2
    train_script.main(arguments_of(folder, tmp_path, "maxpool", code="2"))
    assert len(entries_of(tmp_path) - before) == 4


def test_the_fingerprint_changes_with_all_that_decides_a_model_and_with_nothing_else():
    def key(method="chowder_r5", split="cv1", train="ab", test="c", settings=None, code="1", **more):
        sides = {"train": list(train), "test": list(test)}
        labels = {"a": 0, "b": 1, "c": 0, "d": 1} | more.get("labels", {})
        sampled = dict.fromkeys("abcd", 7) | more.get("sampled", {})
        entries = {s: {"slide": s, "file": f"{s}.h5", "tiles": 9, "digest": s} for s in "abcd"} | more.get(
            "entries", {}
        )
        return store.fingerprint(
            method, split, sides, settings or {"training": {"r": 1}}, code, labels, sampled, entries
        )

    moved = {"slide": "a", "file": "elsewhere/a.h5", "tiles": 9, "digest": "a", "sha256": "other bytes, same content"}
    other = {"slide": "d", "file": "d.h5", "tiles": 1, "digest": "new"}
    assert (
        key() == key(entries={"a": moved}) == key(labels={"d": 0}) == key(sampled={"d": 1}) == key(entries={"d": other})
    )
    changed = [
        key(),
        key(method="chowder_r1"),
        key(split="cv2"),
        key(train="ba"),
        key(train="abd"),
        key(test="d"),
        key(settings={"training": {"r": 2}}),
        key(code="2"),
        key(labels={"a": 1}),
        key(labels={"c": 1}),
        key(sampled={"b": 8}),
        key(entries={"a": moved | {"digest": "other"}}),
    ]
    assert len(set(changed)) == len(changed)
    with pytest.raises(UserError, match="slide e of split cv1 has no label"):
        key(train="ae")


def test_automatic_epochs_are_of_each_split_printed_stored_and_decide_what_is_trained(
    folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(estimators, "PAPER_STEPS", 7)
    own = TRAINING | {"batch": 4, "hidden": [3], "dropout": 0.5}
    settings = {"training": {key: value for key, value in own.items() if key != "tile_hidden"}}

    def run(epochs):
        monkeypatch.setitem(settings["training"], "epochs", epochs)
        arguments = arguments_of(folder, tmp_path, "chowder_r2")
        arguments[arguments.index("--settings") + 1] = json.dumps(settings)
        train_script.main(arguments)
        return json.loads((tmp_path / "chowder_r2.json").read_text())["epochs"], capsys.readouterr().err

    epochs, said = run("auto")  # 10 slides are 3 batches of 4, 8 are 2
    assert epochs == {"competition": 3, "cv1": 4}
    assert "chowder_r2 competition: epochs auto: 3, 9 steps on 10 slides in batches of 4" in said
    assert "chowder_r2 cv1: epochs auto: 4, 8 steps on 8 slides in batches of 4" in said
    assert len((tmp_path / "chowder_r2/cv1.curve.csv").read_text().splitlines()) == 1 + 4 * 2
    before = entries_of(tmp_path)
    assert run("auto")[0] == epochs and entries_of(tmp_path) == before, "taken from the store"
    assert run(4)[0] == {"competition": 4, "cv1": 4} and len(entries_of(tmp_path)) == 4


def test_an_altered_or_half_written_entry_is_not_taken(folder, tmp_path):
    train(folder, tmp_path, ["meanpool"], splits=["cv1"])
    (name,) = entries_of(tmp_path)
    path = tmp_path / ".store" / name / store.MODEL
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match=r"model\.pt: was altered or removed: delete the folder"):
        train(folder, tmp_path, ["meanpool"], splits=["cv1"])
    path.unlink()
    with pytest.raises(UserError, match=r"model\.pt: was altered or removed"):
        train(folder, tmp_path, ["meanpool"], splits=["cv1"])
    models = store.Store(tmp_path / "new")
    with models.alone(), pytest.raises(RuntimeError), models.adding("key") as scratch:
        (scratch / store.MODEL).write_bytes(b"half")
        raise RuntimeError
    assert "key" not in models and [p.name for p in models.folder.iterdir()] == [".lock"]


def test_a_method_that_can_not_be_trained_does_not_stop_another(folder, tmp_path, capsys):
    arguments = arguments_of(folder, tmp_path, "meanpool")
    bad = {"chowder_r2": {"settings": settings_of("chowder_r2") | {"training": {"epochs": 0}}, "code": "1"}}
    arguments[arguments.index("--together") + 1] = json.dumps(bad)
    train_script.main(arguments)
    assert "training meanpool alone" in capsys.readouterr().err
    assert len(entries_of(tmp_path)) == 2
    with pytest.raises(UserError, match="epochs"):
        arguments = arguments_of(folder, tmp_path, "chowder_r2")
        arguments[arguments.index("--settings") + 1] = json.dumps(bad["chowder_r2"]["settings"])
        train_script.main(arguments)


def test_two_processes_never_train_into_one_store_at_once(tmp_path):
    """The second waits for the first, and goes on at once when the first is killed."""
    models = store.Store(tmp_path)
    code = (
        "import sys, time\nfrom chowder.models import store\n"
        "with store.Store(sys.argv[1]).alone(): print(flush=True); time.sleep(60)"
    )
    library = os.environ | {"PYTHONPATH": str(Path(names.__file__).parents[2])}
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=library)
    holder.stdout.readline()
    with open(tmp_path / ".lock", "w") as handle, pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (tmp_path / ".new-leftover").mkdir()
    holder.kill()
    holder.wait()
    with models.alone():
        assert not (tmp_path / ".new-leftover").exists()
