"""Fetching a file whole and right, or saying in one line why not (why this client: docs/data.md).

A transfer goes to ``<name>.partial`` beside the target, with a note ``<name>.partial.json`` of what it is a part of.
It is continued after a dropped connection or a kill, hashed while it arrives, and gets its own name only when it is
complete and its checksums are right. Files on local disks are linked, not copied.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import queue
import random
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from chowder.files import UserError, atomic, write_text

CHUNK = 1 << 20
FLUSH = 16 << 20
RETRIED = {408, 425, 429, 500, 502, 503, 504}  # what may pass by itself; any other error status is final
ABSENT = {401, 403, 404, 410}  # S3 answers 403 for a missing key where listing is forbidden


@dataclass(frozen=True)
class Settings:
    """How patient a transfer is. Times in seconds, rates in bytes a second.

    ``retries`` counts tries in a row that bring less than 1 MiB of new bytes, so that a long file over a bad line gets
    as many as it needs and a dead line ends soon. ``local`` is ``symlink``, ``hardlink`` or ``copy``.
    """

    retries: int = 8
    timeout_s: float = 60.0
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0
    slowest: float = 1000.0
    progress_s: float = 15.0
    local: str = "symlink"

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Settings:
        """Settings from a config section; keys that concern others are passed over."""
        settings = cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values} if values else {})
        if settings.local not in ("symlink", "hardlink", "copy"):
            raise UserError(f"local: {settings.local!r} is not known: use symlink, hardlink or copy")
        if settings.retries < 0 or settings.timeout_s <= 0:
            raise UserError("retries must be 0 or more and timeout_s above 0")
        return settings


@dataclass(frozen=True)
class Fetched:
    """What :func:`fetch` did: the source that had the file, sizes in bytes, checksums that were verified."""

    source: str
    path: Path
    size: int
    transferred: int
    requests: int
    seconds: float
    sums: dict[str, str] = field(default_factory=dict)


class _Absent(Exception):
    """This source does not have the file: the next one may."""


class _Again(Exception):
    """The try failed in a way that may pass. ``wait``: seconds the server asked for."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


def human(size: float) -> str:
    """Bytes as people write them (decimal): ``3.41 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _shown(url: str) -> str:
    """``url`` without user, password and query: those can be secrets and the line goes to a log."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


