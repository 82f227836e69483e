"""Feature files that other tools wrote: found by slide, read with their tiles' places; units are known or asked for.

| layout | files | features | places |
|---|---|---|---|
| chowder | ``<slide>.h5`` | ``features`` | ``coords``, level-0 px; ``extent`` |
| trident | ``<slide>.h5`` | ``features`` | ``coords``, level-0 px, with attributes (``patch_size_level0``) |
| clam | ``h5_files/<slide>.h5``, ``pt_files/<slide>.pt`` | ``features``, tensor | ``coords``, level-0 px; none in .pt |
| stamp | ``<slide>.h5`` | ``feats`` | ``coords``, um, ``tile_size_um`` |
| histossl | ``<slide>/features.npy``, ``<slide>.npy`` | columns from the fourth | level, column, row of the tile |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chowder.files import UserError, reason
from chowder.slides.grid import NEAR

LARGEST = 2**31  # px or um; no slide is wider
LAYOUTS = ("chowder", "trident", "clam", "stamp", "histossl")
PLACES = {
    "chowder": ("{}.h5",),
    "trident": ("{}.h5",),
    "clam": ("h5_files/{}.h5", "pt_files/{}.pt", "{}.h5", "{}.pt"),
    "stamp": ("{}.h5",),
    "histossl": ("{}/features.npy", "{}.npy"),
}


@dataclass
class Ready:
    """What a file says of one slide.

    Attributes
    ----------
    features : (n, P) float16 or float32.
    coords : (n, 2) float64 upper left corners of the tiles in ``unit``, or None where the file has no places.
    unit : ``px`` (of level 0), ``um`` or ``tile`` (columns and rows of the grid).
    extent : edge of a tile in level-0 px; tile_um : in um; each None where the file does not say it.
    mpp, width, height : of level 0, likewise.
    encoder : what the file calls the encoder; "" where it does not.
    """

    features: np.ndarray
    coords: np.ndarray | None = None
    unit: str = "px"
    extent: float | None = None
    tile_um: float | None = None
    mpp: float | None = None
    width: int | None = None
    height: int | None = None
    encoder: str = ""


def find(folder: str | Path, slides: Iterable[str], layout: str = "auto") -> dict[str, Path]:
    """Return the file of every slide. Errors: :class:`UserError` for a slide with no file, or with two.

    A slide may have an h5 and a .pt file of CLAM: the former is taken, for its coordinates.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"config: features.folder: {folder}: no such folder: give the folder of the feature files")
    if layout not in ("auto", *LAYOUTS):
        raise UserError(f"config: features.layout: {layout!r} is not known: use auto, {', '.join(LAYOUTS)}")
    patterns = list(dict.fromkeys(p for name in ([layout] if layout != "auto" else LAYOUTS) for p in PLACES[name]))
    found: dict[str, Path] = {}
    missing = []
    for slide in slides:
        files = [folder / pattern.format(slide) for pattern in patterns if (folder / pattern.format(slide)).is_file()]
        kinds = {path.suffix for path in files}
        if len([path for path in files if path.suffix == ".h5"]) > 1 or len(kinds - {".pt"}) > 1:
            raise UserError(
                f"slide {slide} has two feature files, {files[0]} and {files[1]}: keep one, or set features.layout"
            )
        if files:
            found[slide] = files[0]
        else:
            missing.append(slide)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"config: features.folder: {folder} has no feature file of slide {missing[0]}{more} (looked for "
            f"{', '.join(pattern.format(missing[0]) for pattern in patterns)}): add it, or drop the slide"
        )
    return found


def read(path: str | Path, layout: str = "auto") -> Ready:
    """Read one file. Errors: :class:`UserError` for a file that is none of the layouts or that contradicts itself."""
    path = Path(path)
    try:
        if path.suffix == ".npy":
            ready = _npy(path)
        elif path.suffix == ".pt":
            ready = _pt(path)
        else:
            ready = _h5(path, layout)
        ready = _checked(path, ready)
    except UserError:
        raise
    except Exception as error:  # h5py, numpy and torch raise of all kinds for a damaged file
        raise UserError(
            f"{path}: cannot be read as features ({type(error).__name__}: {reason(error)}): make it again"
        ) from None
    return ready


