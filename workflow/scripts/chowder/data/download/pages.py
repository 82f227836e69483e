"""The directories of a remote TIFF, fetched to their places in a sparse file, and where its tiles lie."""

from __future__ import annotations

import io
import logging
import struct
from dataclasses import dataclass

import numpy as np

from chowder.data.download.ranges import Remote
from chowder.data.download.sparse import Ranges, SparseFile
from chowder.files import UserError

AHEAD = 4 << 10  # bytes asked for at once while directories are read
# What tifffile raises for a damaged directory. Not Exception: what the network raises must go on.
DAMAGED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, struct.error, MemoryError)


@dataclass(frozen=True)
class Page:
    """One TIFF directory: size and tile (width, height) in px, places and lengths of its tiles in bytes."""

    number: int
    size: tuple[int, int]
    tile: tuple[int, int] | None
    compression: int
    tables: bytes  # JPEG tables that its tiles share
    offsets: np.ndarray
    counts: np.ndarray

    def tiles(self) -> list[tuple[int, int, int]]:
        """Return (index, start, end) of every tile that has bytes."""
        return [
            (i, start, start + count)
            for i, (start, count) in enumerate(zip(self.offsets.tolist(), self.counts.tolist(), strict=True))
            if count
        ]


class Window(io.RawIOBase):
    """A remote file as a file object. What was read stays in memory; what belongs to a directory is kept in ``part``.

    ``needed``: the header, the directories and their values.
    """

    def __init__(self, remote: Remote, part: SparseFile):
        super().__init__()
        self.remote, self.part = remote, part
        self.at = 0
        self.ahead: list[tuple[int, bytes]] = []
        self.needed = Ranges()
        self.name = str(part.path)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position, as files do."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.part.version.length}[whence]
        if base + offset < 0:
            raise ValueError(f"no position {base + offset} in a file")
        self.at = base + offset
        return self.at

    def readinto(self, buffer) -> int:
        """Fill ``buffer`` from the position on; fewer bytes only where the file ends."""
        size = max(0, min(len(buffer), self.part.version.length - self.at))
        buffer[:size] = self.bytes_at(self.at, size)
        self.at += size
        return size

    def bytes_at(self, start: int, size: int) -> bytes:
        """Return bytes of the file: from the part, from memory, or fetched."""
        data = bytearray(self.part.read(start, size))
        for a, b in Ranges([(start, start + size)]).without(self.part.have):
            data[a - start : b - start] = self._remote(a, b)
        return bytes(data)

    def _remote(self, start: int, end: int) -> bytes:
        for place, data in self.ahead:
            if place <= start and end <= place + len(data):
                return data[start - place : end - place]
        fresh = self.remote.read(start, max(end - start, AHEAD))
        self.ahead.append((start, fresh))
        return fresh[: end - start]

    def need(self, start: int, size: int) -> None:
        """Keep bytes that belong to a directory, as far as the file reaches."""
        end = min(start + size, self.part.version.length)
        if start < end:
            self.needed.add(start, end)
            for a, b in Ranges([(start, end)]).without(self.part.have):
                self.part.write(a, self.bytes_at(a, b - a))

    def spend(self, wanted: Ranges) -> None:
        """Write what was read ahead and is ``wanted`` after all."""
        for place, data in self.ahead:
            for start, end in Ranges(wanted.within(place, place + len(data))).without(self.part.have):
                self.part.write(start, data[start - place : end - place])
        self.ahead.clear()


def directories(window: Window) -> list[Page]:
    """Fetch all directories of a TIFF or BigTIFF with all their values; [] when the file is none.

    The order is that of the file's chain of directories.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        with tifffile.TiffFile(window) as file:
            window.need(0, 16 if file.is_bigtiff else 8)
            pages, seen = [], set()
            for page in file.pages:
                if page.offset in seen:  # a chain that bites its tail has no end
                    break
                seen.add(page.offset)
                pages.append(_page(len(pages), page, file, window))
            return pages
    except DAMAGED:
        return []


def _page(number: int, page, file, window: Window) -> Page:
    layout = file.tiff
    entries = len(page.tags) * layout.tagsize + layout.tagnosize + layout.offsetsize
    window.need(page.offset, entries)
    for tag in page.tags:  # tifffile leaves long values for later; every reader of the file may want them
        window.need(tag.valueoffset, tag.valuebytecount)
    tags = {
        code: np.atleast_1d(page.tags[code].value) for code in (256, 257, 259, 322, 323, 324, 325) if code in page.tags
    }
    tile = (int(tags[322][0]), int(tags[323][0])) if 322 in tags and 323 in tags else None
    offsets, counts = (tags.get(code, np.zeros(0)).astype(np.int64) for code in (324, 325))
    if offsets.size != counts.size or (offsets < 0).any() or (counts < 0).any():
        raise ValueError("as many offsets as byte counts are needed, none of them negative")
    tables = bytes(page.tags[347].value) if 347 in page.tags else b""
    size = (int(tags[256][0]), int(tags[257][0]))
    if min(*size, *(tile or size)) < 1:
        raise ValueError("an image or tile without an extent")
    return Page(number, size, tile, int(tags.get(259, [1])[0]), tables, offsets, counts)


def check_places(pages: list[Page], total: int, url: str) -> None:
    """Refuse a file whose tiles are said to lie beyond its end. ``total`` in bytes."""
    for page in pages:
        lost = int(((page.counts > 0) & ((page.offsets < 0) | (page.counts > total - page.offsets))).sum())
        if lost:
            raise UserError(
                f"{url}: is cut off: {lost} tiles of its image {page.number} ({page.size[0]} x {page.size[1]} px) lie "
                "beyond the end of the file: use another mirror"
            )
