"""The config: every key documented, in step with the schema, and the first mistake named in one line."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from chowder import settings
from chowder.files import UserError

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
OVERLAYS = sorted((ROOT / "config").glob("*.yaml"))


def merged(base, overlay):
    """As Snakemake merges a second config file: sections key by key, everything else replaced."""
    result = copy.deepcopy(base)
    for key, value in overlay.items():
        result[key] = (
            merged(result[key], value) if isinstance(value, dict) and isinstance(result.get(key), dict) else value
        )
    return result


def test_the_default_config_is_right():
    settings.check(CONFIG, SCHEMA)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_every_overlay_is_right(overlay):
    settings.check(merged(CONFIG, yaml.safe_load(overlay.read_text())), SCHEMA)


def test_config_and_schema_have_the_same_keys():
    schema = yaml.safe_load(SCHEMA.read_text())
    assert set(schema["properties"]) == set(schema["required"]) == set(CONFIG)
    for name, section in CONFIG.items():
        if isinstance(section, dict):
            rules = schema["properties"][name]
            assert set(rules["properties"]) == set(rules["required"]) == set(section), name
            assert rules["additionalProperties"] is False, name


def test_every_key_of_the_config_has_a_comment():
    section = ""
    for line in (ROOT / "config.yaml").read_text().splitlines():
        if re.match(r"^\w+:", line):
            section = line
        if re.match(r"^ +\w+:", line) or re.match(r"^\w+: \S", line):
            assert "#" in line or "#" in section, line


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["tisue"], {}, ["unknown key tisue", "did you mean tissue?"]),
        (["tiles", "sze"], 3, ["unknown key tiles.sze", "did you mean size?"]),
        (["tiles", "size"], "big", ["tiles.size", "'big'", "integer"]),
        (["tiles", "size"], 4, ["tiles.size", "minimum of 16"]),
        (["tissue", "combine"], "xor", ["tissue.combine", "'xor'", "and or or"]),
        (["encoders"], ["resnet51"], ["encoders.0", "resnet51"]),
        (["seed"], -1, ["seed", "-1"]),
        (["dataset"], "../up", ["dataset"]),
        (["training", "dropout"], 1.0, ["training.dropout"]),
        (["evaluation", "froc_mpp"], "wide", ["evaluation.froc_mpp", "'wide'", "give number or slide"]),
        (["training", "epochs"], 0, ["training.epochs", "0 is less than the minimum of 1"]),
        (["training", "epochs"], "automatic", ["training.epochs: 'automatic' is not known: give integer or auto"]),
        (["figures", "heatmaps"], "all", ["figures.heatmaps: 'all' is not known: give array or auto"]),
        (["dataset"], "demo\n", ["dataset", "control character"]),
        (["dataset"], "demo.", ["dataset", "'demo.'"]),
        (["features", "name"], "a\n", ["features.name", "control character"]),
        (["features", "name"], "a..", ["features.name", "'a..'"]),
        (["encoders"], ["resnet50\n"], ["encoders.0", "control character"]),
        (["encoders"], ["timm:" + "a" * 200], ["encoders.0", "too long"]),
        (["embedding", "weights"], {"a\nb": "x"}, ["embedding.weights", "control character"]),
        (["download", "reference_sha256"], "0" * 64 + "\n", ["download.reference_sha256", "control character"]),
        (["results"], "a\x00b", ["results", "control character"]),
        (["training", "learning_rate"], float("nan"), ["training.learning_rate", "nan", "not a finite number"]),
        (["training", "learning_rate"], float("inf"), ["training.learning_rate", "not a finite number"]),
        (["training", "learning_rate"], ".nan", ["training.learning_rate", "not a finite number"]),
        (["training", "learning_rate"], "nan", ["training.learning_rate", "not a finite number"]),
        (["training", "dropout"], [0.1, float("nan")], ["training.dropout.1", "not a finite number"]),
        (["embedding", "mean"], {"resnet50": [0.1, 0.2, -float("inf")]}, ["embedding.mean.resnet50.2", "finite"]),
    ],
)
def test_a_wrong_key_is_named_in_one_line(path, value, words):
    config = copy.deepcopy(CONFIG)
    place = config
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(UserError) as error:
        settings.check(config, SCHEMA)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_missing_key_is_named():
    config = copy.deepcopy(CONFIG)
    del config["tiles"]["mpp"]
    with pytest.raises(UserError, match=r"key tiles\.mpp is missing"):
        settings.check(config, SCHEMA)


def test_values_of_the_command_line_arrive_as_text_and_are_read_as_the_schema_wants():
    """``snakemake --config 'training={members: 50, hidden: [10]}'`` hands over strings."""
    config = copy.deepcopy(CONFIG)
    config["training"] |= {"members": "50", "hidden": ["20", "10"], "learning_rate": "1e-3", "bias": "true"}
    config["slides"] |= {"keep": "false", "root": "null"}
    config["evaluation"]["froc_mpp"] = "0.25"
    config["embedding"]["weights"] = {"resnet50": "5"}
    settings.check(config, SCHEMA)
    assert config["training"]["members"] == 50
    assert config["training"]["hidden"] == [20, 10]
    assert config["training"]["bias"] is True
    assert config["slides"]["keep"] is False
    assert config["slides"]["root"] is None
    assert config["evaluation"]["froc_mpp"] == 0.25
    assert config["embedding"]["weights"] == {"resnet50": "5"}, "text stays text where text is wanted"
    config["evaluation"]["froc_mpp"] = "slide"
    settings.check(config, SCHEMA)
    assert config["evaluation"]["froc_mpp"] == "slide"


@pytest.mark.parametrize("text", ["", "null"])
def test_an_empty_text_is_null_where_null_may_stand(text):
    """``--config 'slides={root: ""}'`` unsets the key; elsewhere an empty text stays one."""
    config = copy.deepcopy(CONFIG)
    config["slides"] |= {"root": text, "image": ""}
    settings.check(config, SCHEMA)
    assert config["slides"]["root"] is None
    assert config["slides"]["image"] == ""


def test_text_that_is_no_number_is_named_as_given():
    config = copy.deepcopy(CONFIG)
    config["training"]["members"] = "many"
    with pytest.raises(UserError, match=r"training\.members: 'many' is not of type integer"):
        settings.check(config, SCHEMA)
