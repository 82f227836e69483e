"""Tumour masks as TIFF, PNG or npy: the lesions that annotations would give.

A mask pixel of the evaluation's grid covers 32 x 32 level-0 pixels. A finer mask is read at the pixel that holds the
centre of each, by the same rule by which outlines are rasterised (:func:`chowder.data.annotations.tumor_mask`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chowder.evaluation.lesions import DOWNSAMPLE
from chowder.files import UserError, reason

SUFFIXES = (".npy", ".png", ".tif", ".tiff")
_LARGEST_PAGE = 2**28  # pixels read at once; level 5 of the largest slides has 2**25


def mask_files(folder: str | os.PathLike) -> dict[str, Path]:
    """Return the masks of a folder by slide, in lower case: ``<slide>.tif`` or, as in the challenge's,
    ``<slide>_mask.tif``.

    Raises
    ------
    UserError : no such folder, two masks of one slide.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: give the one that holds <slide>.tif, .png or .npy")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        slide = path.stem.lower().removesuffix("_mask")
        if slide in found:
            raise UserError(f"{path}: a second mask of the slide that {found[slide].name} is of: keep one")
        found[slide] = path
    return found


def read_mask(
    path: str | os.PathLike, size: tuple[int, int] | None, downsample: int | None = None, value: int | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Read the tumour mask of a slide on the grid of the evaluation.

    Parameters
    ----------
    path : .npy (two-dimensional), .png, or .tif; of a pyramid the level nearest to the grid is read.
    size : (width, height) of the slide in level-0 pixels; None where it is not known.
    downsample : level-0 pixels per pixel of the (first page of the) mask, a power of two up to 32. By default it
        follows from ``size``; without that, a pyramid begins at level 0 and a single image is on the grid (32).
    value : the value of tumour pixels; by default everything but 0, in a mask of at most two values.

    Returns
    -------
    bool (ceil(height / 32), ceil(width / 32)), and the slide's (width, height): as given, or what the mask covers.

    Raises
    ------
    UserError : cannot be read, a shape that does not fit the slide, values that do not say which is tumour.
    """
    path = Path(path)
    pages = _npy(path) if path.suffix.lower() == ".npy" else _image(path)
    with pages as (sizes, read):
        first = _downsample_of(path, sizes, size, downsample)
        place, scale = _best_page(path, sizes, first)
        whole = size or (sizes[0][0] * first, sizes[0][1] * first)
        image = read(place)
    mask = _tumour(path, image, value)
    rows, columns = (-(-side // DOWNSAMPLE) for side in (whole[1], whole[0]))
    step = DOWNSAMPLE // scale
    mask = mask[step // 2 :: step, step // 2 :: step][:rows, :columns]
    if mask.shape != (rows, columns):  # the last row or column of the grid has its centre beyond the mask
        mask = np.pad(mask, [(0, rows - mask.shape[0]), (0, columns - mask.shape[1])])
    return mask, whole


def _downsample_of(
    path: Path, sizes: list[tuple[int, int]], size: tuple[int, int] | None, downsample: int | None
) -> int:
    """Return the level-0 pixels per pixel of the first page."""
    wide, high = sizes[0]
    if downsample is None and size is None:
        return 1 if len(sizes) > 1 else DOWNSAMPLE
    steps = [downsample] if downsample is not None else [2**power for power in range(6)]
    for step in steps:
        if size is None or all(abs(side * step - own) <= step for side, own in zip((wide, high), size, strict=True)):
            return step
    told = "" if downsample is None else f" of {downsample} level-0 pixels per pixel"
    raise UserError(
        f"{path}: a mask of {wide} x {high}{told} does not fit a slide of {size[0]} x {size[1]}: it must be the "
        "slide's size divided by 1, 2, 4, 8, 16 or 32; check width and height in the slides table"
    )


def _best_page(path: Path, sizes: list[tuple[int, int]], first: int) -> tuple[int, int]:
    """Return the coarsest page that is not coarser than the grid, and its level-0 pixels per pixel."""
    usable = []
    for place, (wide, high) in enumerate(sizes):
        ratio = round(sizes[0][0] / wide) * first
        step = ratio // first
        near = all(abs(side * step - own) <= 2 * step for side, own in zip((wide, high), sizes[0], strict=True))
        if ratio <= DOWNSAMPLE and DOWNSAMPLE % ratio == 0 and near:
            usable.append((ratio, -place))
    ratio, place = max(usable)
    wide, high = sizes[-place]
    if wide * high > _LARGEST_PAGE:
        raise UserError(
            f"{path}: {wide} x {high} pixels are too many to read at once: save the mask at 1/32 of the slide's size"
        )
    return -place, ratio


@contextlib.contextmanager
def _npy(path: Path) -> Iterator:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # of all kinds, for a damaged header
        raise UserError(f"{path}: cannot be read as npy ({reason(error, 80)}): save it with numpy.save") from None
    if array.ndim != 2 or not array.size:
        raise UserError(f"{path}: has the shape {array.shape}: a mask has rows and columns")
    yield [(array.shape[1], array.shape[0])], lambda place: np.asarray(array)


@contextlib.contextmanager
def _image(path: Path) -> Iterator:
    """Yield the (width, height) of the pages of a PNG or TIFF, and a function that reads a page."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # sizes are checked before pixels are read
    try:
        with Image.open(path, formats=("PNG", "TIFF")) as image:
            sizes = []
            for place in range(getattr(image, "n_frames", 1)):
                image.seek(place)
                sizes.append(image.size)

            def read(place: int) -> np.ndarray:
                image.seek(place)
                return np.asarray(image)

            yield sizes, read
    except UserError:
        raise
    except Exception as error:  # of all kinds, for a damaged file
        raise UserError(f"{path}: cannot be read as a PNG or TIFF ({reason(error, 80)}): save the mask again") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _tumour(path: Path, image: np.ndarray, value: int | None) -> np.ndarray:
    """Return which pixels are tumour."""
    if image.ndim == 3:
        colours = image[..., :-1] if image.shape[2] in (2, 4) else image  # the last is alpha
        if (colours != colours[..., :1]).any():
            raise UserError(f"{path}: a colour image: save the mask with one channel")
        image = colours[..., 0]
    if image.dtype.kind not in "biuf":
        raise UserError(f"{path}: holds {image.dtype}, not numbers: save the mask as 0 and 1")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise UserError(f"{path}: holds NaN or infinite values: save the mask as 0 and 1")
    if value is not None:
        return image == value
    marked = image != 0
    if marked.any():
        low, high = image[marked].min(), image[marked].max()
        if low != high:
            raise UserError(
                f"{path}: pixels have several values beside 0 ({low:g} to {high:g}): say with --mask-value which is "
                "tumour"
            )
    return marked
