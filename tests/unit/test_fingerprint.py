"""Fingerprints change with what code does and with nothing else; the modules they cover are those really executed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chowder import fingerprint

SCRIPTS = Path(fingerprint.__file__).parents[1]
PROGRAMS = sorted(SCRIPTS.glob("*.py"))
TABLE = Path(__file__).with_name("modules_of_programs.txt")


HEAD = """\
# Library modules (below chowder) that each program executes. Held in both directions by test_fingerprint.py.
# To write it again: PYTHONPATH=workflow/scripts python tests/unit/test_fingerprint.py, then read the difference.
"""


def short(names):
    return sorted(name.removeprefix("chowder.") for name in names)


def line(program):
    return f"{program.stem}: {' '.join(short(fingerprint.modules(program)))}"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_modules_of_every_program_are_those_of_the_table(program):
    """A module that is missing leaves results stale, a superfluous one reruns what has not changed: look at both."""
    assert line(program) in TABLE.read_text().splitlines(), f"{TABLE.name} lacks this line, if it is meant"


def test_the_table_names_no_program_that_is_gone():
    names = [text.split(":")[0] for text in TABLE.read_text().removeprefix(HEAD).splitlines()]
    assert names == [path.stem for path in PROGRAMS]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_every_module_that_python_loads_is_listed(program):
    code = (
        "import sys, runpy; runpy.run_path(sys.argv[1], run_name='not_main');"
        "print(*[n for n, m in sys.modules.items() if n.startswith('chowder.')], sep='\\n')"
    )
    environment = {"PYTHONPATH": str(SCRIPTS), "PATH": ""}
    command = [sys.executable, "-c", code, str(program)]
    result = subprocess.run(command, cwd=SCRIPTS, env=environment, capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert loaded, "a program that uses nothing of the library hides science"
    assert loaded <= set(fingerprint.modules(program))


@pytest.fixture
def house(tmp_path):
    """A small library with packages; ``house({...})`` writes files and returns the program's path."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "program.py"

    write({"chowder/__init__.py": "", "program.py": ""})
    return write


def test_imports_of_every_form_count(house):
    program = house(
        {
            "program.py": "from chowder.a import b\nimport os\n",
            "chowder/a.py": "import chowder.b\n",
            "chowder/b.py": "def f():\n    from chowder import c\n    return c\n",
            "chowder/c.py": "from . import d\n",
            "chowder/d.py": "from .e import x\n",
            "chowder/e.py": "import importlib\nx = importlib.import_module('chowder.named')\n",
            "chowder/named.py": "",
            "chowder/unused.py": "",
        }
    )
    assert short(fingerprint.modules(program)) == ["a", "b", "c", "d", "e", "named"]


def test_packages_are_followed_with_what_their_init_executes(house):
    program = house(
        {
            "program.py": "from chowder.models.trainer import fit\n",
            "chowder/models/__init__.py": "from .shared import thing\n",
            "chowder/models/shared.py": "thing = 1\n",
            "chowder/models/trainer.py": "from ..data import cohort\nfrom . import networks\nfit = cohort, networks\n",
            "chowder/models/networks.py": "",
            "chowder/data/__init__.py": '"""Data."""\n',
            "chowder/data/cohort.py": "from chowder.models.networks import thing\n",
        }
    )
    expected = ["data", "data.cohort", "models", "models.networks", "models.shared", "models.trainer"]
    assert short(fingerprint.modules(program)) == expected


def test_a_program_beside_it_counts(house):
    program = house({"program.py": "import helper\n", "helper.py": "from chowder import a\n", "chowder/a.py": ""})
    assert list(fingerprint.modules(program)) == ["chowder.a", "helper"]


@pytest.mark.parametrize(
    "text",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from chowder import a\n",
        "import typing\nif typing.TYPE_CHECKING:\n    import chowder.a\nelse:\n    import chowder.b\n",
    ],
)
def test_imports_for_type_checkers_do_not_count(house, text):
    program = house({"program.py": text, "chowder/a.py": "", "chowder/b.py": ""})
    assert "a" not in short(fingerprint.modules(program))
    assert ("chowder.b" in fingerprint.modules(program)) == ("chowder.b" in text)


