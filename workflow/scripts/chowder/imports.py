"""Which files a script's result depends on: the script and every library module it imports, directly or not.

Snakemake tracks neither imported modules nor their content, so the rules take these files as inputs. Reading the
imports from the source keeps the list true without anybody keeping it.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


def modules_of(script: Path, also: tuple[str, ...] = (), package: str = "chowder") -> list[Path]:
    """The library modules that ``script`` needs, transitively, as sorted paths beside it (``<folder>/<package>/x.py``).

    Imports inside functions count too. ``also`` names modules that the script reaches by name only (the estimators of
    ``chowder.methods``). Standard library only: the Snakefile calls this at parse time.
    """
    folder = script.parent / package
    found = {folder / f"{name}.py" for name in also}
    queue = [script, *found]
    while queue:
        for name in _imports(queue.pop(), package):
            module = folder / f"{name}.py"
            if module.is_file() and module not in found:
                found.add(module)
                queue.append(module)
    return sorted(found)


@cache
def _imports(path: Path, package: str) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            names.update([node.module.split(".")[0]] if node.module else [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            names.update(a.name.split(".")[1] for a in node.names if a.name.startswith(f"{package}."))
    return frozenset(names)
