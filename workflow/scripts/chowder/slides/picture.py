"""Ordinary pictures: previews, masks, thumbnails that a user gives."""

from __future__ import annotations

import os

import numpy as np

from chowder.files import UserError, reason

LARGEST = 2**28  # px; a mask of a whole glass (25 x 75 mm) at 8 um/px has 3e7
AGAIN = "delete it and run the workflow again"


def read(path: str | os.PathLike, mode: str = "RGB", todo: str = AGAIN) -> np.ndarray:
    """Return a picture as (height, width, 3) uint8, or (height, width) with ``mode`` "L".

    Errors: :class:`UserError`, ending with ``todo``, for a file that is absent, no picture, cut off or too large. The
    size is known before a pixel is decoded.
    """
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # LARGEST is the limit here
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            wide, high = picture.size
            if wide * high > LARGEST:
                raise UserError(f"{path}: has {wide} x {high} px, more than any preview: {todo}")
            return np.asarray(picture.convert(mode))
    except UserError:
        raise
    except Exception as error:  # Pillow raises of all kinds for a damaged file
        raise UserError(f"{path}: cannot be read as a picture ({reason(error)}): {todo}") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit
