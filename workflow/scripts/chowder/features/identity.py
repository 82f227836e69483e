"""What a slide's features depend on, as one fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chowder import fingerprint
from chowder.files import UserError, sha256

if TYPE_CHECKING:
    from chowder.features.encoders.base import Encoder

# The modules that turn pixels into numbers, beside the encoder's own module. Not among them: the registry (another
# encoder changes no features), devices, the tiling (the tile table's content counts), and the file format, whose number
# is FORMAT.
CODE = ("features.encoders.base", "features.embedding")
# What turns a stored slide into pixels counts by the pixels that it gives, not by its code: a faster decoder with equal
# pixels leaves features valid. These are digests of the code that first gave today's pixels. The test of golden pixels
# (tests/unit/slides/test_pixels.py) fails when pixels change: then put another text here, for example "2".
PIXELS = {
    "slides.describe": "c2ff74f4e6d51af6df1c7345fd361f0fa32a24701eaf81ab9fa39bf19828bcea",
    "slides.stored": "471c4e3409418ed9d66c5bdc8201aa5b8c1a8a7c91a3f2568743181db8f80a94",
    "slides.reader": "d5393cf00dbdc4883179d1f6f82cf35a5d85b1bb99897b8756a27dfd461f9843",
}
FORMAT = 1  # of the feature file: raise it when features/feature_file.py writes something else


@dataclass(frozen=True)
class Item:
    """One slide to embed: its name, image file, tile table, and um/px when the file does not say it.

    ``record``: what its fetch wrote down (JSON with length and content), where it was fetched.
    """

    slide: str
    image: str
    tiles: str
    mpp: float | None = None
    record: str = ""


def code(encoder: Encoder) -> str:
    """Return the fingerprint of the code that decides what a feature is; comments and layout do not count."""
    own = encoder.module.partition(f"{fingerprint.PACKAGE}.")[2]
    return fingerprint.of_only([*CODE, *([own] if own else [])], PIXELS)


def feature_key(item: Item, encoder: Encoder) -> str:
    """Return the fingerprint of everything that a slide's features depend on.

    That is the slide (its md5 where a list says it, else size and time of its file), the tile table's content, the
    um/px given by the user, code, encoder, weights, normalisation, precision and kind of device. Batch size, threads,
    shard and the device's number are not in it.
    """
    try:
        state = os.stat(item.image)
    except OSError:
        raise UserError(f"{item.image}: no such slide: check the column `image` of the slides table") from None
    parts = [
        FORMAT,
        code(encoder),
        encoder.name,
        encoder.weights_sha256,
        encoder.normalisation,
        encoder.precision,
        encoder.device.type,
        item.slide,
        item.mpp,
        sha256(item.tiles),
        *(content(item.record, state) or (state.st_size, state.st_mtime_ns)),
    ]
    more = getattr(encoder, "decisive", {})  # the entry of a table, and what the user put in place of the encoder's own
    if more:
        parts.append(more)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def content(record: str, state: os.stat_result) -> tuple[str, ...]:
    """Return the md5 that a fetched slide has by the list of its mirror, as (md5,); () where it is not known.

    A slide that is fetched again, whole or in parts, is the same one. A file that was put in its place later is not.
    """
    try:
        known = json.loads(Path(record).read_text(encoding="utf-8"))
        if known["content"] and state.st_size == known["length"] and state.st_mtime <= os.stat(record).st_mtime + 60:
            return (str(known["content"]),)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return ()


def library_versions() -> dict[str, str]:
    """Return the versions of this library and of those that decode, resample and embed, to be recorded in files."""
    from importlib.metadata import PackageNotFoundError, version

    # Not imported: a new version number alone must not count as another code (chowder.fingerprint).
    result = {"chowder": sys.modules[fingerprint.PACKAGE].__version__}
    for package in ("torch", "torchvision", "timm", "simplejpeg", "pyvips", "openslide-python", "pillow", "numpy"):
        try:
            result[package] = version(package)
        except PackageNotFoundError:
            result[package] = ""
    try:
        import pyvips

        result["libvips"] = ".".join(str(pyvips.version(part)) for part in range(3))
    except ImportError:
        pass
    return result