def test_modules_named_in_strings_are_given_by_hand(house):
    program = house({"chowder/__init__.py": "", "chowder/a.py": "import chowder.b\n", "chowder/b.py": ""})
    assert fingerprint.modules(program) == {}
    assert short(fingerprint.modules(program, ["chowder.a"])) == ["a", "b"]
    assert fingerprint.of(program) != fingerprint.of(program, ["chowder.a"])


def test_tables_of_names_do_not_count(house):
    """The caller puts the entry that a job uses beside the fingerprint, so that another entry changes nothing."""
    program = house({"program.py": "from chowder import kinds\n", "chowder/kinds.py": "KINDS = {1: 'a'}\n"})
    counted, without = fingerprint.of(program), fingerprint.of(program, tables=["chowder.kinds"])
    house({"chowder/kinds.py": "KINDS = {1: 'a', 2: 'b'}\n"})
    assert fingerprint.of(program) != counted
    assert fingerprint.of(program, tables=["chowder.kinds"]) == without


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("from chowder import Bags\n", "takes Bags from the package chowder"),
        ("from chowder.p import lazy\n", "takes lazy from the package chowder.p"),
        ("import chowder.nowhere\n", "chowder.nowhere is no module"),
    ],
)
def test_an_import_that_cannot_be_followed_is_an_error(house, text, words):
    """A name that a package makes up when it is asked for would hide the code behind it."""
    program = house({"program.py": text, "chowder/__init__.py": "Bags = 1\n", "chowder/p/__init__.py": "known = 1\n"})
    with pytest.raises(ValueError, match=words):
        fingerprint.modules(program)


BASE = "def f(x):\n    y = x + 1\n    return y\n"


@pytest.mark.parametrize(
    "same",
    [
        "# a comment\n" + BASE,
        BASE + "# at the end\n",
        '"""A docstring."""\n' + BASE,
        'def f(x):\n    """What it does."""\n    y = x + 1\n    return y\n',
        "def f(\n    x,\n):\n\n    y = (x + 1)  # layout\n    return y\n",
        "if TYPE_CHECKING:\n    import torch\n" + BASE,
    ],
)
def test_comments_docstrings_and_layout_change_nothing(house, same):
    before = fingerprint.of(house({"program.py": "import chowder.a\n", "chowder/a.py": BASE}))
    assert fingerprint.of(house({"chowder/a.py": same})) == before


@pytest.mark.parametrize(
    "other",
    [
        BASE.replace("1", "2"),
        BASE.replace("1", "1.0"),
        BASE.replace("+", "-"),
        BASE.replace("x + 1", "x + y"),
        BASE.replace("def f(x)", "def g(x)"),
        BASE.replace("def f(x)", "def f(x=None)"),
        BASE.replace("def f(x)", "def f(*x)"),
        BASE.replace("    return y\n", ""),
        BASE.replace("return y", "yield y"),
        BASE + "f(1)\n",
        BASE + "text = 'words'\n",
    ],
)
def test_what_the_code_does_changes_the_fingerprint(house, other):
    program = house({"program.py": "import chowder.a\n", "chowder/a.py": BASE})
    before = fingerprint.of(program)
    house({"chowder/a.py": other})
    assert fingerprint.of(program) != before
    house({"chowder/a.py": BASE})
    assert fingerprint.of(program) == before, "and back"


def test_constants_that_look_alike_are_told_apart(house):
    values = ["1", "1.0", "True", "'1'", "b'1'", "None", "...", "1j", "'None'", "[]", "()", "f'{x}'", "f'{x!r}'", "-1"]
    assert len({fingerprint.of(house({"program.py": f"x = {value}\n"})) for value in values}) == len(values)


def test_a_file_that_moves_or_is_touched_keeps_its_fingerprint(house, tmp_path):
    program = house({"program.py": "import chowder.a\n", "chowder/a.py": BASE})
    before = fingerprint.of(program)
    os.utime(tmp_path / "chowder/a.py", (1, 1))
    assert fingerprint.of(program) == before
    shutil.copytree(tmp_path, tmp_path / "elsewhere")
    assert fingerprint.of(tmp_path / "elsewhere/program.py") == before


