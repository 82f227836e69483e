"""A file on its way: the part that is there, its note, its checksums, and how fast it comes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chowder.files import UserError, write_text

CHUNK = 1 << 20
FLUSH = 16 << 20


def human(size: float) -> str:
    """Bytes as people write them (decimal): ``3.41 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def tell(line: str) -> None:
    """Write a line to stderr at once."""
    print(line, file=sys.stderr, flush=True)


def shown(url: str) -> str:
    """``url`` without user, password and query: those can be secrets and the line goes to a log."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


class Sums:
    """Checksums of a stream, worked out in a thread beside the transfer (hashlib lets go of the interpreter's lock)."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.queue: queue.Queue[bytes | None] = queue.Queue(maxsize=64)
        self.thread: threading.Thread | None = None
        self.restart()

    def restart(self) -> None:
        """Forget what was hashed."""
        self.drain()
        self.hashes = [hashlib.new(name, usedforsecurity=False) for name in self.names]

    def update(self, chunk: bytes) -> None:
        """Hash ``chunk`` in a thread beside the transfer."""
        if not self.hashes:
            return
        if self.thread is None:
            self.thread = threading.Thread(target=self._work, daemon=True)
            self.thread.start()
        self.queue.put(chunk)

    def _work(self) -> None:
        while (chunk := self.queue.get()) is not None:
            for one in self.hashes:
                one.update(chunk)

    def drain(self) -> None:
        """Wait until every chunk handed in is hashed."""
        if self.thread is not None:
            self.queue.put(None)
            self.thread.join()
            self.thread = None

    def result(self) -> dict[str, str]:
        """Wait for the thread and return each checksum in hexadecimal, by the name of its algorithm."""
        self.drain()
        return {name: one.hexdigest() for name, one in zip(self.names, self.hashes, strict=True)}


class Meter:
    """A line now and then: bytes, rate, time left."""

    def __init__(self, name: str, interval: float):
        self.name, self.interval = name, interval
        self.started = self.printed = time.monotonic()
        self.moved = 0

    def add(self, moved: int, size: int, total: int | None) -> None:
        """Count ``moved`` more bytes (``size`` of ``total`` are there) and print a line when it is time."""
        self.moved += moved
        now = time.monotonic()
        if now - self.printed < self.interval:
            return
        self.printed = now
        rate = self.moved / max(now - self.started, 1e-9)
        of = "" if total is None else f" of {human(total)}"
        left = "" if total is None or rate <= 0 else f", {(total - size) / rate:.0f} s left"
        tell(f"{self.name}: {human(size)}{of}, {human(rate)}/s{left}")


class Part:
    """The unfinished file, its checksums so far, and the note of the remote file that it is the beginning of.

    Invariant: what was hashed is exactly what the file holds.
    """

    def __init__(self, destination: Path, names: Sequence[str], meter: Meter):
        self.path = destination.with_name(f"{destination.name}.partial")
        self.note = destination.with_name(f"{destination.name}.partial.json")
        self.meter = meter
        self.handle = self.path.open("ab+", buffering=0)
        try:
            self._lock(destination)
            self.sums = Sums(names)
            self.size = self.flushed = 0  # bytes here and hashed; bytes whose way to the disk has begun
            self.origin = self._read_note()
        except BaseException:
            self.handle.close()
            raise

    def _lock(self, destination: Path) -> None:
        """Lock the part: a job that outlived its killed Snakemake would mix its bytes with ours."""
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{destination}: another process is fetching it: wait for it or stop it, then run again"
            ) from None
        except OSError:
            return  # a file system without locks
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == os.fstat(self.handle.fileno()).st_ino:
                return
        raise UserError(f"{destination}: another process has just fetched it: run again")

    def _read_note(self) -> dict[str, Any]:
        try:
            origin = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return origin if isinstance(origin, dict) else {}

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *exc) -> None:
        self.sums.drain()
        if self.size == 0 and os.fstat(self.handle.fileno()).st_size == 0:  # nothing worth keeping
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
                self.note.unlink(missing_ok=True)
        self.handle.close()

    def take_up(self, url: str) -> None:
        """Hash what an earlier run left. It is left out when nothing could tell that it is of the same remote file."""
        left = os.fstat(self.handle.fileno()).st_size
        guarded = self.origin.get("url") == shown(url) and (self.origin.get("etag") or self.origin.get("modified"))
        if left == self.size or not (self.sums.names or guarded):
            return
        self.handle.seek(0)
        while chunk := self.handle.read(CHUNK):
            self.sums.update(chunk)
            self.size += len(chunk)
        tell(f"{self.meter.name}: continuing after {human(self.size)}")

    def restart(self, origin: dict[str, Any]) -> None:
        """Empty the file; what comes now belongs to ``origin``."""
        self.handle.truncate(0)
        self.sums.restart()
        self.size = self.flushed = 0
        self.origin = origin
        if origin:
            write_text(self.note, json.dumps(origin) + "\n")
        else:
            self.note.unlink(missing_ok=True)

    def append(self, chunk: bytes) -> None:
        """Write ``chunk`` to the end of the part and hash it."""
        view = memoryview(chunk)
        while view:
            view = view[self.handle.write(view) :]
        self.size += len(chunk)
        self.sums.update(chunk)
        if self.size - self.flushed >= FLUSH and hasattr(os, "posix_fadvise"):
            # Linux starts writing these pages to the disk now (and keeps them), so that the fsync at the end is short.
            os.posix_fadvise(self.handle.fileno(), self.flushed, self.size - self.flushed, os.POSIX_FADV_DONTNEED)
            self.flushed = self.size

    def finish(self, destination: Path) -> None:
        """Sync the part to disk, give it its name and delete its note."""
        os.fsync(self.handle.fileno())
        self.path.replace(destination)
        self.note.unlink(missing_ok=True)
