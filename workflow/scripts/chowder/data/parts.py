"""A cohort that was embedded in parts, each a dataset of its own, as one folder of features and one slides table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chowder.data import cohort
from chowder.files import UserError, field, read_json

CARRIED = ("slide", "label", "split", "patient", "center", "class", "froc")
HEADER = (*CARRIED, "annotation", "mpp", "width", "height")


@dataclass(frozen=True)
class Part:
    """One run, results/<dataset>: where it lies, the encoder whose features count, and its config."""

    folder: Path
    encoder: str
    config: dict[str, Any]

    @property
    def index(self) -> Path:
        """The index of its features."""
        return self.folder / "features" / self.encoder / "index.json"


def read_part(folder: str | os.PathLike, encoder: str = "") -> Part:
    """Read a run whose features are finished.

    ``encoder`` may be left out where the run has one. Errors: :class:`UserError` for a folder without config or index,
    and for a choice of encoders that is left open.
    """
    import yaml

    folder = Path(folder)
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        raise UserError(
            f"{folder}: no config.yaml that can be read: give the folder results/<dataset> of a run"
        ) from None
    found = sorted(path.parent.name for path in folder.glob("features/*/index.json"))
    if not found:
        raise UserError(f"{folder}: no features yet: run the target `features` of this part first")
    if not encoder and len(found) > 1:
        raise UserError(f"{folder}: features of several encoders, {', '.join(found)}: choose one with --encoder")
    if encoder and encoder not in found:
        raise UserError(f"{folder}: no features of {encoder}: it has {', '.join(found)}")
    return Part(folder, encoder or found[0], config)


def join(parts: Sequence[Part]) -> tuple[list[dict[str, str]], dict[str, Path]]:
    """Return the rows of the slides table of all parts, in order, and the feature file of each slide.

    Size and um/px of a slide come from its tissue record, so that lesions can be scored without the slide. Annotations
    are given as absolute paths.

    Errors: :class:`UserError` for parts with other tiles or another encoder, a slide in two parts, or one without
    features or record.
    """
    first = parts[0]
    rows: list[dict[str, str]] = []
    files: dict[str, Path] = {}
    for part in parts:
        for key in ("tiles", "embedding.normalisation", "encoder"):
            if _setting(part, key) != _setting(first, key):
                raise UserError(
                    f"{part.folder}: {key} is {_setting(part, key)!r}, in {first.folder} {_setting(first, key)!r}: "
                    "features that are trained together must be made alike"
                )
        listed = {
            str(one["slide"]): str(one["file"]) for one in field(part.index, read_json(part.index), "slides", "list")
        }
        for row in cohort.read_rows(part.folder / "slides.csv"):
            slide = row["slide"]
            if slide in files:
                raise UserError(f"{part.folder}: slide {slide} is in {files[slide].parent} too: rename one")
            if slide not in listed:
                raise UserError(f"{part.index}: slide {slide} is missing: run the target `features` of this part again")
            files[slide] = (part.index.parent / listed[slide]).resolve()
            record = part.folder / "tissue" / f"{slide}.json"
            known = read_json(record)
            sizes = {name: str(field(record, known, name, "number")) for name in ("mpp", "width", "height")}
            carried = {name: row.get(name) or "" for name in CARRIED}
            rows.append(carried | {"annotation": _annotation(part, row)} | sizes)
    return rows, files


def _setting(part: Part, key: str) -> Any:
    if key == "encoder":
        return part.encoder
    value: Any = part.config
    for step in key.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _annotation(part: Part, row: dict[str, str]) -> str:
    """The slide's ASAP XML, absolute; "" for a slide without."""
    given, root = row.get("annotation") or "", (part.config.get("slides") or {}).get("root")
    for path in (Path(root or "") / given if given else None, part.folder / "annotations" / f"{row['slide']}.xml"):
        if path is not None and path.is_file() and row["label"] == "1":
            return str(path.resolve())
    return ""
