"""Fingerprints of code: one short text that changes when a program, or a module it executes, may give another result.

Snakemake tracks neither imported modules nor their content, so every rule takes the fingerprint of its program as a
parameter. It is a sha256 over syntax trees: comments, docstrings, layout and what stands under ``if TYPE_CHECKING:``
do not count. Which modules a program executes is read from its imports; nothing is run. Only the standard library is
imported, because the Snakefile asks for fingerprints while it is parsed.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "chowder"
LENGTH = 20  # hexadecimal digits, 80 bits


def of(program: str | os.PathLike, also: Iterable[str] = (), tables: Iterable[str] = ()) -> str:
    """Return the fingerprint of a program and of all library modules that it executes.

    Parameters
    ----------
    program : path of the script; the package ``chowder`` is the folder of that name beside it.
    also : dotted names of modules that the program reaches by a name in a string, for example the estimators of
        ``chowder.models.kinds``. What they import counts too.
    tables : dotted names of modules that do not count: they only list things by name, and the caller puts the entries
        that a job uses beside the fingerprint.

    Errors: ``ValueError`` for an import that cannot be followed (see :func:`modules`), ``OSError`` and ``SyntaxError``
    for a file that cannot be read.
    """
    files = modules(program, also)
    return _combined({"": Path(program)} | {name: path for name, path in files.items() if name not in set(tables)})


def of_modules(names: Iterable[str]) -> str:
    """Return the fingerprint of library modules, given by dotted names, and of all that they execute."""
    return _combined(_closure([], names, Path(__file__).parent.parent))


def of_only(names: Iterable[str], stated: Mapping[str, str] | None = None) -> str:
    """Return the fingerprint of these library modules alone, given by dotted names, without what they import.

    ``stated``: names of further modules, with the digest to take for each instead of that of its present code.
    """
    folder = Path(__file__).parent.parent
    return _combined({name: _file(folder, f"{PACKAGE}.{name}") for name in names}, stated)


def of_texts(paths: Iterable[str | os.PathLike]) -> str:
    """Return the fingerprint of files that are not code: of their names and contents, not of where they lie."""
    sums = [f"{Path(path).name} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}" for path in paths]
    return hashlib.sha256("\n".join(sums).encode()).hexdigest()[:LENGTH]


def modules(program: str | os.PathLike, also: Iterable[str] = ()) -> dict[str, Path]:
    """Return the library modules that a program executes, directly or not: dotted name to file, sorted by name.

    Imports inside functions count, because the function may be called. Imports under ``if TYPE_CHECKING:`` do not.
    ``chowder/__init__.py`` does not count: it only offers names to notebooks, which the library must not use itself.
    Parameters as for :func:`of`.

    Errors: ``ValueError`` when a module takes a name from a package that is neither a module of it nor defined there,
    because nobody could tell which code stands behind the name.
    """
    return _closure([Path(program)], also, Path(program).parent)


@dataclass(frozen=True)
class _Source:
    """What is known of one file: a digest of its syntax tree, its import statements, and the names it defines."""

    digest: str
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]  # (level, module, names); names () for `import module`
    names: frozenset[str]


_known: dict[tuple[str, int, int], _Source] = {}
_remembered: dict[str, _Source] = {}  # by the sha256 of a file's bytes
_used: set[str] = set()  # those of this process's files
_parsed = 0  # files that were parsed in this process


def remember(path: str | os.PathLike) -> None:
    """Take what is known of files from ``path`` (JSON), and write it there at the end of the process.

    Parsing all modules takes a second. An entry is found by the sha256 of a file's bytes, so it never stands for other
    code; a file made by another version of this module or of Python, or that cannot be read, counts for nothing.
    """
    path, maker = Path(path), f"{sys.version_info[:2]} {hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}"
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        if noted["by"] == maker:
            for key, (digest, imports, names) in noted["files"].items():
                taken = tuple((level, module, tuple(some)) for level, module, some in imports)
                _remembered[key] = _Source(str(digest), taken, frozenset(names))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    before = len(_remembered)
    atexit.register(_note, path, maker, before)


def _note(path: Path, maker: str, before: int) -> None:
    if len(_remembered) == before:
        return
    kept = _remembered if len(_remembered) < 1000 else {key: _remembered[key] for key in _used}
    files = {key: (one.digest, one.imports, sorted(one.names)) for key, one in kept.items()}
    scratch = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps({"by": maker, "files": files}), encoding="utf-8")
        scratch.replace(path)
    except OSError:  # a folder that cannot be written to: the next process parses again
        with contextlib.suppress(OSError):
            scratch.unlink()


def _source(path: Path) -> _Source:
    global _parsed
    state = os.stat(path)
    key = (str(path), state.st_mtime_ns, state.st_size)
    if key not in _known:
        content = path.read_bytes()
        name = hashlib.sha256(content).hexdigest()
        if name not in _remembered:
            _parsed += 1
            tree = ast.parse(content, filename=str(path))
            parts: list[str] = []
            _write(_cleaned(tree), parts)
            digest = hashlib.sha256("".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
            _remembered[name] = _Source(digest, tuple(_imports(tree)), frozenset(_defined(tree)))
        _used.add(name)
        _known[key] = _remembered[name]
    return _known[key]


def _combined(files: dict[str, Path], stated: Mapping[str, str] | None = None) -> str:
    digests = {name: _source(path).digest for name, path in files.items()} | dict(stated or {})
    lines = [f"{name} {digest}" for name, digest in sorted(digests.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:LENGTH]


# --- syntax trees -----------------------------------------------------------------------------------------------------


def _cleaned(tree: ast.Module) -> ast.Module:
    """``tree``, in place, without statements that do nothing (docstrings, ``pass``) and ``if TYPE_CHECKING:``."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                setattr(node, field, [kept for statement in block for kept in _kept(statement)])
    return tree


