"""Fetching a file whole and right, or saying in one line why not (why this client: docs/data.md).

A transfer goes to ``<name>.partial`` beside the target, with a note ``<name>.partial.json`` of what it is a part of.
It is continued after a dropped connection or a kill, hashed while it arrives, and gets its own name only when it is
complete and its checksums are right. Files on local disks are linked, not copied.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from chowder.data.download.partial import CHUNK, Meter, Part, Sums, human, shown, tell
from chowder.data.download.patience import ADVANCE, Patience
from chowder.data.download.transfer import Absent, Again, Settings, check_disk, try_once
from chowder.files import UserError, atomic


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


def fetch(
    sources: str | os.PathLike | Sequence[str],
    destination: str | os.PathLike,
    md5: str | None = None,
    sha256: str | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    last: Callable[[], None] = lambda: None,
) -> Fetched:
    """Bring one file to ``destination``: complete and verified, or not at all.

    Parameters
    ----------
    sources : an https:// or http:// URL, a file:// URL or a path; several are tried in order while they are absent.
    md5, sha256 : hexadecimal; verified in the same pass as the transfer.
    settings : ``transfer.Settings`` or a dict with some of its fields.
    last : called when a download is whole and verified, before it gets its name.

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
    meter = Meter(destination.name, settings.progress_s)
    if expected and destination.is_file() and _sums_of(destination, expected, meter) == expected:
        tell(f"{destination.name}: is here already, {' and '.join(expected)} verified")
        return Fetched(str(destination), destination, destination.stat().st_size, 0, 0, 0.0, expected)
    absent: list[str] = []
    for source in sources:
        try:
            path = local_path(source)
            if path is not None:
                done = _link(path, destination, expected, settings, meter)
            else:
                done = _download(source, destination, expected, settings, meter, last)
        except Absent as reason:
            absent.append(str(reason))
            continue
        verified = f", {' and '.join(expected)} verified" if expected else ""
        rate = f", {human(done.transferred / max(done.seconds, 1e-9))}/s" if done.transferred else ""
        tell(f"{destination.name}: {human(done.size)} in {done.seconds:.1f} s{rate}{verified}")
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


def _sums_of(path: Path, names: Mapping[str, str], meter: Meter) -> dict[str, str]:
    sums, size, total = Sums(list(names)), 0, path.stat().st_size
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


def local_path(source: str) -> Path | None:
    """Return the path that ``source`` means, or None for http(s)."""
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
    raise UserError(f"{shown(source)}: {scheme}:// is not read: {hint}, or a local folder")


def _link(path: Path, destination: Path, expected: dict[str, str], settings: Settings, meter: Meter) -> Fetched:
    started = time.monotonic()
    if not path.exists():
        raise Absent(f"{path}: there is no such file")
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
            check_disk(destination, size, 0, settings)
            shutil.copyfile(path, scratch)
        elif settings.local == "hardlink":
            try:
                os.link(path, scratch)
            except OSError as error:
                raise UserError(f"{path}: no hard link to it ({error.strerror}): set local: symlink or copy") from None
        else:
            scratch.symlink_to(path)
    return Fetched(str(path), destination, size, 0, 0, time.monotonic() - started, expected)


def _download(
    url: str, destination: Path, expected: dict[str, str], settings: Settings, meter: Meter, last: Callable[[], None]
) -> Fetched:
    import requests

    started, counts = time.monotonic(), {"requests": 0}
    with requests.Session() as session, Part(destination, list(expected), meter) as part:
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
                    f"{shown(url)}: {wrong}{page}, also when fetched again: this mirror's copy or the list is wrong"
                )
            first = wrong
            tell(f"{destination.name}: {wrong}{page}: deleted, fetching it once more")
        last()
        part.finish(destination)
        size = part.size
    return Fetched(url, destination, size, meter.moved, counts["requests"], time.monotonic() - started, expected)


def _looks_like_a_page(part: Part) -> str:
    part.handle.seek(0)
    start = part.handle.read(512).lstrip().lower()
    return " (it is a web page: a login or a proxy answers here)" if start.startswith((b"<!doctype", b"<html")) else ""


def _transfer(session, url: str, part: Part, destination: Path, settings: Settings, counts: dict[str, int]) -> None:
    """Try until the part is complete, or :class:`Patience` is at its end."""

    def kept() -> str:
        return f"{human(part.size)} are kept in {part.path.name}"

    patience, high = Patience(url, destination.name, settings, kept), part.size
    while True:
        try:
            counts["requests"] += 1
            try_once(session, url, part, destination, settings)
            return
        except Again as again:
            if part.size >= high + ADVANCE:
                patience.forget()
                high = part.size
            patience.wait(again)
