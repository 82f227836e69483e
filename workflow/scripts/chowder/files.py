"""Writing files whole or not at all, and the one kind of error a user is meant to read."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import platform
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any


class UserError(Exception):
    """Bad input. The message is one line: which file or key, what is wrong with it, what to do."""


class DiskFull(UserError):
    """There is no room for a file: what comes after it will not fit either."""


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a scratch name beside ``path`` (same suffix); rename it to ``path`` when the block succeeds.

    A reader never sees half a file: after an exception or a kill ``path`` is what it was before. The parent folder
    is made when missing. The scratch name is this process's own, so that two processes that write the same file don't
    mix; the last one to finish wins. What a kill left in the folder goes with the next write there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    scratch = path.with_name(f".{path.stem}.{_host()}-{os.getpid()}.partial{path.suffix}")
    try:
        yield scratch
        with open(scratch, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(scratch, path)
        scratch.unlink(missing_ok=True)  # renaming one hard link onto another of the same file leaves both
    except BaseException as error:
        scratch.unlink(missing_ok=True)
        if what := full_disk(error):
            raise DiskFull(f"{path}: {what}: free some space, then run again (nothing half-written was kept)") from None
        raise


@functools.cache
def _host() -> str:
    """Eight hexadecimal digits that stand for this machine's name."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@functools.cache
def sweep(folder: Path) -> None:
    """Remove the scratch files of :func:`atomic` in a folder whose writers are dead, once in the life of a process.

    Whether a process of another machine runs can't be seen: its files go when they are a week old.
    """
    for entry in os.scandir(folder):
        found = SCRATCH.fullmatch(entry.name)
        if not found:
            continue
        with contextlib.suppress(OSError):  # somebody else removed it
            here = found["host"] == _host()
            if not runs(int(found["pid"])) if here else time.time() - entry.stat().st_mtime > WEEK_S:
                os.unlink(entry.path)


SCRATCH = re.compile(r"\..+\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)\.partial(\.[^.]*)?")
WEEK_S = 7 * 24 * 3600.0


def runs(pid: int) -> bool:
    """Whether there is a process with this number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def full_disk(error: BaseException) -> str:
    """Return what is full when an error means that a file can't grow, also one of HDF5 or libvips; else ""."""
    number = getattr(error, "errno", None)
    if number is None and isinstance(error, Exception) and not isinstance(error, UserError):
        number = next((code for code in FULL if os.strerror(code) in str(error)), None)
    return FULL.get(number, "")


FULL = {
    errno.ENOSPC: "its disk is full",
    errno.EDQUOT: "the quota of its disk is used up",
    errno.EFBIG: "it is too large for its disk or for this process (ulimit -f)",
}


def reason(error: BaseException, longest: int = 160) -> str:
    """Return what an exception of another library says, on one line of at most ``longest`` characters.

    Not torch's text on pickles: it advises to load them in the way that runs the code in them.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if "weights_only" in text:
        text = "no file of torch.save, or one that holds more than tensors, numbers and text"
    return text if len(text) <= longest else f"{text[:longest]}..."


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` through :func:`atomic`."""
    with atomic(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def read_json(path: str | os.PathLike) -> dict:
    """Read a JSON object from a file.

    Errors: :class:`UserError` when the file is absent, is not JSON or holds something else than an object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({reason(error)}): make it again with its rule") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not an object: make it again with its rule")
    return content


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


KINDS: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str) and value.isprintable() and value != "",
    "text or nothing": lambda value: isinstance(value, str) and (value.isprintable() or value == ""),
    "count": lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53,
    "number": _real,
    "positive number": lambda value: _real(value) and value > 0,
    "object": lambda value: isinstance(value, dict),
    "list": lambda value: isinstance(value, list),
    "list of texts": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "list of positive numbers": lambda value: (
        isinstance(value, list) and len(value) > 0 and all(_real(item) and item > 0 for item in value)
    ),
}


def field(path: str | os.PathLike, content: Any, key: str, kind: str) -> Any:
    """Return ``content[key]`` of the JSON object ``content`` that ``path`` holds; ``kind``: one of ``KINDS``.

    Errors: :class:`UserError` when it is not there or of another kind.
    """
    if not isinstance(content, dict) or key not in content:
        raise UserError(f"{path}: {key} is missing: delete the file and run the workflow again")
    if not KINDS[kind](content[key]):
        shown = " ".join(repr(content[key])[:60].split())
        raise UserError(f"{path}: {key} is {shown}, not a {kind}: delete the file and run the workflow again")
    return content[key]


def has_control(text: str) -> bool:
    """Return whether ``text`` holds a control character, a line end of Unicode's, or one that turns the direction.

    No-break spaces, accents and other scripts are none of these.
    """
    return any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _DIRECTIONS for c in text)


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet may compute a cell of a CSV: it begins with =, @ or a sign, and is no number.

    A lone sign is text. Source: OWASP, CSV injection.
    """
    if not text.startswith(("=", "@", "+", "-")) or text in ("+", "-"):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def sha256(path: str | os.PathLike) -> str:
    """Hexadecimal sha256 of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def md5(path: str | os.PathLike) -> str:
    """Hexadecimal md5 of a file's content: against accidents, where somebody gave an md5."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest()


def run(main: Callable[[list[str] | None], None]) -> None:
    """Run a script's ``main``: a :class:`UserError` (or a full disk) becomes one line on stderr and exit status 1.

    Started by Snakemake, the script ends soon after Snakemake does, and its log ends with its peak memory.
    """
    from chowder import orphan

    watched = orphan.end_with_snakemake()
    try:
        main(None)
        if watched:
            print(f"peak memory {orphan.peak_mb():.0f} MB", file=sys.stderr)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else "a file of this job: " if full_disk(error) else ""
        print(
            f"error: {where}{error.strerror}: free some space or mend the permissions, then run again", file=sys.stderr
        )
        sys.exit(1)


def matched(paths: Sequence, wanted: int, option: str) -> list:
    """One of ``paths`` a method, or as many None when there are none; else :class:`UserError` naming ``option``."""
    if paths and len(paths) != wanted:
        raise UserError(f"{option}: {len(paths)} given for {wanted} methods; give one a method, in the same order")
    return list(paths) or [None] * wanted
