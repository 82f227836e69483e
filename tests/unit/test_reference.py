"""The reference is made from schema, config and docstrings: every key and every public function stands in it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
make_reference = importlib.util.module_from_spec(spec)
sys.modules["make_reference"] = make_reference
spec.loader.exec_module(make_reference)


def leaves(schema, path=""):
    for name, part in schema.get("properties", {}).items():
        yield from leaves(part, f"{path}.{name}".lstrip("."))
    if path and not schema.get("properties"):
        yield path


def test_every_key_of_the_schema_is_on_the_page_with_its_default_and_a_comment():
    page = next(text for path, text in make_reference.pages().items() if path.name == "config.md")
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert set(rows) == set(leaves(schema))
    assert "| `1802` | integer, 0 or more |" in rows["seed"]
    assert "`simulated`, `table`, `camelyon16`, `features`" in rows["slides.source"]


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("3 # paper", ("3", "paper")),
        ('"a # b" # c', ('"a # b"', "c")),
        ("# only a comment", ("", "only a comment")),
        ("[1, 2]", ("[1, 2]", "")),
    ],
)
def test_value_and_comment_are_told_apart(rest, expected):
    assert make_reference._cut(rest) == expected


def test_values_are_described_in_words():
    assert make_reference.kind({"type": "integer", "minimum": 2, "maximum": 20}) == "integer, 2 or more, at most 20"
    assert make_reference.kind({"anyOf": [{"const": "auto"}, {"type": "number"}]}) == "`auto` or number"
    assert make_reference.kind({"type": "array", "items": {"type": "string"}}) == "list of string"


def test_public_functions_are_listed_with_their_docstrings(tmp_path):
    package = tmp_path / "chowder"
    package.mkdir()
    (package / "x.py").write_text(
        '"""Room."""\n\n\ndef f(a: int, *, b: str = "c") -> None:\n    """Do it."""\n\n\ndef _g():\n    pass\n\n\n'
        'class K:\n    """A thing."""\n\n    def __init__(self, size: int):\n        pass\n'
    )
    page = make_reference.library_page(package)
    assert "### `f(a, *, b='c')`" in page and "Do it." in page and "### `K(size)`" in page and "_g" not in page


def test_a_cell_shows_pointed_brackets_and_bars():
    assert make_reference.cell("to results/<dataset>/ |\n `a<b`") == "to results/&lt;dataset>/ \\| `a<b`"


def test_the_site_is_built_without_a_network_and_a_link_that_leads_nowhere_fails_it(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    for path, text in make_reference.pages().items():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(text)
    build = [sys.executable, "-m", "mkdocs", "build"]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(build, cwd=tmp_path, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    start = (tmp_path / "site" / "index.html").read_text()
    assert "operations.html" in start and not re.search(r'(?:src|<link[^>]*href)="(?:https?:)?//', start)
    (tmp_path / "docs" / "index.md").write_text(
        "# Start\n[nowhere](operatoins.md) [no heading](operations.md#nothing)\n"
    )
    done = subprocess.run(build, cwd=tmp_path, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode and "operatoins.md" in done.stderr and "#nothing" in done.stderr
