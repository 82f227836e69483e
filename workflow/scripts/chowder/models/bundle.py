"""Bundles: a trained ensemble with all that is needed to run it on other slides, as one zip or folder.

A bundle holds ``manifest.json``, ``README.txt`` and one model file per split below ``models/``. Nothing in it can run
code: the manifest is JSON, and a model file holds tensors and plain values (:mod:`chowder.models.model_file`). A bundle
may be a stranger's, so nothing of it is unpacked to a disk, and every size, name and sha256 is checked before use.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chowder.files import UserError, atomic
from chowder.models import names

FORMAT = 1  # of the manifest: raise it when an older reader would read it wrongly
NOTE = "For research, not for diagnosis"
LABELS = {"0": "normal: no tumour", "1": "tumour"}
MANIFEST, README = "manifest.json", "README.txt"
MODEL = "models/{split}.pt"
NAME = re.compile(r"(?:models/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(?:pt|json|txt|md)")
MAX_FILES, MAX_MANIFEST, MAX_FILE = 64, 2**22, 2**31  # number, bytes, bytes

# What zipfile raises for damaged files.
BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, OSError, ValueError, LookupError, RuntimeError, EOFError)

_SHA256 = {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"}
_TEXT = {
    "type": "string",
    "minLength": 1,
    "maxLength": 200,
    "pattern": r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+\Z",
}
_PATH = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z", "maxLength": 60}
_WHOLE = {"type": "integer", "minimum": 0}
_RANGE = {
    "type": "object",
    "required": ["min", "max"],
    "properties": {"min": {"type": "number"}, "max": {"type": "number"}},
}
_COLOUR = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}


def _object(**properties: Any) -> dict[str, Any]:
    """JSON schema of an object that has at least these properties."""
    return {"type": "object", "required": list(properties), "properties": properties}


SCHEMA = _object(
    note=_TEXT,
    dataset=_PATH,
    simulated={"type": "boolean"},
    method=_TEXT,
    labels={"type": "object"},
    encoder=_object(
        name=_TEXT | {"pattern": r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*\Z"},
        weights_sha256=_SHA256,
        weights={"type": "string", "pattern": r"^[A-Z0-9_]*\Z", "maxLength": 60},
        dim=_WHOLE | {"minimum": 1},
        mean=_COLOUR,
        std=_COLOUR,
        normalisation={"enum": ["none", "nikitenko"]},
        precision={"enum": ["fp32", "bf16", "fp16"]},
        overrides={"type": "object"},
    ),
    tissue={"type": "object"},
    tiles={"type": "object"},
    sample=_object(seed=_WHOLE, dataset=_PATH, repeat=_WHOLE, tiles=_WHOLE | {"minimum": 1}),
    localisation={"type": "object"},
    full_red={"type": ["number", "null"]},
    cohort=_object(
        slides=_WHOLE,
        tiles=_RANGE,
        mpp=_RANGE,
        mpp_read=_RANGE,
        stain={"type": "object", "additionalProperties": _RANGE},
    ),
    models={"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
    files={"type": "object", "additionalProperties": _object(sha256=_SHA256, bytes=_WHOLE)},
)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its manifest, and its files by name.

    Attributes
    ----------
    path : str
        The zip or folder.
    manifest : dict
        What :func:`write` was given, with ``format`` and ``files``.
    digest : str
        Sha256 of the manifest, which holds that of every file.
    """

    path: str
    manifest: dict[str, Any]
    digest: str
    _open: Callable[[str], bytes] = field(repr=False)

    @property
    def name(self) -> str:
        """The bundle in paths: ``<dataset>_<encoder>_<method>``."""
        parts = self.manifest["dataset"], self.manifest["encoder"]["name"], self.manifest["method"]
        return "_".join(
            re.sub(r"[^A-Za-z0-9.-]+", "-", part) if place == 1 else part for place, part in enumerate(parts)
        )

    def read(self, name: str) -> bytes:
        """Content of a file. Errors: :class:`UserError` where it is not what the manifest says."""
        known = self.manifest["files"].get(name)
        if known is None:
            raise UserError(f"{self.path}: the manifest lists no file {name}: get the bundle again")
        content = self._open(name)
        if len(content) != known["bytes"] or hashlib.sha256(content).hexdigest() != known["sha256"]:
            raise UserError(
                f"{self.path}: {name} is not the file of the manifest (sha256 differs): get the bundle again"
            )
        return content

    def check(self) -> None:
        """Read every file and compare it with the manifest. Errors: see :meth:`read`."""
        for name in self.manifest["files"]:
            self.read(name)

    def estimators(self) -> list[Any]:
        """Return the trained estimators, one for each split that the bundle was made from."""
        from chowder.models import build

        return [build.load(_Named(self.read(name), f"{self.path}: {name}")) for name in self.manifest["models"]]


class _Named(io.BytesIO):
    """Bytes that say in an error message where they are from."""

    def __init__(self, content: bytes, where: str):
        super().__init__(content)
        self.where = where

    def __str__(self) -> str:
        return self.where


