"""Byte ranges of one version of a remote file: exactly those asked for, resumed exactly, never of two versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from chowder.data.download.partial import shown
from chowder.data.download.patience import ADVANCE, Patience
from chowder.data.download.transfer import Again, Settings, _answer, _body
from chowder.files import UserError


class Changed(Exception):
    """The remote file is not the version that was begun with."""


class NoRanges(Exception):
    """The server can't be asked for parts of this file, or not safely; the message says why."""


@dataclass(frozen=True)
class Version:
    """What tells one version of a remote file from another; ``length`` in bytes."""

    etag: str
    modified: str
    length: int


class Remote:
    """A remote file that is read by ranges. Every answer must be of one version: the first one, or the one given.

    Guards: If-Match with a strong ETag (else If-Unmodified-Since), the ETag and Last-Modified of the answer, the total
    length, and a Content-Range that starts where it was asked to. ``moved`` and ``requests`` count what was received.
    """

    def __init__(self, session, url: str, name: str, settings: Settings, version: Version | None = None):
        self.session, self.url, self.name, self.settings = session, url, name, settings
        self.version = version
        self.moved = self.requests = 0
        self._new, self._patience = 0, Patience(url, name, settings)

    def read(self, start: int, size: int) -> bytes:
        """Return ``size`` bytes from ``start``, fewer only where the file ends.

        Raises Changed, NoRanges, Absent, or UserError when the line stays dead.
        """
        return b"".join(self.stream(start, size))

    def stream(self, start: int, size: int) -> Iterator[bytes]:
        """Yield the bytes from ``start`` on as they come; after a broken connection only the rest is asked for."""
        at, end = start, start + size
        while True:
            if self.version is not None:
                end = min(end, self.version.length)
            if at >= end:
                return
            try:
                for chunk in self._once(at, end):
                    at += len(chunk)
                    self._advance(len(chunk))
                    yield chunk
            except Again as again:
                self._patience.wait(again)

    def _once(self, start: int, end: int) -> Iterator[bytes]:
        """One request for the bytes [start, end)."""
        headers, version = {"Range": f"bytes={start}-{end - 1}"}, self.version
        if version is not None and version.etag:
            headers["If-Match"] = version.etag
        elif version is not None:
            headers["If-Unmodified-Since"] = version.modified
        self.requests += 1
        with _answer(self.session, self.url, headers, self.settings) as response:
            left = self._judge(response, start, end) - start
            for chunk in _body(response, self.settings):
                if len(chunk) > left:
                    raise Again("more bytes than promised came")
                left -= len(chunk)
                yield chunk
        if left:
            raise Again(f"the connection ended {left} bytes early")

    def _judge(self, response, start: int, end: int) -> int:
        """Return where this answer's body ends. Nothing of a body is used before it is judged."""
        status, headers, before = response.status_code, response.headers, self.version
        if status == 412 or (status == 416 and before is not None):
            raise Changed(f"the server answers {status} {response.reason}")
        etag = headers.get("ETag", "")
        etag = "" if etag.startswith("W/") else etag  # a weak tag may not guard a range (RFC 9110, 13.1.5)
        if status == 200:
            if before is not None and etag != before.etag:
                raise Changed("the server sends another version")
            raise NoRanges("the server knows no ranges")
        if status == 416:
            raise NoRanges("the file is empty")
        if status != 206:
            raise UserError(
                f"{shown(self.url)}: the server answers {status} {response.reason}: this is not a file it serves"
            )
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UserError(
                f"{shown(self.url)}: the server sends it compressed although asked not to: use another mirror"
            )
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", "").strip())
        if not match:
            raise Again("the answer does not say which bytes it holds")
        first, last, total = map(int, match.groups())
        now = Version(etag, headers.get("Last-Modified", ""), total)
        if before is None and not now.etag and not now.modified:
            raise NoRanges("the server names no version of the file (ETag, Last-Modified)")
        if before is not None and (before.length != total or before.etag != etag or before.modified != now.modified):
            raise Changed("the server sends another version")
        if first != start or not start <= last < end:
            raise Again(f"bytes {first} to {last} came, not {start} to {end - 1}")
        self.version = now
        return last + 1

    def _advance(self, count: int) -> None:
        self.moved += count
        self._new += count
        if self._new >= ADVANCE:
            self._new = 0
            self._patience.forget()
