"""The inputs that stand for code are the modules really imported, found without running anything."""

import subprocess
import sys
from pathlib import Path

import pytest

from chowder import imports

SCRIPTS = Path(imports.__file__).parents[1]
PROGRAMS = sorted(SCRIPTS.glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_every_module_that_python_loads_is_listed(program):
    code = (
        "import sys, runpy; runpy.run_path(sys.argv[1], run_name='not_main');"
        "print(*[m.__file__ for n, m in sys.modules.items() if n.startswith('chowder.')], sep='\\n')"
    )
    environment = {"PYTHONPATH": str(SCRIPTS), "PATH": ""}
    command = [sys.executable, "-c", code, str(program)]
    result = subprocess.run(command, cwd=SCRIPTS, env=environment, capture_output=True, text=True, check=True)
    loaded = {Path(line).resolve() for line in result.stdout.split()}
    listed = {path.resolve() for path in imports.modules_of(program)}
    assert loaded, "a program that uses nothing of the library hides science"
    assert loaded <= listed


def test_imports_inside_functions_and_of_every_form_count(tmp_path):
    package = tmp_path / "chowder"
    package.mkdir()
    for name, text in {
        "a": "import chowder.b\n", "b": "def f():\n    from chowder import c\n", "c": "from . import d\n",
        "d": "from .e import x\n", "e": "x = 1\n", "unused": "",
    }.items():  # fmt: skip
        (package / f"{name}.py").write_text(text)
    program = tmp_path / "program.py"
    program.write_text("from chowder.a import b\nimport os\n")
    assert [p.stem for p in imports.modules_of(program)] == ["a", "b", "c", "d", "e"]