def _kept(statement: ast.stmt) -> list[ast.stmt]:
    if isinstance(statement, ast.Pass):
        return []
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return []
    if isinstance(statement, ast.If) and _type_checking(statement.test):
        return [kept for inner in statement.orelse for kept in _kept(inner)]
    return [statement]


def _type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _write(node: object, parts: list[str]) -> None:
    """Append ``node`` as text that does not depend on the version of Python.

    ``ast.dump`` gives new fields and defaults with some versions. Here a field that is empty is left out, so that a
    field that a later Python adds (type parameters, for example) changes nothing until it is used.
    """
    if isinstance(node, ast.AST):
        parts.append(type(node).__name__)
        parts.append("(")
        for field in node._fields:
            value = getattr(node, field, None)
            if field in ("ctx", "kind", "type_comment"):
                continue
            if (value is None or value == []) and not isinstance(node, ast.Constant):
                continue
            parts.append(field)
            parts.append("=")
            _write(value, parts)
        parts.append(")")
    elif isinstance(node, list):
        parts.append("[")
        for item in node:
            _write(item, parts)
            parts.append(",")
        parts.append("]")
    else:
        parts.append(f"{type(node).__name__}:{node!r};")


# --- imports ----------------------------------------------------------------------------------------------------------


def _imports(node: ast.AST) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield 0, alias.name, ()
    elif isinstance(node, ast.ImportFrom):
        yield node.level, node.module or "", tuple(alias.name for alias in node.names)
    elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__") and node.args:
        yield 0, str(getattr(node.args[0], "value", "")), ()
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _defined(tree: ast.Module) -> Iterator[str]:
    """Names that the top level of a module binds."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        else:
            yield from (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _closure(programs: list[Path], also: Iterable[str], folder: Path) -> dict[str, Path]:
    """Dotted names and files of all modules that ``programs`` and the modules ``also`` execute."""
    found: dict[str, Path] = {}
    queue: list[tuple[str, Path]] = [("", program) for program in programs]

    def execute(name: str, by: str) -> None:
        """Note the module ``name`` and the packages around it."""
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            part = ".".join(parts[:end])
            path = _file(folder, part)
            if path is None:
                raise ValueError(f"{by}: imports {name}, and {part} is no module below {folder}: mend the import")
            if part != PACKAGE and part not in found:
                found[part] = path
                queue.append((part, path))

    for name in also:
        execute(name, "also")
    while queue:
        importer, path = queue.pop()
        around = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
        for level, target, names in _source(path).imports:
            if level:
                above = around.split(".")
                base = ".".join([*above[: len(above) - level + 1], *([target] if target else [])])
            elif target.partition(".")[0] == PACKAGE or (folder / f"{target}.py").is_file():
                base = target
            else:
                continue
            execute(base, str(path))
            origin = _file(folder, base)
            for name in names:
                if _file(folder, f"{base}.{name}"):
                    execute(f"{base}.{name}", str(path))
                elif origin.name == "__init__.py" and (base == PACKAGE or name not in _source(origin).names):
                    raise ValueError(f"{path}: takes {name} from the package {base}: import it from its own module")
    return dict(sorted(found.items()))


def _file(folder: Path, name: str) -> Path | None:
    """Return the file of a module or package, None where there is none."""
    path = folder.joinpath(*name.split("."))
    for candidate in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None
