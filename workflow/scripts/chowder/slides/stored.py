"""The directories of a TIFF file, read without a library: which tiles are stored with no bytes."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

READABLE = {1, 5, 7, 8, 32946}  # none, LZW, JPEG, deflate: what every libvips build decodes by itself


@dataclass(frozen=True)
class Stored:
    """One TIFF directory: size and tile (width, height), and which tiles (rows, columns) were left empty."""

    size: tuple[int, int]
    tile: tuple[int, int] | None
    compression: int
    bits: int
    sparse: np.ndarray
    lost: int = 0  # tiles that lie beyond the end of the file

    def touches_sparse(self, left: float, top: float, side: float) -> bool:
        """Whether the square at (left, top), px of this level, reaches into an empty tile."""
        width, height = self.tile
        rows = slice(max(0, math.floor(top / height)), max(0, math.floor((top + side) / height) + 1))
        columns = slice(max(0, math.floor(left / width)), max(0, math.floor((left + side) / width) + 1))
        return bool(self.sparse[rows, columns].any())


def tiff_directories(path: str) -> list[Stored]:
    """The directories of a TIFF or BigTIFF, in the order of libvips' pages; [] for other files."""
    try:
        with open(path, "rb") as handle:
            return list(_walk(handle))
    except (OSError, struct.error, KeyError, IndexError, ValueError):
        return []


_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}


def _walk(handle) -> Iterator[Stored]:
    total = os.fstat(handle.fileno()).st_size
    head = handle.read(16)
    order = {b"II": "<", b"MM": ">"}[head[:2]]
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    entry, pointer, counter = (20, "Q", "Q") if big else (12, "I", "H")
    wide = struct.calcsize(order + pointer)
    offset = struct.unpack_from(order + pointer, head, 8 if big else 4)[0]
    seen = set()
    while offset and offset not in seen:
        seen.add(offset)
        handle.seek(offset)
        count = struct.unpack(order + counter, handle.read(struct.calcsize(order + counter)))[0]
        if count > 4096:
            raise ValueError("not a directory")
        data = handle.read(count * entry + wide)
        tags = {}
        for i in range(count):
            code, kind = struct.unpack_from(order + "HH", data, i * entry)
            number = struct.unpack_from(order + pointer, data, i * entry + 4)[0]
            if code in {256, 257, 258, 259, 322, 323, 324, 325} and kind in _TYPES and number <= 2**24:
                form = f"{order}{number}{_TYPES[kind]}"
                length = struct.calcsize(form)
                raw = data[i * entry + 4 + wide : i * entry + 4 + 2 * wide]
                if length > wide:
                    handle.seek(struct.unpack(order + pointer, raw)[0])
                    raw = handle.read(length)
                tags[code] = struct.unpack(form, raw[:length])
        size, tile = (tags[256][0], tags[257][0]), None
        sparse = np.zeros((0, 0), bool)
        if 322 in tags and 323 in tags and 325 in tags:
            tile = (tags[322][0], tags[323][0])
            shape = (-(-size[1] // tile[1]), -(-size[0] // tile[0]))
            empty = np.asarray(tags[325]) == 0
            if empty.size == shape[0] * shape[1]:
                sparse = empty.reshape(shape)
        lost = 0
        if len(tags.get(324, ())) == len(tags.get(325, (0,))):
            ends = [start + length for start, length in zip(tags[324], tags[325], strict=True) if length]
            lost = sum(end > total for end in ends)
        yield Stored(size, tile, tags.get(259, (1,))[0], max(tags.get(258, (1,))), sparse, lost)
        offset = struct.unpack_from(order + pointer, data, count * entry)[0]
