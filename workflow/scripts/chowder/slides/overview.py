"""The overview of a slide and its tissue mask, as the tissue step wrote them."""

from __future__ import annotations

import os

import numpy as np

from chowder.files import UserError
from chowder.slides import picture


def read(preview: str | os.PathLike, mask: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the overview (height, width, 3) uint8 and its tissue mask (height, width) bool.

    Errors: :class:`UserError` for a file that is absent or no picture, and for two of different sizes.
    """
    rgb, grey = picture.read(preview), picture.read(mask, "L")
    if rgb.shape[:2] != grey.shape:
        raise UserError(f"{mask}: is {grey.shape}, its overview {rgb.shape[:2]}: delete both and rerun `tissue`")
    return rgb, grey > 127