def _checked(path: Path, ready: Ready) -> Ready:
    """Return ``ready``. Errors: :class:`UserError` where it contradicts itself or is no numbers."""
    features = ready.features
    for array in (features, ready.coords):
        if array is not None and array.dtype.kind not in "iuf":
            raise UserError(f"{path}: holds {array.dtype}, not numbers: make it again")
    for name, value in (("mpp", ready.mpp), ("tile_um", ready.tile_um), ("extent", ready.extent)):
        if value is not None and not (isinstance(value, int | float) and 0 < value < LARGEST):
            raise UserError(f"{path}: {name} is {str(value)[:60]!r}, not a positive number: make it again")
    for name, value in (("width", ready.width), ("height", ready.height)):
        if value is not None and not (isinstance(value, int) and 0 < value < LARGEST):
            raise UserError(f"{path}: {name} is {str(value)[:60]!r}, not a number of px: make it again")
    if features.ndim != 2 or not len(features) or not features.shape[1]:
        raise UserError(f"{path}: features are {features.shape}, not (tiles, P) with at least one tile: make it again")
    if ready.coords is not None and ready.coords.shape != (len(features), 2):
        raise UserError(f"{path}: {len(features)} tiles have coords {ready.coords.shape}: make it again")
    if not np.isfinite(features).all() or (ready.coords is not None and not np.isfinite(ready.coords).all()):
        raise UserError(f"{path}: holds NaN or infinity: make it again")
    if ready.coords is not None and (ready.coords < 0).any():
        raise UserError(f"{path}: tiles lie at negative places: features.layout may be wrong")
    if ready.coords is not None and (ready.coords >= LARGEST).any():
        raise UserError(f"{path}: tiles lie at places that no slide has: features.layout may be wrong")
    return ready


def _h5(path: Path, layout: str) -> Ready:
    import h5py

    with h5py.File(path, "r") as file:
        root = {key: _plain(value) for key, value in file.attrs.items()}
        if "feats" in file and layout in ("auto", "stamp"):
            return _stamp(path, file, root)
        if "features" not in file:
            raise UserError(
                f"{path}: has no dataset features or feats (has {', '.join(file) or 'none'}): check features.layout"
            )
        features = file["features"][:]
        if features.ndim == 3 and features.shape[0] == 1:
            features = features[0]  # TRIDENT's older files
        if "coords" not in file:
            return Ready(features)
        coords = np.asarray(file["coords"][:], np.float64)
        places = {key: _plain(value) for key, value in file["coords"].attrs.items()}
        named = {key: _plain(value) for key, value in file["features"].attrs.items()}
    if coords.ndim == 3 and coords.shape[0] == 1:
        coords = coords[0]
    ready = Ready(features, coords)
    ready.encoder = str(root.get("encoder") or named.get("encoder") or "")
    extent = root.get("extent", places.get("extent_level0", places.get("patch_size_level0")))
    ready.extent = float(extent) if extent is not None else None
    if "extent" in root and {"tile_size", "mpp_wanted", "mpp_read", "resample"} <= root.keys():  # this workflow's own
        near = abs(root["mpp_read"] / root["mpp_wanted"] - 1) <= NEAR + 1e-9
        ready.tile_um = root["tile_size"] * root["mpp_read" if near or root["resample"] == "level" else "mpp_wanted"]
        ready.mpp = ready.tile_um / ready.extent
    for key, name in (("mpp", "level0_mpp"), ("width", "level0_width"), ("height", "level0_height")):
        if name in places:
            setattr(ready, key, places[name])
    return ready


