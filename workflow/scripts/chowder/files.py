"""Writing files whole or not at all, and the one kind of error a user is meant to read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


class UserError(Exception):
    """Bad input. The message is one line: which file or key, what is wrong with it, what to do."""


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a scratch name beside ``path`` (same suffix); rename it to ``path`` when the block succeeds.

    A reader never sees half a file: after an exception or a kill ``path`` is what it was before. The parent folder
    is made when missing. A scratch file left by a kill is overwritten by the next try.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield scratch
        with open(scratch, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(scratch, path)
        scratch.unlink(missing_ok=True)  # renaming one hard link onto another of the same file leaves both
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


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
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}): make it again with its rule") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not an object: make it again with its rule")
    return content


def sha256(path: str | os.PathLike) -> str:
    """Hexadecimal sha256 of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def md5(path: str | os.PathLike) -> str:
    """Hexadecimal md5 of a file's content: against accidents, where somebody gave an md5."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest()


def run(main: Callable[[list[str] | None], None]) -> None:
    """Run a script's ``main``: a :class:`UserError` (or a full disk) becomes one line on stderr and exit status 1."""
    try:
        main(None)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"error: {where}{error.strerror}: free some space or mend the permissions, then run again", file=sys.stderr
        )
        sys.exit(1)


def matched(paths: Sequence, wanted: int, option: str) -> list:
    """One of ``paths`` a method, or as many None when there are none; else :class:`UserError` naming ``option``."""
    if paths and len(paths) != wanted:
        raise UserError(f"{option}: {len(paths)} given for {wanted} methods; give one a method, in the same order")
    return list(paths) or [None] * wanted
