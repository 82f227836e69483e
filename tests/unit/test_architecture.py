"""The library's rooms import downwards only, without circles, in modules of readable size (docs/architecture.md)."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from chowder import fingerprint

LIBRARY = Path(fingerprint.__file__).parent
ROOT = LIBRARY.parents[2]
MODULES = {
    ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(LIBRARY.rglob("*.py"))
}
# From the ground up. A module may import from its own room and from the floors below it.
FLOORS = (
    {"orphan"},
    {"files", "seeds", "fingerprint"},
    {"progress", "machine", "settings", "lock", "failures"},
    {"data", "slides"},
    {"features"},
    {"models", "evaluation"},
    {"report", "preflight"},
    {"doctor"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
LONGEST = 420  # lines


def room(module: str) -> str:
    return module.split(".")[1]


def imports(tree: ast.AST) -> Iterator[str]:
    """Modules of the library that a syntax tree imports anywhere, also inside functions and for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not used here"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in MODULES or node.module in MODULES:
                    yield name if name in MODULES else node.module


def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


class Executed(ast.NodeTransformer):
    """Without what only type checkers read."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse
        return self.generic_visit(node)


def below(importer: str, imported: str) -> bool:
    return room(importer) == room(imported) or FLOOR[room(imported)] < FLOOR[room(importer)]


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"chowder"}))
def test_a_module_imports_from_its_own_room_and_from_floors_below(module):
    assert room(module) in FLOOR, "a new room needs a floor here and a line in docs/architecture.md"
    wrong = [name for name in imports(parsed(module)) if name == "chowder" or not below(module, name)]
    assert not wrong, f"{module} imports {', '.join(wrong)}, which is not below it"


def test_no_import_circle():
    graph = {name: set(imports(Executed().visit(parsed(name)))) for name in set(MODULES) - {"chowder"}}
    assert sum(map(len, graph.values())) > 80  # the imports are really seen
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_the_library_knows_nothing_of_snakemake():
    for module in MODULES:
        for node in ast.walk(parsed(module)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.partition(".")[0] == "snakemake" for name in names), module


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_is_short_and_says_what_it_is(module):
    text = MODULES[module].read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST
    assert ast.get_docstring(ast.parse(text)), f"{module} has no docstring"


def test_the_page_on_architecture_names_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)[/.]", page, re.MULTILINE)) == set(FLOOR)


def test_modules_that_the_docs_name_exist():
    """Paths such as ``models/trainer.py`` in the docs are modules of the library or tests of them."""
    pattern = r"`(?:chowder/)?((?:data|slides|features|models|evaluation|report)/[\w/]+\.py)`"
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    named = [(page.name, path) for page in pages for path in re.findall(pattern, page.read_text(encoding="utf-8"))]
    assert len(named) > 20
    folders = (LIBRARY, ROOT / "tests" / "unit")
    assert not [pair for pair in named if not any((folder / pair[1]).is_file() for folder in folders)]