def write(path: str | os.PathLike, manifest: Mapping[str, Any], models: Mapping[str, bytes], readme: str) -> None:
    """Write a bundle as zip; the same content gives the same bytes.

    Parameters
    ----------
    manifest : what :data:`SCHEMA` asks for, without ``format``, ``note``, ``labels``, ``models`` and ``files``, which
        are filled in here, and whatever else is worth knowing.
    models : content of the model file by split.
    readme : text for people.

    Errors: :class:`UserError` for a manifest that :func:`open_bundle` would refuse.
    """
    files = {README: readme.encode()} | {MODEL.format(split=split): content for split, content in models.items()}
    known = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    whole = {"format": FORMAT, "note": f"{NOTE}.", "labels": LABELS, **manifest}
    whole |= {"models": [name for name in files if name != README], "files": known}
    _check_manifest(str(path), whole)
    text = json.dumps(whole, indent=1, allow_nan=False) + "\n"
    with atomic(path) as scratch, zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {MANIFEST: text.encode(), **files}.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, data)


def open_bundle(path: str | os.PathLike) -> Bundle:
    """Open a bundle, a zip or a folder, and check its manifest; its files are checked as they are read.

    Errors: :class:`UserError`, one line, for what is no bundle, has another format version, holds a file that no bundle
    has (a path that leaves it, a link, a pickle), or claims absurd sizes.
    """
    if not os.path.exists(path):
        raise UserError(f"{path}: no such bundle: give the zip or folder that `snakemake bundles` wrote")
    sizes, opened = _folder(Path(path)) if os.path.isdir(path) else _zip(Path(path))
    if MANIFEST not in sizes:
        raise UserError(f"{path}: has no {MANIFEST} at its top: is no bundle; give what `snakemake bundles` wrote")
    if len(sizes) > MAX_FILES:
        raise UserError(f"{path}: holds {len(sizes)} files, a bundle has at most {MAX_FILES}: refused")
    for name, size in sizes.items():
        if not NAME.fullmatch(name):
            raise UserError(f"{path}: holds {name[:100]!r}, which no bundle has: refused")
        if size > (MAX_MANIFEST if name == MANIFEST else MAX_FILE):
            raise UserError(f"{path}: {name} has {size} bytes, too many for a bundle: refused")
    try:
        text = opened(MANIFEST)
        manifest = json.loads(text.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: its {MANIFEST} cannot be read as JSON ({_brief(error)}): get it again") from None
    _check_manifest(str(path), manifest)
    listed = {MANIFEST: None, **manifest["files"]}
    for name in sorted(listed.keys() ^ sizes.keys()):
        what = "is missing" if name in listed else "is not in the manifest"
        raise UserError(f"{path}: {name} {what}: get the bundle again")
    return Bundle(str(path), manifest, hashlib.sha256(text).hexdigest(), opened)


def _brief(error: Exception) -> str:
    """Return an error's text in one line, at most 120 characters: zipfile repeats bytes of the file."""
    return ascii(str(error)[:120])[1:-1]


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _check_manifest(path: str, manifest: Any) -> None:
    import jsonschema

    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT or isinstance(found, bool):
        raise UserError(
            f"{path}: its manifest has format {repr(found)[:40]}, this version reads {FORMAT}: use the version of the "
            "workflow that made the bundle, or make it again"
        )
    draft = jsonschema.Draft202012Validator
    types = draft.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)  # 3.0 is none
    for error in jsonschema.validators.extend(draft, type_checker=types)(SCHEMA).iter_errors(manifest):
        key = ".".join(str(part) for part in error.absolute_path)
        text = ascii(f"{f'{key}: ' if key else ''}{error.message[:200]}")[1:-1]
        raise UserError(f"{path}: manifest: {text}: get the bundle again")
    names.parse(manifest["method"])
    for name in manifest["models"]:
        if name not in manifest["files"] or not name.endswith(".pt"):
            raise UserError(f"{path}: manifest: {name[:100]!r} is no model file of the bundle: get the bundle again")
    for name in manifest["files"]:
        if not NAME.fullmatch(name) or name == MANIFEST:
            raise UserError(f"{path}: manifest: lists {name[:100]!r}, which no bundle has: refused")


def _zip(path: Path) -> tuple[dict[str, int], Callable[[str], bytes]]:
    """Return sizes by name of a zip's files and a function that reads one. Errors: links, encryption, double names."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except BROKEN as error:
        raise UserError(f"{path}: is no zip file ({_brief(error)}): give what `snakemake bundles` wrote") from None
    sizes: dict[str, int] = {}
    for entry in entries:
        if entry.filename == "models/":
            continue
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1 or entry.filename in sizes:
            raise UserError(f"{path}: {entry.filename[:100]!r} is a link, encrypted, or there twice: refused")
        sizes[entry.filename] = entry.file_size

    def opened(name: str) -> bytes:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(name) as handle:
                return handle.read(sizes[name] + 1)
        except BROKEN as error:
            raise UserError(f"{path}: {name} cannot be read ({_brief(error)}): get the bundle again") from None

    return sizes, opened


def _folder(path: Path) -> tuple[dict[str, int], Callable[[str], bytes]]:
    """Return sizes by name of the files in a folder and in its ``models``, and a function that reads one."""
    sizes: dict[str, int] = {}
    for place in (path, path / "models"):
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name) if place.is_dir() else []:
            name = entry.name if place == path else f"models/{entry.name}"
            if name == "models" and entry.is_dir(follow_symlinks=False):
                continue
            if not entry.is_file(follow_symlinks=False):
                raise UserError(f"{path}: {name!r} is a link or a folder, which no bundle has: refused")
            sizes[name] = entry.stat().st_size

    def opened(name: str) -> bytes:
        with open(path / name, "rb") as handle:
            return handle.read(sizes[name] + 1)

    return sizes, opened
