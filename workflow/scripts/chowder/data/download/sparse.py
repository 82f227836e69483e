"""A local file of full length that holds some byte ranges of a remote one; the rest are holes that read as zeros.

Beside ``<name>.partial`` lie a note of the remote version and a journal with one line per piece: offset, length and
checksum. A run that goes on reads every piece of the journal back and keeps those whose checksum is right. So neither a
kill nor a power cut can make a hole count as fetched, in whatever order the disk wrote data and journal.
"""

from __future__ import annotations

import bisect
import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from chowder.data.download.partial import shown
from chowder.data.download.ranges import Version
from chowder.files import UserError, write_text

PIECE = 64 << 10  # bytes collected before they are written and noted: what a kill can cost
Range = tuple[int, int]  # start and end in the file


class Ranges:
    """A set of bytes, as sorted ranges that neither overlap nor touch."""

    def __init__(self, ranges: Iterable[Range] = ()):
        self.starts: list[int] = []
        self.ends: list[int] = []
        for start, end in sorted(ranges):
            self.add(start, end)

    def __iter__(self) -> Iterator[Range]:
        return iter(zip(self.starts, self.ends, strict=True))

    @property
    def size(self) -> int:
        """Number of bytes in the set."""
        return sum(self.ends) - sum(self.starts)

    def add(self, start: int, end: int) -> None:
        """Add the bytes [start, end)."""
        if start >= end:
            return
        first = bisect.bisect_left(self.ends, start)
        last = bisect.bisect_right(self.starts, end)
        if first < last:
            start, end = min(start, self.starts[first]), max(end, self.ends[last - 1])
        self.starts[first:last] = [start]
        self.ends[first:last] = [end]

    def within(self, start: int, end: int) -> list[Range]:
        """Return the parts of [start, end) that are in the set."""
        first = bisect.bisect_right(self.ends, start)
        last = bisect.bisect_left(self.starts, end)
        return [(max(start, self.starts[i]), min(end, self.ends[i])) for i in range(first, last)]

    def without(self, other: Ranges) -> list[Range]:
        """Return the parts of this set that are not in ``other``."""
        result = []
        for start, end in self:
            for a, b in [*other.within(start, end), (end, end)]:
                if start < a:
                    result.append((start, a))
                start = b
        return result


def merged(ranges: list[Range], gap: int) -> list[Range]:
    """Join sorted ranges that at most ``gap`` bytes part: each of the result is one request."""
    result: list[Range] = []
    for start, end in ranges:
        if result and start - result[-1][1] <= gap:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def leftovers(destination: Path) -> list[Path]:
    """Names that an unfinished sparse file of ``destination`` has, the journal last."""
    return [destination.with_name(f"{destination.name}.partial{end}") for end in ("", ".json", ".ranges")]


class SparseFile:
    """The unfinished file. Invariant: ``have`` are the bytes that are in the file and in the journal.

    Attributes
    ----------
    have : Ranges
        What is here, verified.
    version : Version or None
        The remote version that it is of; None before anything came.
    """

    def __init__(self, destination: Path, url: str):
        self.destination, self.url = destination, shown(url)
        self.path, self.note, self.journal = leftovers(destination)
        self.handle = self.path.open("ab+", buffering=0)
        self.data, self.lines = -1, None
        try:
            self._lock()
            self.data = os.open(self.path, os.O_RDWR)  # not for appending: pieces go to their own places
            self.have, self.version = Ranges(), None
            self._take_up()
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{self.destination}: another process is fetching it: wait for it or stop it, then run again"
            ) from None
        except OSError:
            return  # a file system without locks
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == os.fstat(self.handle.fileno()).st_ino:
                return
        raise UserError(f"{self.destination}: another process has just fetched it: run again")

    def __enter__(self) -> SparseFile:
        return self

    def __exit__(self, *exc) -> None:
        if not self.have.size and self.path.exists() and self.path.stat().st_ino == os.fstat(self.data).st_ino:
            for path in (self.path, self.note, self.journal):  # nothing worth keeping
                path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        if self.lines is not None:
            self.lines.close()
        if self.data >= 0:
            os.close(self.data)
            self.data = -1
        self.handle.close()

    def _take_up(self) -> None:
        """Keep what an earlier run left of the same URL, as far as its checksums are right."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            version = Version(**note["version"])
            if note["url"] != self.url or os.fstat(self.data).st_size != version.length:
                raise ValueError
            *lines, torn = self.journal.read_text(encoding="ascii").split("\n")
        except (OSError, ValueError, TypeError, KeyError):
            self.restart(None)
            return
        for line in lines:
            match = re.fullmatch(r"(\d+) (\d+) ([0-9a-f]{16})", line)
            if match and _digest(self.read(int(match[1]), int(match[2]))) == match[3]:
                self.have.add(int(match[1]), int(match[1]) + int(match[2]))
        self.version = version
        self.lines = self.journal.open("ab", buffering=0)
        self.lines.write(b"\n" if torn else b"")

    def restart(self, version: Version | None) -> None:
        """Drop everything; what comes now is of ``version``."""
        os.ftruncate(self.data, 0)
        self.have, self.version = Ranges(), version
        if self.lines is not None:
            self.lines.close()
            self.lines = None
        self.journal.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        if version is not None:
            os.ftruncate(self.data, version.length)
            write_text(self.note, json.dumps({"url": self.url, "version": asdict(version)}) + "\n")
            self.lines = self.journal.open("ab", buffering=0)

    def read(self, start: int, size: int) -> bytes:
        """Return bytes of the file; zeros where there is a hole."""
        parts, at = [], start
        while at < start + size and (part := os.pread(self.data, start + size - at, at)):
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def write(self, start: int, piece: bytes) -> None:
        """Put ``piece`` in its place and note it."""
        view, at = memoryview(piece), start
        while view:
            count = os.pwrite(self.data, view, at)
            view, at = view[count:], at + count
        self.lines.write(f"{start} {len(piece)} {_digest(piece)}\n".encode())
        self.have.add(start, start + len(piece))

    def blank(self, start: int, end: int) -> None:
        """Take bytes back: they read as zeros again."""
        for at in range(start, end, 1 << 20):
            os.pwrite(self.data, bytes(min(1 << 20, end - at)), at)
        self.have = Ranges(self.have.without(Ranges([(start, end)])))

    def take(self, stream: Iterable[bytes], start: int, wanted: Ranges) -> Iterator[int]:
        """Write those bytes of a stream that begins at ``start`` that are ``wanted``; yield the size of each piece."""
        waiting, place = bytearray(), start

        def flush() -> int:
            nonlocal place
            for a, b in wanted.within(place, place + len(waiting)):
                self.write(a, bytes(waiting[a - place : b - place]))
            count, place = len(waiting), place + len(waiting)
            waiting.clear()
            return count

        try:
            for chunk in stream:
                waiting += chunk
                if len(waiting) >= PIECE:
                    yield flush()
        finally:
            flush()  # also what came before an error counts
        yield 0

    def sha256(self, wanted: Ranges) -> str:
        """Return the sha256 of the wanted bytes, from the first to the last, holes left out."""
        total = hashlib.sha256()
        for start, end in wanted:
            for at in range(start, end, 1 << 20):
                total.update(self.read(at, min(1 << 20, end - at)))
        return total.hexdigest()

    def finish(self) -> None:
        """Sync the file to disk and give it its name; journal and note go last."""
        os.fsync(self.data)
        self.path.replace(self.destination)
        self.note.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)


def _digest(piece: bytes) -> str:
    return hashlib.blake2b(piece, digest_size=8).hexdigest()
