"""What can be known to be wrong before the first job: patterns, addresses, encoders, weights, folds, slides' names.

Standard library only: the Snakefile calls this while it is parsed. What is only known on the machine that runs a job
(a GPU, a weight file that a library fetches) is checked there.
"""

from __future__ import annotations

import difflib
import os
import re
import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from chowder.data.download.client import local_path
from chowder.features.encoders.families import FAMILIES, family_of
from chowder.features.encoders.networks import NETWORKS
from chowder.files import UserError

SCHEMES = ("https", "http", "file")
# A torchvision tag, as opposed to the path of a checkpoint.
TAG = re.compile(r"[A-Z0-9_]+")


class Row(Protocol):
    """What is looked at in a row of the slides table (``chowder.data.cohort.Slide``)."""

    slide: str
    label: int
    split: str
    patient: str


def patterns(slides: Mapping[str, object]) -> None:
    """Check slides.image and slides.annotation: each may hold ``{slide}`` and no other field.

    Raises :class:`UserError` for another field, a conversion, or a brace on its own.
    """
    for key in ("image", "annotation"):
        pattern = slides.get(key) or ""
        try:
            fields = [field[1:] for field in string.Formatter().parse(str(pattern)) if field[1] is not None]
        except ValueError as error:
            raise UserError(f"config: slides.{key}: {pattern!r} is no pattern ({error}): use {{slide}} only") from None
        wrong = [name for name, form, turn in fields if name != "slide" or form or turn]
        if wrong:
            raise UserError(f"config: slides.{key}: {pattern!r} has the field {{{wrong[0]}}}: use {{slide}} only")


def address(url: str) -> None:
    """Check download.base_url: https://, http:// or file://, or the path of a folder that is there.

    Raises :class:`UserError` for another scheme, an address without a host, and a folder that is missing.
    """
    scheme, separator, rest = str(url).partition("://")
    if separator and scheme.lower() not in SCHEMES:
        near = difflib.get_close_matches(scheme.lower(), SCHEMES, n=1)
        hint = f"did you mean {near[0]}://?" if near else f"use {', '.join(f'{name}://' for name in SCHEMES)} or a path"
        if scheme.lower() == "s3":
            hint = "write https://<bucket>.s3.<region>.amazonaws.com/<prefix>"
        raise UserError(f"config: download.base_url: {scheme}:// is not read: {hint}")
    if separator and scheme.lower() != "file" and not rest.partition("/")[0]:
        raise UserError(f"config: download.base_url: {url!r} names no host: write https://<host>/<prefix>")
    try:
        folder = local_path(str(url))
    except UserError as error:
        raise UserError(f"config: download.base_url: {error}") from None
    if folder is not None and not folder.is_dir():
        raise UserError(f"config: download.base_url: {folder}: no such folder: give the folder that holds images/")


def encoders(names: Sequence[str], weights: Mapping[str, str]) -> None:
    """Check the encoders' names and their weight files.

    Raises :class:`UserError` for a family that is not known, weights of an encoder that is not listed, and a weight
    file that is not there.
    """
    for name in names:
        if family_of(name) is None:
            near = difflib.get_close_matches(name.partition(":")[0], set(FAMILIES) - {name}, n=1)
            hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(FAMILIES)} (timm as timm:<name>)"
            raise UserError(f"config: encoders: {name!r} is not known: {hint}")
    for name, path in weights.items():
        if name not in names:
            raise UserError(
                f"config: embedding.weights: {name!r} is not among encoders: remove it, or use {', '.join(names)}"
            )
        if path and not TAG.fullmatch(path) and not os.path.isfile(path):
            raise UserError(f"config: embedding.weights.{name}: {path}: no such file: give the path of the checkpoint")


def hub(names: Iterable[str], weights: Mapping[str, str]) -> None:
    """Check that the weights of encoders of the hub without a file in ``weights`` are in its cache or to be had.

    Takes a few seconds at most. Raises :class:`UserError` that tells no network from a gated or absent repository.
    """
    for name in names:
        if name in NETWORKS and not weights.get(name):
            from chowder.features.encoders.hub import check

            check(name, NETWORKS[name].repository)


def folds(number: int, over: str, rows: Iterable[Row], stratify: str = "label_center") -> None:
    """Check that each class has a patient for every fold; ``over`` is cv.over (all, train), ``stratify`` cv.stratify.

    Raises :class:`UserError` that names the class and how many slides or patients it has, and for patients with several
    slides where folds do not keep them together.
    """
    rows = [row for row in rows if over == "all" or row.split == "train"]
    patients = [row.patient for row in rows if row.patient]
    if stratify == "label" and len(set(patients)) < len(patients):
        raise UserError("config: cv.stratify: label does not keep a patient's slides together: use label_center")
    for label, name in ((1, "tumour"), (0, "normal")):
        mine = [row for row in rows if row.label == label]
        count = len({row.patient for row in mine if row.patient}) + sum(not row.patient for row in mine)
        if count < number:
            where = "training slides" if over == "train" else "slides"
            where += " of different patients" if count < len(mine) else ""
            raise UserError(
                f"config: cv.folds: {number} folds need {number} {name} {where}, the table has {count}: "
                "lower cv.folds or add slides"
            )


def camelyon16(rows: Iterable[Row], known: Collection[str], table: str | os.PathLike) -> None:
    """Check that Camelyon-16 has every slide of a table, and in that split (or none is given).

    Labels, classes and centres are compared with the organisers' own reference before the first slide is fetched.
    Raises :class:`UserError` for the first slide that is wrong.
    """
    for row in rows:
        name, split = row.slide, "test" if row.slide.startswith("test_") else "train"
        if name in known and row.split not in ("", split):
            raise UserError(f"{table}: slide {name}: is a {split} slide, the table says {row.split}: correct the split")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "use names such as normal_001, tumor_001, test_001"
            raise UserError(f"{table}: slide {name}: Camelyon-16 has no such slide: {hint}")


def shipped(folder: str | os.PathLike) -> Path | None:
    """Return the workflow's own table of the 399 Camelyon-16 slides, None where it was not copied along."""
    path = Path(folder) / "config" / "camelyon16.csv"
    return path if path.is_file() else None