def _stamp(path: Path, file, root: dict) -> Ready:
    ready = Ready(file["feats"][:], np.asarray(file["coords"][:], np.float64) if "coords" in file else None, "um")
    ready.encoder = str(root.get("extractor", ""))
    size = root.get("tile_size_um", root.get("tile_size") if root.get("unit") == "um" else None)
    if size is None and ready.coords is not None:
        raise UserError(
            f"{path}: does not say the unit of its coords (STAMP before 2.0): make it again with a newer STAMP"
        )
    ready.tile_um = float(size) if size is not None else None
    for key in ("mpp", "width", "height"):
        if f"level0_{key}" in root:
            setattr(ready, key, root[f"level0_{key}"])
    return ready


def _pt(path: Path) -> Ready:
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise UserError(
            f"{path}: holds more than a tensor or is damaged ({reason(error, 120)}): save the tensor alone"
        ) from None
    if not isinstance(content, torch.Tensor):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a tensor: save the tensor alone")
    return Ready(content.float().numpy() if content.dtype == torch.bfloat16 else content.numpy())


def _npy(path: Path) -> Ready:
    values = np.load(path, allow_pickle=False)
    if values.ndim != 2 or values.shape[1] < 4:
        raise UserError(f"{path}: is {values.shape}: needs level, column and row before the features")
    head = values[:, :3].astype(np.float64)
    if (head != np.rint(head)).any():
        raise UserError(f"{path}: its first three columns are no level, column and row: check features.layout")
    return Ready(values[:, 3:], head[:, 1:], "tile")


def _plain(value):
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class Placed:
    """Tiles of a slide on level 0: corners (n, 2) int64 px, edge ``extent`` px, um/px, size of the slide in px."""

    xy: np.ndarray
    extent: float
    mpp: float
    width: int
    height: int


def place(
    path: str | Path, ready: Ready, mpp: float | None, tile_um: float | None, size: tuple[int, int] | None
) -> Placed:
    """Return where a slide's tiles lie. ``mpp``, ``tile_um`` and ``size`` (width, height) are the user's, and win.

    The size is that of the tiles where nobody says it. Errors: :class:`UserError` that asks for what is not known.
    """
    slide_mpp = mpp or ready.mpp
    if not slide_mpp:
        raise UserError(
            f"{path}: um/px of the slide is not known: fill the column mpp of the slides table, or features.mpp"
        )
    edge = tile_um or ready.tile_um
    extent = edge / slide_mpp if edge and (tile_um or ready.extent is None) else ready.extent
    if not extent:
        raise UserError(
            f"{path}: the edge of a tile is not known: set features.tile_um, for example 112 for 224 px at 0.5 um/px"
        )
    scale = {"px": 1.0, "um": 1.0 / slide_mpp, "tile": extent}[ready.unit]
    xy = np.rint(ready.coords * scale).astype(np.int64)
    least = np.ceil(xy.max(axis=0) + extent).astype(np.int64)
    width, height = size or (ready.width or int(least[0]), ready.height or int(least[1]))
    beyond = xy.max(axis=0) >= (width, height)
    if beyond.any():
        raise UserError(
            f"{path}: a tile lies at {tuple(int(v) for v in xy.max(axis=0))} px, outside the slide of {width} x "
            f"{height} px: features.layout, mpp or the slide's size is wrong"
        )
    return Placed(xy, float(extent), float(slide_mpp), int(width), int(height))


def table(placed: Placed):
    """Return the tile table (pyarrow) of tiles that lie where ``placed`` says, in their order; all count as tissue."""
    import pyarrow as pa

    cells = np.rint(placed.xy / placed.extent).astype(np.int32)
    columns = {"x": placed.xy[:, 0].astype(np.int32), "y": placed.xy[:, 1].astype(np.int32)}
    columns |= {"tissue": np.ones(len(cells), np.float32), "column": cells[:, 0], "row": cells[:, 1]}
    return pa.table({name: np.ascontiguousarray(values) for name, values in columns.items()})
