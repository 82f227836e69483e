"""Figures with their captions, embedded in a page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from types import SimpleNamespace

from chowder.files import UserError

#: kind of figure: the heading it is under
CATEGORIES = {
    "matrix": "Encoders and methods",
    "curves": "Curves",
    "layout": "Curves",
    "bands": "Curves",
    "auc_r": "Curves",
    "ensemble": "Curves",
    "reliability": "Curves",
    "lesion_sizes": "Curves",
    "split_bias": "Curves",
    "training": "Curves",
    "heatmap": "Heat maps in detail",
    "gallery": "Tiles",
    "tissue": "Contact sheet",
}
LARGE = 250_000  # bytes of a PNG from which on it is embedded as WebP


@dataclass(frozen=True)
class Drawing:
    """A figure: its kind, file, and the wildcards (encoder, method, slide) that its caption names."""

    kind: str
    path: Path
    wildcards: dict[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """The id of the figure in the page."""
        return f"figure-{self.path.stem}"


def embedded(path: Path) -> str:
    """Return a PNG as the text of a data URL; large ones (slides) as WebP.

    Errors: :class:`UserError` when the file is not a picture.
    """
    from PIL import Image

    try:
        data = path.read_bytes()
        if len(data) > LARGE:
            buffer = io.BytesIO()
            with Image.open(io.BytesIO(data)) as picture:
                picture.convert("RGB").save(buffer, "WEBP", quality=86, method=2)
            return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    except OSError as error:
        raise UserError(f"{path}: cannot be read as a picture ({error}): delete it and rerun its rule") from None
    return "data:image/png;base64," + base64.b64encode(data).decode()


def caption(drawing: Drawing, folder: Path, config: dict) -> str:
    """Return a figure's caption as HTML: the text of Snakemake's report, ``folder``/<kind>.rst, filled in as there."""
    from docutils.core import publish_parts
    from jinja2 import Environment

    path = folder / f"{drawing.kind}.rst"
    try:
        source = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}): give the folder of captions") from None
    known = {"encoder": "", "method": "", "slide": ""} | drawing.wildcards
    snakemake = SimpleNamespace(config=config, wildcards=SimpleNamespace(**known))
    text = Environment(trim_blocks=True, lstrip_blocks=True).from_string(source).render(snakemake=snakemake)
    settings = {"file_insertion_enabled": False, "raw_enabled": False, "report_level": 5}
    return publish_parts(text, writer="html5", settings_overrides=settings)["body"]


def figure(drawing: Drawing, folder: Path, config: dict) -> str:
    """Return a figure with its caption and links to its files beside the page."""
    words = caption(drawing, folder, config)
    alt = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", words)).strip().split(". ")[0]
    stem = f"figures/{drawing.path.stem}"
    files = " · ".join(f'<a href="{escape(stem)}.{form}">{form.upper()}</a>' for form in ("png", "svg", "csv"))
    return (
        f'<figure id="{escape(drawing.identity)}"><img loading="lazy" src="{embedded(drawing.path)}" alt="{alt}">'
        f'<figcaption>{words}<p class="files">{files}</p></figcaption></figure>'
    )


def by_category(drawings: Sequence[Drawing]) -> dict[str, list[Drawing]]:
    """Return the figures under their headings, in the order of :data:`CATEGORIES`."""
    found: dict[str, list[Drawing]] = {name: [] for name in dict.fromkeys(CATEGORIES.values())}
    for drawing in sorted(drawings, key=lambda one: list(CATEGORIES).index(one.kind)):
        found[CATEGORIES[drawing.kind]].append(drawing)
    return {name: part for name, part in found.items() if part}
