"""Whether a feature file still holds what was embedded: digests, separate copies, and what to do when it does not.

docs/decisions/features_integrity.md has the measurements behind the two digests.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from pathlib import Path

import numpy as np

from chowder.files import UserError, field, read_json, sha256, write_text

FICLONE = 0x40049409  # ioctl of Linux: let a file share another one's blocks until one of them is written (reflink)
_BLOCK = 256 * 1024  # bytes summed in both directions while they are in the cache


def digest(features: np.ndarray, coords: np.ndarray) -> str:
    """Return a fast digest of what a feature file holds: 64 hexadecimal digits.

    The rows of ``features`` (n, P) are read as 64-bit words; sha256 is taken over shape, type, the sum of each row, the
    sum of each column of words (both modulo 2**64) and ``coords`` (n, 2). A change of a value, an exchange of rows and
    a shift all change it, in a tenth of the time of a sha256 over all values. It does not protect against a forger: the
    file's sha256 does.
    """
    features = np.ascontiguousarray(features)
    rows, width = len(features), features.shape[1] * features.itemsize
    kind = np.uint64 if width % 8 == 0 else np.uint16 if width % 2 == 0 else np.uint8
    words = features.view(np.uint8).reshape(rows, width).view(kind)
    across, down = np.empty(rows, np.uint64), np.zeros(words.shape[1], np.uint64)
    step = max(1, _BLOCK // max(width, 1))
    for first in range(0, rows, step):
        block = words[first : first + step]
        block.sum(axis=1, dtype=np.uint64, out=across[first : first + step])
        down += block.sum(axis=0, dtype=np.uint64)
    total = hashlib.sha256(f"{features.shape} {features.dtype.str} {np.shape(coords)}".encode())
    for part in (across, down, np.ascontiguousarray(coords, dtype=np.int32)):
        total.update(part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes())
    return total.hexdigest()


def finite(values: np.ndarray) -> bool:
    """Return whether no value is NaN or infinite."""
    if values.dtype == np.float16:  # the exponent's bits, ten times faster than isfinite on float16
        return not ((values.view(np.uint16) & 0x7C00) == 0x7C00).any()
    return bool(np.isfinite(values).all())


def again(*paths: str | os.PathLike, first: str = "") -> str:
    """Return the advice that ends a message: the command that makes the workflow build these files again.

    ``first``: a target to build before the rest, so that Snakemake sees the same contents and trains nothing.
    """
    then = f"with the target {first}, then as before" if first else "again"
    return f"run 'rm -f {' '.join(shlex.quote(str(path)) for path in paths)}', then the workflow {then}"


class Damaged(UserError):
    """A feature file that is not what was embedded: ``path``, ``what`` is wrong, and which files to delete for it."""

    def __init__(self, path: str | os.PathLike, what: str, *also: str | os.PathLike):
        self.path, self.what, self.also = path, what, also
        super().__init__(f"{path}: {what}: {again(path, *also, first='features' if also else '')}")


def raise_all(damaged: list[Damaged]) -> None:
    """Raise one error for all damaged files, with one command for all; nothing when there is none."""
    if len(damaged) == 1:
        raise damaged[0]
    if damaged:
        first = damaged[0]
        names = ", ".join(Path(error.path).stem for error in damaged[1:])
        paths = [error.path for error in damaged]
        command = again(*paths, *first.also, first="features" if first.also else "")
        raise UserError(f"{first.path}: {first.what} (the same or worse: {names}): {command}")


def record(path: Path, content: Path) -> None:
    """Write down, beside the store's ``path``, the sha256 of the file ``content`` that is about to get that name."""
    write_text(path.with_suffix(".sha256"), sha256(content) + "\n")


def recorded(path: Path) -> str | None:
    """Return the sha256 that the store's file ``path`` should have, or None when it is not written down."""
    try:
        return path.with_suffix(".sha256").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def intact(path: Path) -> bool:
    """Return whether the store's file ``path`` is there with the content that was written."""
    return path.is_file() and sha256(path) == recorded(path)


def read_manifest(path: str | os.PathLike) -> dict[str, dict[str, str]]:
    """Return ``file`` and ``sha256`` of each slide in a manifest of ``embed.py``."""
    try:
        return {
            slide: {key: field(path, entry, key, "text") for key in ("file", "sha256")}
            for slide, entry in field(path, read_json(path), "slides", "object").items()
        }
    except UserError as error:
        reason = str(error).removeprefix(f"{path}: ").rpartition(": ")[0]
        raise UserError(f"{path}: not a record of embedded slides ({reason}): {again(path)}") from None


def separate_copy(source: str | os.PathLike, target: str | os.PathLike) -> bool:
    """Copy a file so that writing to one never changes the other; return whether they share blocks on the disk.

    A reflink costs no space and no time; where the file system has none (ext4, NFS), the bytes are copied.
    """
    try:
        import fcntl

        with open(source, "rb") as reading, open(target, "wb") as writing:
            fcntl.ioctl(writing.fileno(), FICLONE, reading.fileno())
        return True
    except (ImportError, OSError):
        shutil.copyfile(source, target)
        return False