class _Sums:
    """Checksums of a stream, worked out in a thread beside the transfer (hashlib lets go of the interpreter's lock)."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.queue: queue.Queue[bytes | None] = queue.Queue(maxsize=64)
        self.thread: threading.Thread | None = None
        self.restart()

    def restart(self) -> None:
        self.drain()
        self.hashes = [hashlib.new(name, usedforsecurity=False) for name in self.names]

    def update(self, chunk: bytes) -> None:
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
        self.drain()
        return {name: one.hexdigest() for name, one in zip(self.names, self.hashes, strict=True)}


class _Meter:
    """A line now and then: bytes, rate, time left."""

    def __init__(self, name: str, interval: float):
        self.name, self.interval = name, interval
        self.started = self.printed = time.monotonic()
        self.moved = 0

    def add(self, moved: int, size: int, total: int | None) -> None:
        self.moved += moved
        now = time.monotonic()
        if now - self.printed < self.interval:
            return
        self.printed = now
        rate = self.moved / max(now - self.started, 1e-9)
        of = "" if total is None else f" of {human(total)}"
        left = "" if total is None or rate <= 0 else f", {(total - size) / rate:.0f} s left"
        _say(f"{self.name}: {human(size)}{of}, {human(rate)}/s{left}")


class _Part:
    """The unfinished file, its checksums so far, and the note of the remote file that it is the beginning of.

    Invariant: what was hashed is exactly what the file holds.
    """

    def __init__(self, destination: Path, names: Sequence[str], meter: _Meter):
        self.path = destination.with_name(f"{destination.name}.partial")
        self.note = destination.with_name(f"{destination.name}.partial.json")
        self.meter = meter
        self.handle = self.path.open("ab+", buffering=0)
        try:
            self._lock(destination)
            self.sums = _Sums(names)
            self.size = self.flushed = 0  # bytes here and hashed; bytes whose way to the disk has begun
            self.origin = self._read_note()
        except BaseException:
            self.handle.close()
            raise

    def _lock(self, destination: Path) -> None:
        """A job that outlived its killed Snakemake may still be writing here: two writers would mix their bytes."""
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

    def __enter__(self) -> _Part:
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
        guarded = self.origin.get("url") == _shown(url) and (self.origin.get("etag") or self.origin.get("modified"))
        if left == self.size or not (self.sums.names or guarded):
            return
        self.handle.seek(0)
        while chunk := self.handle.read(CHUNK):
            self.sums.update(chunk)
            self.size += len(chunk)
        _say(f"{self.meter.name}: continuing after {human(self.size)}")

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
        os.fsync(self.handle.fileno())
        self.path.replace(destination)
        self.note.unlink(missing_ok=True)


def fetch(
    sources: str | os.PathLike | Sequence[str],
    destination: str | os.PathLike,
    md5: str | None = None,
    sha256: str | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
) -> Fetched:
    """Bring one file to ``destination``: complete and verified, or not at all.

    Parameters
    ----------
    sources : an https:// or http:// URL, a file:// URL or a path; several are tried in order while they are absent.
    md5, sha256 : hexadecimal; verified in the same pass as the transfer.
    settings : :class:`Settings` or a dict with some of its fields.

    A wrong checksum deletes the download and fetches it once more; a second one ends it with both sums named.
    An existing ``destination`` with the right checksums is kept as it is; without checksums it is fetched again.

    Raises
    ------
    UserError : no source has the file, the line stays dead, the disk is too small, the content is wrong: one line each.
    """
    settings = settings if isinstance(settings, Settings) else Settings.of(settings)
    sources = [os.fspath(sources)] if isinstance(sources, (str, os.PathLike)) else list(sources)
    expected = _expected(md5, sha256)
    destination = Path(destination)
    if not sources:
        raise UserError(f"{destination}: no URL or path to fetch it from")
    if destination.is_dir():
        raise UserError(f"{destination}: is a folder: name the file to write")
    destination.parent.mkdir(parents=True, exist_ok=True)
    meter = _Meter(destination.name, settings.progress_s)
    if expected and destination.is_file() and _sums_of(destination, expected, meter) == expected:
        _say(f"{destination.name}: is here already, {' and '.join(expected)} verified")
        return Fetched(str(destination), destination, destination.stat().st_size, 0, 0, 0.0, expected)
    absent: list[str] = []
    for source in sources:
        try:
            path = _local(source)
            if path is not None:
                done = _link(path, destination, expected, settings, meter)
            else:
                done = _download(source, destination, expected, settings, meter)
        except _Absent as reason:
            absent.append(str(reason))
            continue
        verified = f", {' and '.join(expected)} verified" if expected else ""
        rate = f", {human(done.transferred / max(done.seconds, 1e-9))}/s" if done.transferred else ""
        _say(f"{destination.name}: {human(done.size)} in {done.seconds:.1f} s{rate}{verified}")
        return done
    others = f" (nor are {len(absent) - 1} other spellings there)" if len(absent) > 1 else ""
    raise UserError(f"{absent[0]}{others}: check the base URL in the config and that this mirror has the file")


def _expected(md5: str | None, sha256: str | None) -> dict[str, str]:
    expected = {name: value.strip().lower() for name, value in (("md5", md5), ("sha256", sha256)) if value}
    for name, value in expected.items():
        if not re.fullmatch(f"[0-9a-f]{{{hashlib.new(name).digest_size * 2}}}", value):
            raise UserError(
                f"{name}: {value!r} is not a hexadecimal {name} sum: check the pin in the config or the list"
            )
    return expected


def _sums_of(path: Path, names: Mapping[str, str], meter: _Meter) -> dict[str, str]:
    sums, size, total = _Sums(list(names)), 0, path.stat().st_size
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            sums.update(chunk)
            size += len(chunk)
            meter.add(len(chunk), size, total)
    return sums.result()


def _wrong(got: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """``md5 is a, expected b`` for the sums that differ; empty when all are right."""
    return ", ".join(f"{name} is {got[name]}, expected {sum_}" for name, sum_ in expected.items() if got[name] != sum_)


# Local files --------------------------------------------------------------------------


def _local(source: str) -> Path | None:
    """The path that ``source`` means, or None for http(s)."""
    scheme, separator, rest = source.partition("://")
    if not separator:
        return Path(source).expanduser()
    if scheme.lower() in ("http", "https"):
        return None
    if scheme.lower() == "file":
        host, _, path = rest.partition("/")
        if host not in ("", "localhost"):
            raise UserError(f"{source}: names the host {host!r}: write file:///path or a plain path")
        return Path(unquote("/" + path))
    hint = (
        "write https://<bucket>.s3.<region>.amazonaws.com/<key>" if scheme.lower() == "s3" else "use its https mirror"
    )
    raise UserError(f"{_shown(source)}: {scheme}:// is not read: {hint}, or a local folder")


def _link(path: Path, destination: Path, expected: dict[str, str], settings: Settings, meter: _Meter) -> Fetched:
    started = time.monotonic()
    if not path.exists():
        raise _Absent(f"{path}: there is no such file")
    if not path.is_file():
        raise UserError(f"{path}: is not a file: check the base path in the config")
    path = path.resolve()
    size = path.stat().st_size
    if path == destination.parent.resolve() / destination.name:
        raise UserError(f"{path}: source and target are the same file: choose another base path")
    if expected and (wrong := _wrong(_sums_of(path, expected, meter), expected)):
        raise UserError(f"{path}: {wrong}: the local copy is damaged, replace it")
    with atomic(destination) as scratch:
        scratch.unlink(missing_ok=True)
        if settings.local == "copy":
            _check_disk(destination, size, 0, settings)
            shutil.copyfile(path, scratch)
        elif settings.local == "hardlink":
            try:
                os.link(path, scratch)
            except OSError as error:
                raise UserError(f"{path}: no hard link to it ({error.strerror}): set local: symlink or copy") from None
        else:
            scratch.symlink_to(path)
    return Fetched(str(path), destination, size, 0, 0, time.monotonic() - started, expected)


# Remote files --------------------------------------------------------------------------


def _download(url: str, destination: Path, expected: dict[str, str], settings: Settings, meter: _Meter) -> Fetched:
    import requests

    started, counts = time.monotonic(), {"requests": 0}
    with requests.Session() as session, _Part(destination, list(expected), meter) as part:
        session.headers.update({"User-Agent": "chowder-workflow", "Accept-Encoding": "identity"})
        first = ""
        while True:
            _transfer(session, url, part, destination, settings, counts)
            wrong = _wrong(part.sums.result(), expected)
            if not wrong:
                break
            page = _looks_like_a_page(part)
            part.restart({})
            if first:
                raise UserError(
                    f"{_shown(url)}: {wrong}{page}, also when fetched again: this mirror's copy or the list is wrong"
                )
            first = wrong
            _say(f"{destination.name}: {wrong}{page}: deleted, fetching it once more")
        part.finish(destination)
        size = part.size
    return Fetched(url, destination, size, meter.moved, counts["requests"], time.monotonic() - started, expected)


def _looks_like_a_page(part: _Part) -> str:
    part.handle.seek(0)
    start = part.handle.read(512).lstrip().lower()
    return " (it is a web page: a login or a proxy answers here)" if start.startswith((b"<!doctype", b"<html")) else ""


def _transfer(session, url: str, part: _Part, destination: Path, settings: Settings, counts: dict[str, int]) -> None:
    """Try until the part is complete. The count of failures starts again with every further MiB, so it is bounded."""
    failures, high = 0, part.size
    while True:
        try:
            counts["requests"] += 1
            _try_once(session, url, part, destination, settings)
            return
        except _Again as again:
            if part.size >= high + (1 << 20):
                failures, high = 0, part.size
            failures += 1
            if failures > settings.retries:
                kept = f"; {human(part.size)} are kept in {part.path.name}" if part.size else ""
                raise UserError(
                    f"{_shown(url)}: {again}, after {failures} tries{kept}: check the network, then run again to go on"
                ) from None
            wait = min(settings.backoff_s * 2 ** (failures - 1), settings.backoff_max_s) * random.uniform(0.5, 1.0)
            wait = min(max(wait, again.wait or 0.0), settings.backoff_max_s)
            plan = f"retry {failures} of {settings.retries} in {wait:.1f} s"
            _say(f"{destination.name}: {again}; {plan}, {human(part.size)} kept")
            time.sleep(wait)


def _try_once(session, url: str, part: _Part, destination: Path, settings: Settings) -> None:
    """One request; returns when the part is complete, raises _Again or _Absent or UserError otherwise."""
    part.take_up(url)
    headers = {}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if guard := part.origin.get("etag") or part.origin.get("modified"):
            headers["If-Range"] = guard
    with _answer(session, url, headers, settings) as response:
        status = response.status_code
        if status == 416 and part.size:
            total = _number(response.headers.get("Content-Range", ""), r"bytes \*/(\d+)")
            if part.size == (part.origin.get("length") if total is None else total):
                return
            part.restart({})
            raise _Again("the part here is longer than the remote file and is dropped")
        if status not in (200, 206):
            raise UserError(
                f"{_shown(url)}: the server answers {status} {response.reason}: this is not a file it serves"
            )
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UserError(f"{_shown(url)}: the server sends it compressed although asked not to: use another mirror")
        total = _begin(response, url, part)
        chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
        if total is None and not chunked and not part.sums.names:
            raise UserError(
                f"{_shown(url)}: neither a length nor a checksum tells when it is complete: use another mirror"
            )
        if total is not None:
            _check_disk(destination, total, part.size, settings)
        try:
            for chunk in _body(response, settings):
                part.append(chunk)
                part.meter.add(len(chunk), part.size, total)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            missing = f" ({human(total - part.size)} are missing)" if total is not None else ""
            raise UserError(
                f"{destination}: the disk is full{missing}: free some space, then run again to go on"
            ) from None
    if total is not None and part.size < total:
        raise _Again(f"the connection ended after {part.size} of {total} bytes")
    if total is not None and part.size > total:
        part.restart({})
        raise _Again(f"more than the promised {total} bytes came")


@contextlib.contextmanager
def _answer(session, url: str, headers: dict[str, str], settings: Settings) -> Iterator[Any]:
    """The open response to a GET, with every failure that is not an HTTP status 200, 206 or the like told apart."""
    import requests

    try:
        timeout = (min(settings.timeout_s, 30.0), settings.timeout_s)
        response = session.get(url, headers=headers, stream=True, timeout=timeout)
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise UserError(
                f"{_shown(url)}: its TLS certificate is not trusted: check the address, "
                "or name your proxy's certificate in REQUESTS_CA_BUNDLE"
            ) from None
        raise _Again("the TLS connection broke") from None
    except requests.exceptions.ConnectTimeout:
        raise _Again(f"no connection within {timeout[0]:g} s") from None
    except requests.exceptions.Timeout:
        raise _Again(f"no answer within {settings.timeout_s:g} s") from None
    except requests.exceptions.ProxyError:
        raise _Again("the proxy (HTTPS_PROXY) does not answer") from None
    except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise _Again(_reason(error)) from None
    except requests.exceptions.TooManyRedirects:
        raise UserError(f"{_shown(url)}: is redirected in a circle: use another mirror") from None
    except (requests.exceptions.RequestException, ValueError) as error:
        raise UserError(f"{_shown(url)}: is no usable URL ({error}): check the base URL in the config") from None
    with response:
        steps = [*response.history, response]
        if urlsplit(url).scheme == "https" and any(urlsplit(step.url).scheme != "https" for step in steps):
            raise UserError(
                f"{_shown(url)}: is redirected to plain http, which anybody could change: use another mirror"
            )
        status = response.status_code
        if status in ABSENT:
            raise _Absent(f"{_shown(url)}: the server answers {status} {response.reason}")
        if status in RETRIED:
            raise _Again(
                f"the server answers {status} {response.reason}",
                _number(response.headers.get("Retry-After", ""), r"(\d+)"),
            )
        yield response


def _reason(error: BaseException) -> str:
    text = str(error)
    for sign, reason in (
        ("NameResolution", "the server's name is not known (no network?)"),
        ("Connection refused", "the server refuses the connection"),
        ("reset", "the connection was reset"),
        ("IncompleteRead", "the connection ended early"),
        ("Remote end closed", "the server closed the connection without an answer"),
        ("unreachable", "the network is unreachable"),
    ):
        if sign in text:
            return reason
    return f"the connection failed ({type(error).__name__})"


def _number(text: str, pattern: str) -> int | None:
    match = re.fullmatch(pattern, text.strip())
    return int(match[1]) if match else None


def _begin(response, url: str, part: _Part) -> int | None:
    """Settle where this body starts; the whole file's length in bytes, or None when the server does not say.

    A 206 that does not continue exactly what is here, and a 200 (the server knows no ranges, or the file changed),
    start the file afresh: bytes of two versions are never joined.
    """
    headers = response.headers
    etag = headers.get("ETag", "")
    origin = {
        "url": _shown(url),
        "etag": "" if etag.startswith("W/") else etag,  # a weak tag may not guard a range (RFC 9110, 13.1.5)
        "modified": headers.get("Last-Modified", ""),
    }
    if response.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", "").strip())
        before = part.origin
        same = (
            match is not None
            and int(match[1]) == part.size
            and before.get("length") in (None, int(match[2]))
            and all(
                not before.get(key) or not origin[key] or before[key] == origin[key] for key in ("etag", "modified")
            )
        )
        if not same:
            part.restart({})
            raise _Again("the remote file is not the one that the part here is of: starting again")
        return int(match[2])
    if os.fstat(part.handle.fileno()).st_size:
        _say(f"{part.meter.name}: from the beginning again (the server knows no ranges, or its file has changed)")
    length = _number(headers.get("Content-Length", ""), r"(\d+)")
    part.restart({**origin, "length": length})
    return length


def _body(response, settings: Settings) -> Iterator[bytes]:
    """Chunks as they come; a stall, a crawl below ``slowest`` bytes a second, a reset or a short body is an _Again."""
    import urllib3

    since, moved = time.monotonic(), 0
    while True:
        try:
            chunk = response.raw.read1(CHUNK, decode_content=False)
        except urllib3.exceptions.ReadTimeoutError:
            raise _Again(f"nothing came for {settings.timeout_s:g} s") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _Again(_reason(error)) from None
        if not chunk:
            return
        yield chunk
        moved += len(chunk)
        now = time.monotonic()
        if now - since >= settings.timeout_s:
            if moved < settings.slowest * (now - since):
                raise _Again(f"only {moved} bytes came in {now - since:.0f} s")
            since, moved = now, 0


def _check_disk(destination: Path, total: int, have: int, settings: Settings) -> None:
    """Stop before the disk is full: the rest of this file must fit, and that of the files being fetched beside it."""
    free, promised = shutil.disk_usage(destination.parent).free, 0
    for note in destination.parent.glob("*.partial.json"):
        part = note.with_suffix("")
        if part.name == f"{destination.name}.partial":
            continue
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            if time.time() - part.stat().st_mtime < settings.timeout_s:  # older: of a run that is over
                promised += max(0, json.loads(note.read_text(encoding="utf-8")).get("length") - part.stat().st_size)
    missing = (total - have) + promised - free
    if missing > 0:
        beside = f" and {human(promised)} for transfers under way" if promised else ""
        raise UserError(
            f"{destination}: needs {human(total - have)}{beside}, {human(free)} are free on its disk, "
            f"{human(missing)} are missing: free some space, or keep no slides (slides: keep: false)"
        )
