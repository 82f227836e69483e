"""The feature file of a slide, and the index of an encoder's files.

A file holds ``features`` (n, P) float16 and ``coords`` (n, 2) int32 (level-0 x, y of a tile's upper left corner),
the names and shapes that CLAM and TRIDENT use, with everything that made them in the root attributes. Bytes are the
same on every run: no time stamps, fixed order.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from chowder.features import integrity
from chowder.files import UserError, atomic, sha256

CHUNK_ROWS = 1024


def write(path: str | os.PathLike, features: np.ndarray, coords: np.ndarray, attributes: dict) -> None:
    """Write features (n, P) as float16 and coords (n, 2) as int32; ``attributes`` go to the root group."""
    import h5py

    features, coords = np.asarray(features), np.asarray(coords)
    if features.ndim != 2 or coords.shape != (len(features), 2):
        raise UserError(f"{path}: features {features.shape} and coords {coords.shape} do not belong together")
    with np.errstate(over="ignore"):
        half = features.astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(half).all(1))
    if bad.size:
        x, y = coords[bad[0]]
        raise UserError(
            f"{path}: {bad.size} tiles have features that are no numbers or exceed float16 (first: tile at level-0 px "
            f"({x}, {y})): check the encoder's weights, or set embedding.precision to fp32"
        )
    content = io.BytesIO()  # HDF5 crashes when a disk gets full while it writes to it
    with h5py.File(content, "w") as file:
        chunks = (min(CHUNK_ROWS, max(1, len(half))), half.shape[1])
        file.create_dataset("features", data=half, chunks=chunks, track_times=False)
        places = file.create_dataset("coords", data=coords.astype(np.int32), track_times=False)
        if {"tile_size", "extent"} <= attributes.keys():  # what TRIDENT's heat maps ask of coords
            places.attrs["patch_size"] = attributes["tile_size"]
            places.attrs["patch_size_level0"] = round(attributes["extent"])
        for key in sorted(attributes):
            file.attrs[key] = attributes[key]
    with atomic(path) as scratch:
        scratch.write_bytes(content.getbuffer())


def read(path: str | os.PathLike, rows: np.ndarray | slice | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, P) float16 and coords (n, 2) int32 of a feature file; ``rows`` selects some of them."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            features, coords = file["features"][:], file["coords"][:]
            if features.ndim != 2 or coords.shape != (len(features), 2):
                raise KeyError("coords")
    except Exception:  # h5py and HDF5 raise of all kinds for what was edited
        raise UserError(f"{path}: is no feature file (or not whole): {integrity.again(path)}") from None
    return (features, coords) if rows is None else (features[rows], coords[rows])


def attributes(path: str | os.PathLike) -> dict:
    """Root attributes of a feature file, with ``tiles`` (n) and ``dim`` (P)."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            shape = file["features"].shape
            if file["coords"].shape != (shape[0], 2):
                raise KeyError("coords")
            plain = {key: value.item() if hasattr(value, "item") else value for key, value in file.attrs.items()}
            return plain | {"tiles": shape[0], "dim": shape[1]}
    except Exception:  # h5py and HDF5 raise of all kinds for what was edited
        raise UserError(f"{path}: is no feature file (or not whole): {integrity.again(path)}") from None


def index(
    files: Iterable[str | os.PathLike], root: str | os.PathLike, known: dict[str, str] | None = None
) -> tuple[dict, list[str]]:
    """Return the index of an encoder's feature files, paths relative to ``root``, and warnings.

    ``known``: sha256 by slide, where the caller has just checked them. Each entry holds the file's ``sha256`` and the
    ``digest`` of its arrays (:func:`integrity.digest`), which every reading compares.

    Raises UserError when files were made with other weights, tiles or colours than the first (never train on a
    mixture), and when one holds NaN or infinity.
    """
    entries, warnings, first = [], [], None
    paths = sorted(map(Path, files), key=lambda path: path.stem)
    for path in paths:
        found = attributes(path)
        first = first or (path, found)
        for key in ("encoder", "dim", "weights_sha256", "normalisation", "tile_size", "mpp_wanted", "resample"):
            if found.get(key) != first[1].get(key):
                raise UserError(
                    f"{path}: {key} is {found.get(key)!r}, but {first[1].get(key)!r} in {first[0]}: remove the "
                    "older one and embed it again"
                )
        for key in ("precision", "code"):
            if found.get(key) != first[1].get(key):
                warnings.append(f"{path}: {key} differs from {first[0]}")
        if found.get("slide", path.stem) != path.stem:
            raise UserError(f"{path}: holds the slide {found['slide']!r}: give the file that name")
        features, coords = read(path)
        if not integrity.finite(features):
            raise integrity.Damaged(path, f"features of slide {path.stem} hold NaN or infinity")
        entries.append(
            {
                "slide": path.stem,
                "file": Path(os.path.relpath(path, root)).as_posix(),
                "tiles": int(found["tiles"]),
                "sha256": known[path.stem] if known else sha256(path),
                "digest": integrity.digest(features, coords),
            }
        )
    if first is None:
        raise UserError("no feature files to index")
    return {"encoder": first[1].get("encoder", ""), "dim": int(first[1]["dim"]), "slides": entries}, warnings
