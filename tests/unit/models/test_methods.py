"""Method names: one spelling each, one clear line for a wrong one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chowder.files import UserError
from chowder.models import build, names


@pytest.mark.parametrize(
    ("name", "kind", "r", "j", "repeat", "label"),
    [
        ("meanpool", "meanpool", None, 1, 0, "MeanPool"),
        ("maxpool", "maxpool", None, 1, 0, "MaxPool"),
        ("weldon_r10", "weldon", 10, 1, 0, "WELDON R=10"),
        ("chowder_r5", "chowder", 5, 1, 0, "CHOWDER R=5"),
        ("chowder_r5_j4", "chowder", 5, 4, 0, "CHOWDER R=5 J=4"),
        ("chowder_r5_b20_j4", "chowder", 5, 4, 0, "CHOWDER R=5 bottom 20 J=4"),
        ("chowder_mlp_r10", "chowder_mlp", 10, 1, 0, "CHOWDER MLP R=10"),
        ("chowder_r300_s2", "chowder", 300, 1, 2, "CHOWDER R=300 (repeat 2)"),
        ("abmil_gated", "abmil_gated", None, 1, 0, "ABMIL gated"),
        ("clam_sb_s3", "clam_sb", None, 1, 3, "CLAM-SB (repeat 3)"),
        ("meanpool_s1", "meanpool", None, 1, 1, "MeanPool (repeat 1)"),
    ],
)
def test_a_name_is_read_and_labelled(name, kind, r, j, repeat, label):
    method = names.parse(name)
    assert (method.name, method.kind, method.r, method.j, method.repeat) == (name, kind, r, j, repeat)
    assert names.label(name) == names.label(method) == label


def test_a_repeat_belongs_to_its_base():
    assert names.parse("chowder_r5_s12").base == names.parse("chowder_r5").base == "chowder_r5"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "chowder",
            "chowder_r0",
            "chowder_r05",
            "chowder_r5_j1",
            "weldon_r5_j2",
            "chowder_r5_b5",
            "weldon_r5_b2",
            "chowder_b5",
            "chowder_r5_b0",
            "meanpool_r5",
            "abmil_r5",
            "",
        ),
        *("CHOWDER_r5", "chowder_r5_", "chowder_r5 ", "chowder_r٥", "chowder_r5_s0", "_base_r5", "chowder_r5\n"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_forms(name):
    with pytest.raises(UserError, match=r"chowder_r<R>\[_b<bottom>\]\[_j<J>\]") as error:
        names.parse(name)
    assert "\n" not in str(error.value)


def test_only_light_modules_are_imported_at_parse_time():
    scripts = Path(names.__file__).parents[2]
    code = "import sys, chowder.models.names; print(sorted({'torch', 'numpy', 'sklearn', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_kind_names_a_class_with_the_whole_interface():
    for name, kind in names.KINDS.items():
        estimator = build.build(f"{name}_r3" if kind.r else name, {})
        assert estimator.kind == name
        for function in ("fit", "predict_proba", "predict", "instance_scores", "save", "load", "from_content"):
            assert callable(getattr(estimator, function))


def test_settings_reach_the_estimator():
    settings = {"training": {"members": 3, "embeddings": 2, "seed": 7}, "baselines": {"c": 0.1, "seed": 8}}
    chowder = build.build("chowder_r5", settings, stream=("demo", "cv1"))
    assert (chowder.r, chowder.members, chowder.embeddings, chowder.seed) == (5, 3, 2, 7)
    assert chowder.seed_stream == (7, "demo", "cv1", "chowder_r5")
    assert build.build("chowder_r5_j4", settings).embeddings == 4
    assert (build.build("maxpool", settings).c, build.build("maxpool", settings).seed) == (0.1, 8)


def test_a_repeat_draws_other_numbers_for_the_same_settings():
    streams = {build.build(name, {}, stream=("d", "s")).seed_stream for name in ("chowder_r5", "chowder_r5_s1")}
    assert len(streams) == 2


def test_an_unknown_key_names_section_and_key():
    with pytest.raises(UserError, match=r"section training: .*'epoch'"):
        build.build("chowder_r5", {"training": {"epoch": 3}})


def test_a_file_that_is_no_model_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pt"):
        build.load(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("not a model")
    with pytest.raises(UserError, match=r"text\.pt: not a model file") as error:
        build.load(tmp_path / "text.pt")
    assert "\n" not in str(error.value)
