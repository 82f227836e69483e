"""The parts of the summary page: plain HTML in which everything is embedded."""

from __future__ import annotations

import base64
import platform
import re
from collections.abc import Sequence
from html import escape
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

from chowder import table
from chowder.files import UserError

PACKAGES = [
    "snakemake",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scikit-learn",
    "pyvips",
    "openslide-python",
    "matplotlib",
]
STYLE = "figure{margin:1.5rem 0}figure img{max-width:100%;height:auto}figcaption{max-width:60rem;color:#3c444d}"
STYLE += "h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}pre{background:#f6f8fa;padding:1rem;overflow-x:auto}"


def read_config(path: str | Path) -> dict:
    """The config of the run, from YAML."""
    import yaml

    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({str(error).splitlines()[0]}); make it again") from None


def table_of(path: str | Path) -> str:
    """What benchmark.html shows, without its title."""
    found = re.search(r"<main>\s*<h1>.*?</h1>(.*)</main>", Path(path).read_text(encoding="utf-8"), re.DOTALL)
    if not found:
        raise UserError(f"{path}: is no page of the benchmark table; make it again")
    return found[1]


def caption(stem: str, folder: Path | None, config: dict) -> str:
    """A figure's caption as HTML: the report's text for that kind of figure, filled in as the report does."""
    kinds = sorted((path.stem for path in folder.glob("*.rst")), key=len, reverse=True) if folder else []
    kind = next((kind for kind in kinds if stem == kind or stem.startswith(f"{kind}_")), None)
    if not kind or not config:
        return escape(stem)
    from docutils.core import publish_parts
    from jinja2 import Environment

    # <kind>_<encoder>_<method>_<slide>: names of encoders and methods may hold underscores: the config knows them.
    rest = stem.removeprefix(kind).strip("_")
    encoders = [re.sub(r"[:/]", "-", name) for name in config.get("encoders", [])]
    encoder = next((name for name in encoders if rest == name or rest.startswith(f"{name}_")), "")
    rest = rest.removeprefix(encoder).strip("_")
    names = sorted(config.get("methods", []), key=len, reverse=True)
    method = next((name for name in names if rest.startswith(f"{name}_")), "")
    wildcards = SimpleNamespace(encoder=encoder, method=method, slide=rest.removeprefix(method).strip("_"))
    environment = Environment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / f"{kind}.rst").read_text(encoding="utf-8"))
    text = template.render(snakemake=SimpleNamespace(config=config, wildcards=wildcards))
    return publish_parts(text, writer="html", settings_overrides={"file_insertion_enabled": False})["body"]


def figures_of(paths: Sequence[Path], captions: Path | None, config: dict) -> str:
    """The figures as embedded PNG with their captions."""
    parts = []
    for path in paths:
        data = base64.b64encode(path.read_bytes()).decode()
        picture = f'<img alt="{escape(path.stem)}" src="data:image/png;base64,{data}">'
        parts.append(f"<figure>{picture}<figcaption>{caption(path.stem, captions, config)}</figcaption></figure>")
    return "\n".join(parts) or "<p>No figures.</p>"


def warnings_of(records: Sequence[Path], annotations: Sequence[Path]) -> str:
    """Every warning of tissue detection and of annotations, with its slide."""
    from chowder.annotations import read_asap

    lines = []
    for path in records:
        lines += [f"{path.stem}: tissue: {text}" for text in table.read_json(path).get("warnings") or []]
    for path in annotations:
        read = read_asap(path)
        lines += [f"{path.stem}: annotation: {text}" for text in read.warnings]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    read = f"{len(records)} tissue records and {len(annotations)} annotations were looked at."
    return f"<p>{read}</p>" + (f"<ul>{items}</ul>" if items else "<p>No warnings.</p>")


def config_of(config: dict) -> str:
    """The config as YAML."""
    import yaml

    if not config:
        return "<p>Not given.</p>"
    return f"<pre>{escape(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))}</pre>"


def versions() -> str:
    """Python and the packages that results depend on, as far as they are installed."""
    rows = [("python", platform.python_version())]
    for name in PACKAGES:
        try:
            rows.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return "<ul>" + "".join(f"<li>{escape(name)} {escape(version)}</li>" for name, version in rows) + "</ul>"


def page(title: str, parts: Sequence[tuple[str, str]]) -> str:
    """The page with a heading a part and links to them."""
    links = " · ".join(f'<a href="#{name.lower()}">{escape(name)}</a>' for name, _ in parts)
    body = "\n".join(f'<h2 id="{name.lower()}">{escape(name)}</h2>\n{html}' for name, html in parts)
    return table.page(title, f"<h1>{escape(title)}</h1>\n<nav>{links}</nav>\n{body}", STYLE)
