"""What a slide's features depend on, as one fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chowder.files import UserError, sha256

if TYPE_CHECKING:
    from chowder.features.encoders.base import Encoder

# The modules that decide what a feature is.
CODE = (
    "slides/describe",
    "slides/reader",
    "slides/stored",
    "slides/grid",
    "slides/tile_table",
    "features/encoders/base",
    "features/encoders/lite0",
    "features/encoders/registry",
    "features/encoders/resnet",
    "features/encoders/timm",
    "features/encoders/weights",
    "machine",
    "features/embedding",
    "features/feature_file",
    "features/identity",
)


@dataclass(frozen=True)
class Item:
    """One slide to embed: its name, image file, tile table, and um/px when the file does not say it."""

    slide: str
    image: str
    tiles: str
    mpp: float | None = None


def fingerprint() -> str:
    """sha256 over the source of the modules that decide what a feature is."""
    total = hashlib.sha256()
    for name in CODE:
        total.update(name.encode() + b"\0")
        total.update(Path(__file__).parents[1].joinpath(f"{name}.py").read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()


def feature_key(item: Item, encoder: Encoder, batch: int) -> str:
    """Fingerprint of everything that a slide's features depend on."""
    try:
        state = os.stat(item.image)
    except OSError:
        raise UserError(f"{item.image}: no such slide: check the column `image` of the slides table") from None
    parts = [
        fingerprint(),
        encoder.name,
        encoder.weights_sha256,
        encoder.normalisation,
        encoder.precision,
        encoder.device.type,
        batch,
        item.slide,
        item.mpp,
        sha256(item.tiles),
        state.st_size,
        state.st_mtime_ns,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def library_versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    result = {}
    for package in ("torch", "torchvision", "timm", "pyvips", "openslide-python", "pillow", "numpy"):
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