def test_the_text_that_is_hashed_does_not_depend_on_the_version_of_python(house):
    """Written down once: a Python whose syntax trees have other fields or defaults must come to the same digest."""
    text = (
        "from __future__ import annotations\nimport os as o\n@d(1)\nclass A(B, k=2):\n    x: int = 3\n"
        "def f(a, /, b=1, *c, d, **e) -> str:\n    async def g():\n        await h\n    return f'{a!r:>{b}} {c}'\n"
        "with a as b, c:\n    x[1:2, ...] = {**y, 'k': lambda z: z if z else not z}\n"
        "try:\n    del p\nexcept (E, F) as e:\n    raise G from e\nelse:\n    assert q, 'm'\nfinally:\n    global r\n"
        "match s:\n    case {'t': [1, *_], **u} if v:\n        w = yield\n"
        "    case P(1, o=None) | None:\n        w @= 1\n"
        "x = [i for i in range(3) if i < 2 <= 3 if (n := i)]\nwhile True:\n    break\n"
    )
    assert fingerprint.of(house({"program.py": text})) == "2df2551ba1128afbec87"


def test_library_modules_have_fingerprints_of_their_own():
    one, two = fingerprint.of_modules(["chowder.slides.tissue"]), fingerprint.of_modules(["chowder.evaluation.froc"])
    assert one != two
    assert one == fingerprint.of_modules(["chowder.slides.tissue", "chowder.files"]), (
        "what a module executes counts anyway"
    )
    assert len(one) == fingerprint.LENGTH


def test_nobody_in_the_library_uses_the_names_that_the_package_offers_to_notebooks():
    """``chowder/__init__.py`` stands outside every fingerprint, so nothing may depend on it."""
    for path in [*PROGRAMS, *(SCRIPTS / "chowder").rglob("*.py")]:
        name = ".".join(path.relative_to(SCRIPTS).with_suffix("").parts)
        if path.parent != SCRIPTS and path.name != "__init__.py":
            fingerprint.of_modules([name])


def remembering(shelf, program):
    """(fingerprint, files parsed) of a program in a process of its own that takes and leaves notes in ``shelf``."""
    code = "import sys; from chowder import fingerprint as f; f.remember(sys.argv[1]); "
    code += "print(f.of(sys.argv[2]), f._parsed)"
    command = [sys.executable, "-c", code, str(shelf), str(program)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    digest, parsed = done.stdout.split()
    return digest, int(parsed)


def test_what_is_known_of_files_is_remembered_by_their_content_alone(tmp_path):
    shelf, scripts = tmp_path / "made" / "code.json", tmp_path / "scripts"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    program = scripts / "tiles.py"
    first, parsed = remembering(shelf, program)
    assert first == fingerprint.of(program) and parsed > 5
    assert remembering(shelf, program) == (first, 0)
    grid, state = scripts / "chowder" / "slides" / "grid.py", os.stat(scripts / "chowder" / "slides" / "grid.py")
    text = grid.read_text()
    changed = text.replace("\n    return ", "\n    assert ", 1)
    assert len(changed) == len(text) and changed != text
    grid.write_text(changed)  # as long as before and as old: only the content tells
    os.utime(grid, ns=(state.st_atime_ns, state.st_mtime_ns))
    other, parsed = remembering(shelf, program)
    assert other != first and parsed == 1
    grid.write_text(text)
    assert remembering(shelf, program) == (first, 0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"by": "another", "files": {}}', '{"by": 1}', "\0"])
def test_notes_that_are_damaged_or_of_another_version_count_for_nothing(tmp_path, text):
    shelf = tmp_path / "code.json"
    shelf.write_text(text)
    digest, parsed = remembering(shelf, SCRIPTS / "tiles.py")
    assert digest == fingerprint.of(SCRIPTS / "tiles.py") and parsed > 5
    assert remembering(shelf, SCRIPTS / "tiles.py")[1] == 0  # they were written again


def test_a_folder_that_cannot_be_written_to_costs_time_only(tmp_path):
    (tmp_path / "file").touch()
    digest, parsed = remembering(tmp_path / "file" / "code.json", SCRIPTS / "tiles.py")
    assert digest == fingerprint.of(SCRIPTS / "tiles.py") and parsed > 5


if __name__ == "__main__":
    TABLE.write_text(HEAD + "".join(f"{line(program)}\n" for program in PROGRAMS))
