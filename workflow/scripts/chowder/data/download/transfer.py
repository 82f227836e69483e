"""One try to bring a file over HTTP: ask, judge the answer, append the body to the part that is there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chowder.data.download.partial import CHUNK, Part, human, shown, tell
from chowder.files import UserError

RETRIED = {408, 425, 429, 500, 502, 503, 504}  # what may pass by itself; any other error status is final
ABSENT = {401, 403, 404, 410}  # S3 answers 403 for a missing key where listing is forbidden


@dataclass(frozen=True)
class Settings:
    """How patient a transfer is. Times in seconds, rates in bytes a second.

    A transfer is given up after ``retries`` tries in a row that bring less than 1 MiB of new bytes, but not before
    ``patience_min`` minutes have gone without it: a long file over a bad line gets as many as it needs, and an outage
    is waited out. ``local`` is ``symlink``, ``hardlink`` or ``copy``.
    """

    retries: int = 8
    patience_min: float = 0.0
    timeout_s: float = 60.0
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0
    slowest: float = 1000.0
    progress_s: float = 15.0
    local: str = "symlink"

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Settings:
        """Return settings from a config section; keys of other stages are ignored."""
        settings = cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values} if values else {})
        if settings.local not in ("symlink", "hardlink", "copy"):
            raise UserError(f"local: {settings.local!r} is not known: use symlink, hardlink or copy")
        if settings.retries < 0 or settings.patience_min < 0 or settings.timeout_s <= 0:
            raise UserError("retries and patience_min must be 0 or more and timeout_s above 0")
        return settings


class Absent(Exception):
    """The source does not have the file: the next one may."""


class Again(Exception):
    """The try failed in a way that may pass. ``wait``: seconds the server asked for."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


def try_once(session, url: str, part: Part, destination: Path, settings: Settings) -> None:
    """One request; returns when the part is complete, raises Again or Absent or UserError otherwise."""
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
            raise Again("the part here is longer than the remote file and is dropped")
        if status not in (200, 206):
            raise UserError(
                f"{shown(url)}: the server answers {status} {response.reason}: this is not a file it serves"
            )
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UserError(f"{shown(url)}: the server sends it compressed although asked not to: use another mirror")
        total = _begin(response, url, part)
        chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
        if total is None and not chunked and not part.sums.names:
            raise UserError(
                f"{shown(url)}: neither a length nor a checksum tells when it is complete: use another mirror"
            )
        if total is not None:
            check_disk(destination, total, part.size, settings)
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
        raise Again(f"the connection ended after {part.size} of {total} bytes")
    if total is not None and part.size > total:
        part.restart({})
        raise Again(f"more than the promised {total} bytes came")


@contextlib.contextmanager
def _answer(session, url: str, headers: dict[str, str], settings: Settings) -> Iterator[Any]:
    """Open a GET; tell every failure that is not an HTTP status 200, 206 or the like apart."""
    import requests

    try:
        timeout = (min(settings.timeout_s, 30.0), settings.timeout_s)
        response = session.get(url, headers=headers, stream=True, timeout=timeout)
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise UserError(
                f"{shown(url)}: its TLS certificate is not trusted: check the address, "
                "or name your proxy's certificate in REQUESTS_CA_BUNDLE"
            ) from None
        raise Again("the TLS connection broke") from None
    except requests.exceptions.ConnectTimeout:
        raise Again(f"no connection within {timeout[0]:g} s") from None
    except requests.exceptions.Timeout:
        raise Again(f"no answer within {settings.timeout_s:g} s") from None
    except requests.exceptions.ProxyError:
        raise Again("the proxy (HTTPS_PROXY) does not answer") from None
    except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise Again(_reason(error)) from None
    except requests.exceptions.TooManyRedirects:
        raise UserError(f"{shown(url)}: is redirected in a circle: use another mirror") from None
    except (requests.exceptions.RequestException, ValueError) as error:
        raise UserError(f"{shown(url)}: is no usable URL ({error}): check the base URL in the config") from None
    with response:
        steps = [*response.history, response]
        if urlsplit(url).scheme == "https" and any(urlsplit(step.url).scheme != "https" for step in steps):
            raise UserError(
                f"{shown(url)}: is redirected to plain http, which anybody could change: use another mirror"
            )
        status = response.status_code
        if status in ABSENT:
            raise Absent(f"{shown(url)}: the server answers {status} {response.reason}")
        if status in RETRIED:
            raise Again(
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


def _begin(response, url: str, part: Part) -> int | None:
    """Settle where this body starts; the whole file's length in bytes, or None when the server does not say.

    A 206 that does not continue exactly what is here, and a 200 (the server knows no ranges, or the file changed),
    start the file afresh: bytes of two versions are never joined.
    """
    headers = response.headers
    etag = headers.get("ETag", "")
    origin = {
        "url": shown(url),
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
            raise Again("the remote file is not the one that the part here is of: starting again")
        return int(match[2])
    if os.fstat(part.handle.fileno()).st_size:
        tell(f"{part.meter.name}: from the beginning again (the server knows no ranges, or its file has changed)")
    length = _number(headers.get("Content-Length", ""), r"(\d+)")
    part.restart({**origin, "length": length})
    return length


def _body(response, settings: Settings) -> Iterator[bytes]:
    """Chunks as they come; a stall, a crawl below ``slowest`` bytes a second, a reset or a short body is an Again."""
    import urllib3

    since, moved = time.monotonic(), 0
    while True:
        try:
            chunk = response.raw.read1(CHUNK, decode_content=False)
        except urllib3.exceptions.ReadTimeoutError:
            raise Again(f"nothing came for {settings.timeout_s:g} s") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Again(_reason(error)) from None
        if not chunk:
            return
        yield chunk
        moved += len(chunk)
        now = time.monotonic()
        if now - since >= settings.timeout_s:
            if moved < settings.slowest * (now - since):
                raise Again(f"only {moved} bytes came in {now - since:.0f} s")
            since, moved = now, 0


def check_disk(destination: Path, total: int, have: int, settings: Settings) -> None:
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
