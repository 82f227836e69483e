"""Pixels of a pyramid level from its stored tiles, decoded strictly.

Each stored tile is read by its byte range. JPEG is decoded by libjpeg-turbo with every warning taken as an error,
deflate with its checksum, so that damaged data is never turned into pixels. Decoded tiles are kept for as long as a
walk in row-major order needs them.
"""

from __future__ import annotations

import os
import zlib

import numpy as np

from chowder.files import UserError
from chowder.slides.stored import DEFLATE, JPEG, RGB, UNCOMPRESSED, YCBCR, Stored

_START, _JFIF, _ADOBE, _SCAN = 0xD8, 0xE0, 0xEE, 0xDA


class Damaged(UserError):
    """A stored tile that does not decode."""


def decoder(stored: Stored) -> str:
    """Return what :class:`StoredLevel` decodes the level by: "simplejpeg", "zlib", "none"; "" where it does not."""
    if not stored.plain:
        return ""
    if stored.compression == JPEG:
        return "simplejpeg" if stored.photometric in {RGB, YCBCR} else ""
    if stored.photometric != RGB or stored.predictor not in {1, 2}:
        return ""
    return {UNCOMPRESSED: "none"}.get(stored.compression, "zlib" if stored.compression in DEFLATE else "")


class StoredLevel:
    """The pixels of one level of one slide. Not for sharing between threads.

    ``name`` says in errors which slide and level it is.
    """

    def __init__(self, path: str, stored: Stored, name: str):
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (a level is open as long as its reader)
        self._stored, self._name = stored, name
        self._rows, self._columns = stored.sparse.shape
        # The TIFF says which colours the JPEGs hold, whatever they say themselves.
        colours = bytes([0 if stored.photometric == RGB else 1])
        self._head = b"\xff\xd8\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + colours
        if stored.tables:
            self._head += _without_colours(stored.tables[:-2])
        self.decoder = decoder(stored)
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        self._free: list[np.ndarray] = []
        self._four = False
        self._range = (0, -1)

    def close(self) -> None:
        """Let go of the file and of what was kept."""
        self._file.close()
        self._kept.clear()
        self._free.clear()

    def read(self, left: int, top: int, width: int, height: int, four: bool = False) -> np.ndarray:
        """Return px [left, left + width) x [top, top + height) of the level: (height, width, 3) uint8.

        ``four``: with a fourth value of no meaning (height, width, 4), which is faster to resample. White beyond the
        edge and where nothing is stored. Raises :class:`Damaged`, which names the stored tile.
        """
        wide, high = self._stored.tile
        right, bottom = min(left + width, self._stored.size[0]), min(top + height, self._stored.size[1])
        first, last = max(top, 0) // high, (bottom - 1) // high
        if four != self._four:
            self._kept.clear()
            self._free.clear()
            self._four = four
        self._forget(first, last)
        shape = (height, width, 4 if four else 3)
        inside = left >= 0 and top >= 0 and right == left + width and bottom == top + height
        result = np.empty(shape, np.uint8) if inside else np.full(shape, 255, np.uint8)
        for row in range(first, last + 1):
            y0, y1 = max(row * high, top), min((row + 1) * high, bottom)
            for column in range(max(left, 0) // wide, (right - 1) // wide + 1):
                x0, x1 = max(column * wide, left), min((column + 1) * wide, right)
                place = result[y0 - top : y1 - top, x0 - left : x1 - left]
                tile = self._kept.get((row, column))
                if tile is None:
                    if self._stored.sparse[row, column]:
                        place[:] = 255
                        continue
                    tile = self._kept[row, column] = self._decoded(row, column)
                place[:] = tile[y0 - row * high : y1 - row * high, x0 - column * wide : x1 - column * wide]
        return result

    def _forget(self, first: int, last: int) -> None:
        """Let other rows of stored tiles than these be overwritten."""
        if (first, last) == self._range:
            return
        self._range = (first, last)
        gone = [place for place in self._kept if not first <= place[0] <= last]
        for place in gone:
            self._free.append(self._kept.pop(place))

    def _decoded(self, row: int, column: int) -> np.ndarray:
        width, height = self._stored.tile
        number = row * self._columns + column
        length = int(self._stored.lengths[number])
        data = os.pread(self._file.fileno(), length, int(self._stored.starts[number]))
        room = self._free.pop() if self._free else np.empty((height, width, 4 if self._four else 3), np.uint8)
        try:
            if len(data) < length:
                raise ValueError("cut off")
            if self.decoder == "simplejpeg":
                return self._from_jpeg(data, room)
            return self._from_plain(data, room)
        except (ValueError, zlib.error) as error:
            reason = " ".join(str(error).split()) or "no JPEG"
            raise Damaged(
                f"{self._name}: the stored tile in column {column}, row {row} is damaged ({reason}): fetch the slide "
                "again or leave it out of the slides table"
            ) from None

    def _from_jpeg(self, data: bytes, room: np.ndarray) -> np.ndarray:
        import simplejpeg

        if not any(data[:4]):
            raise ValueError("nothing but zeros")
        tile = simplejpeg.decode_jpeg(self._head + _without_colours(data), "RGBX" if self._four else "RGB", buffer=room)
        if tile.shape != room.shape:
            raise ValueError(f"holds {tile.shape[1]} x {tile.shape[0]} px, not {room.shape[1]} x {room.shape[0]}")
        return tile

    def _from_plain(self, data: bytes, room: np.ndarray) -> np.ndarray:
        size = room.shape[0] * room.shape[1] * 3
        if self.decoder == "zlib":
            stream = zlib.decompressobj()
            data = stream.decompress(data, size + 1)
            if not stream.eof:
                raise ValueError("its deflate stream does not end with the tile")
        if len(data) < size:
            raise ValueError(f"holds {len(data)} bytes, not {size}")
        room[..., :3] = np.frombuffer(data, np.uint8, size).reshape(*room.shape[:2], 3)
        if self._stored.predictor == 2:  # each px was stored as the difference to its left neighbour
            np.cumsum(room, 1, np.uint8, room)
        return room


def _without_colours(stream: bytes) -> bytes:
    """Return a JPEG stream without its first marker and without the two that speak of colours (JFIF, Adobe)."""
    if stream[:2] != bytes([0xFF, _START]):
        raise ValueError("no JPEG")
    place, parts = 2, []
    while stream[place : place + 1] == b"\xff" and place + 4 <= len(stream) and stream[place + 1] != _SCAN:
        end = place + 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        if stream[place + 1] not in {_JFIF, _ADOBE}:
            parts.append(stream[place:end])
        place = end
    return b"".join([*parts, stream[place:]])
