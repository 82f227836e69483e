"""The record of a slide's tissue (tissue/<slide>.json), as later steps read it."""

from __future__ import annotations

import os
from typing import Any

from chowder.files import field, read_json

KINDS = {
    "width": "count",
    "height": "count",
    "mpp": "positive number",
    "downsamples": "list of positive numbers",
    "mask_scale": "list of positive numbers",
    "area_mm2": "number",
    "warnings": "list",
}


def read(path: str | os.PathLike, *needed: str) -> dict[str, Any]:
    """Read a record; the keys in ``needed``, of :data:`KINDS`, are there and of their kind.

    width, height: px of level 0; mpp: um/px of level 0; downsamples: level-0 px per px of each level; mask_scale:
    level-0 px per px of the mask, (x, y); area_mm2: of the tissue; warnings: texts.

    Errors: :class:`UserError` for a file that is absent, no JSON object, or lacks one of them.
    """
    content = read_json(path)
    for key in needed:
        field(path, content, key, KINDS[key])
    return content
