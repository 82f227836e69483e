"""Feature files for other tools: the layouts of CLAM, TRIDENT and STAMP, read by those tools' own code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from chowder.files import UserError, atomic

LAYOUTS = ("clam", "trident", "stamp")


def paths(folder: str | Path, slide: str, layout: str) -> list[Path]:
    """Return the files that :func:`write` makes of a slide."""
    folder = Path(folder)
    if layout == "clam":
        return [folder / "h5_files" / f"{slide}.h5", folder / "pt_files" / f"{slide}.pt"]
    if layout in LAYOUTS:
        return [folder / f"{slide}.h5"]
    raise UserError(f"export layout {layout!r} is not known: use {', '.join(LAYOUTS)}")


def write(
    folder: str | Path,
    slide: str,
    layout: str,
    features: np.ndarray,
    coords: np.ndarray,
    grid: dict[str, Any],
    encoder: str,
    size: tuple[int, int],
) -> None:
    """Write a slide's features (n, P) float16 and level-0 corners (n, 2) in the layout of another tool.

    Parameters
    ----------
    grid : record of the tile table: ``extent`` (edge of a tile in level-0 px), ``mpp0``, ``size`` (px).
    size : width and height of the slide in level-0 px.

    CLAM: float32 in pt_files and h5_files, since its models are. TRIDENT: attributes of ``coords`` as it writes them;
    it wants whole px, so the exact edge stands in ``extent_level0``. STAMP: ``feats`` float16, ``coords`` in um.
    """
    import h5py

    exact = {"extent_level0": float(grid["extent"]), "level0_mpp": float(grid["mpp0"])}
    sides = {"level0_width": int(size[0]), "level0_height": int(size[1])}
    first, *more = paths(folder, slide, layout)
    content = io.BytesIO()  # HDF5 crashes when a disk gets full while it writes to it
    with h5py.File(content, "w") as file:
        if layout == "stamp":
            file.create_dataset("feats", data=features.astype(np.float16), track_times=False)
            file.create_dataset("coords", data=coords * float(grid["mpp0"]), track_times=False)
            attributes = {
                "unit": "um",
                "tile_size_um": grid["extent"] * grid["mpp0"],
                "tile_size_px": int(grid["size"]),
            }
            attributes |= {"extractor": encoder, "feat_type": "tile", "level0_mpp": float(grid["mpp0"])} | sides
            places, owner = attributes, file
        else:
            file.create_dataset("features", data=features.astype(np.float32), track_times=False)
            owner = file.create_dataset("coords", data=coords.astype(np.int64), track_times=False)
            places = exact | sides
            if layout == "trident":
                file["features"].attrs["encoder"] = encoder
                magnification = round(10 / grid["mpp0"])  # 40 at 0.25 um/px, as the tool counts
                places |= {"patch_size": int(grid["size"]), "patch_size_level0": round(grid["extent"]), "overlap": 0}
                places |= {"level0_magnification": magnification, "name": slide, "savetodir": str(folder)}
                places |= {"target_magnification": max(1, round(magnification * grid["size"] / grid["extent"]))}
        for key in sorted(places):
            owner.attrs[key] = places[key]
    contents = [content]
    for _ in more:
        import torch

        contents.append(io.BytesIO())
        torch.save(torch.from_numpy(features.astype(np.float32)), contents[-1])
    for path, content in zip((first, *more), contents, strict=True):
        with atomic(path) as scratch:
            scratch.write_bytes(content.getbuffer())
