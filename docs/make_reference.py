"""Write docs/reference/: every key of the config with type, default and comment, and every public function's docstring.

    python docs/make_reference.py

The first page comes from config/config.yaml and workflow/schemas/config.schema.yaml, the second from the syntax trees
of workflow/scripts/chowder. They are not committed: `make docs` writes them
and makes a site of all pages (mkdocs.yml).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "workflow" / "scripts" / "chowder"
HEAD = "<!-- Written by docs/make_reference.py; do not edit. -->\n\n"


def kind(schema: dict[str, Any]) -> str:
    """What values a schema takes, in a few words: ``integer, 1 or more``."""
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(kind(one) for one in schema[key])
    types = schema.get("type", "")
    name = " or ".join(types) if isinstance(types, list) else str(types)
    if name == "array":
        name = f"list of {kind(schema.get('items', {}))}".rstrip()
    for key, words in (
        ("minimum", "{} or more"),
        ("exclusiveMinimum", "more than {}"),
        ("maximum", "at most {}"),
        ("exclusiveMaximum", "less than {}"),
    ):
        if key in schema:
            name += ", " + words.format(schema[key])
    return name


def keys(text: str) -> Iterator[tuple[str, str, str]]:
    """(path, default as written, comment) of each key of the config, in order; sections have no default."""
    path: list[str] = []
    for line in text.splitlines():
        found = re.match(r"( *)([A-Za-z_0-9]+):(?: +(.*))?$", line)
        if not found:
            continue
        depth, rest = len(found[1]) // 2, found[3] or ""
        path[depth:] = [found[2]]
        value, comment = _cut(rest)
        yield ".".join(path), value, comment


def _cut(rest: str) -> tuple[str, str]:
    """The value and the comment behind a key; a # inside quotes belongs to the value."""
    if rest.startswith("#"):
        return "", rest[1:].strip()
    found = re.match(r"(\"[^\"]*\"|'[^']*'|.*?)(?:\s+#\s*(.*))?$", rest)
    assert found
    return found[1].strip(), (found[2] or "").strip()


def cell(text: str) -> str:
    """Text for a cell of a Markdown table. ``<dataset>`` is not a tag, but for code, which is shown as it is."""
    text = re.sub(r"\s+", " ", text).replace("|", "\\|").strip()
    return "`".join(part if place % 2 else part.replace("<", "&lt;") for place, part in enumerate(text.split("`")))


def config_page(config: str, schema: dict[str, Any]) -> str:
    """The page of the config's keys."""
    defaults = yaml.safe_load(config)
    lines = ["# Every key of the config", ""]
    lines += ["Defaults and comments are those of `config/config.yaml`, values those of its schema.", ""]
    opened = None
    for path, _, comment in keys(config):
        section, _, name = path.partition(".")
        if section != opened and isinstance(defaults[section], dict):
            lines += [
                "",
                f"## {section}",
                "",
                f"{comment}\n" if comment and not name else "",
                "| key | default | values | |",
            ]
            lines += ["|---|---|---|---|"]
        elif not name and opened != "":
            lines += [f"## {section}", "", "| key | default | values | |", "|---|---|---|---|"]
        opened = section
        if not name and isinstance(defaults[section], dict):
            continue
        part, value = schema, defaults
        for step in path.split("."):
            part, value = part.get("properties", {}).get(step, {}), value[step]
        shown = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
        lines.append(f"| `{path}` | `{cell(shown)}` | {cell(kind(part))} | {cell(comment)} |")
        if not name:
            lines.append("")
    return HEAD + re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    """How a function is called, or a class is made, without the annotations."""
    function = node
    if isinstance(node, ast.ClassDef):
        function = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if function is None:
            return node.name
    arguments = ast.unparse(_bare(function.args))
    return f"{node.name}({re.sub('^self(, )?', '', arguments)})"


def _bare(arguments: ast.arguments) -> ast.arguments:
    for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if one is not None:
            one.annotation = None
    return arguments


def library_page(folder: Path) -> str:
    """The page of the public functions and classes of each module."""
    lines = ["# The library", "", "What each module of `workflow/scripts/chowder` offers, from its docstrings.", ""]
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__")
        public = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        ]
        if not public:
            continue
        lines += [f"## {name}", "", ast.get_docstring(tree) or "", ""]
        for node in public:
            lines += [f"### `{signature(node)}`", "", "```text", ast.get_docstring(node) or "(no docstring)", "```", ""]
    return HEAD + "\n".join(lines)


def decisions_page(folder: Path) -> str:
    """The list of decisions, by their titles."""
    lines = ["# Decisions", "", "What was chosen, what else was tried, and why.", ""]
    for path in sorted(folder.glob("*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").strip()
        lines.append(f"* [{title}](../decisions/{path.name})")
    return HEAD + "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """Each page's path and text."""
    config = (ROOT / "config" / "config.yaml").read_text(encoding="utf-8")
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text(encoding="utf-8"))
    folder = ROOT / "docs" / "reference"
    return {
        folder / "config.md": config_page(config, schema),
        folder / "library.md": library_page(LIBRARY),
        folder / "decisions.md": decisions_page(ROOT / "docs" / "decisions"),
    }


def main() -> None:
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
