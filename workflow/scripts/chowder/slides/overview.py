"""The overview of a slide and its tissue mask, as the tissue step wrote them."""

from __future__ import annotations

import os

import numpy as np

from chowder.files import UserError


def read(preview: str | os.PathLike, mask: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the overview (height, width, 3) uint8 and its tissue mask (height, width) bool.

    Errors: :class:`UserError` for a file that is absent or no picture, and for two of different sizes.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # both are ours, of a known size
    pictures = []
    for path, mode in ((preview, "RGB"), (mask, "L")):
        try:
            with Image.open(path) as picture:
                pictures.append(np.asarray(picture.convert(mode)))
        except OSError as error:
            raise UserError(f"{path}: cannot be read as a picture ({error}): delete it and rerun `tissue`") from None
    rgb, grey = pictures
    if rgb.shape[:2] != grey.shape:
        raise UserError(f"{mask}: is {grey.shape}, its overview {rgb.shape[:2]}: delete both and rerun `tissue`")
    return rgb, grey > 127
