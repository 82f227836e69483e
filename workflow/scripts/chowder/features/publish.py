"""From the store to the feature files that people and training read: checked, and only what changed is copied."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from chowder.features import integrity
from chowder.files import UserError, atomic, sha256

KEPT = ".published"  # second names of the published files: Snakemake deletes the first ones before the job runs again


def publish(manifests: Iterable[str | os.PathLike], slides: Sequence[str], folder: str | os.PathLike) -> dict[str, str]:
    """Put the feature file of every slide into ``folder`` as ``<slide>.h5``; return the sha256 of each.

    Parameters
    ----------
    manifests : of ``embed.py``, with all of ``slides``.

    A file that was published before and still has the right sha256 gets its name back; others are copied out of the
    store. A file never shares bytes with the store's that could be written to through it.

    Errors: :class:`UserError` that names the slides whose file in the store is damaged or gone, with the command that
    embeds these again.
    """
    folder = Path(folder)
    kept = folder / KEPT
    kept.mkdir(parents=True, exist_ok=True)
    stored = {slide: (path, entry) for path in manifests for slide, entry in integrity.read_manifest(path).items()}
    damaged: dict[str, str] = {}
    for slide in slides:
        if slide not in stored:
            raise UserError(f"{folder}: slide {slide} is in no manifest of its shards: run the workflow again")
        manifest, entry = stored[slide]
        source = Path(os.path.normpath(Path(manifest).parent / entry["file"]))
        if what := _publish(source, entry["sha256"], folder / f"{slide}.h5", kept / f"{slide}.h5"):
            damaged[slide] = f"{source}: the store's file of slide {slide} {what}"
    if damaged:
        first, *others = damaged
        more = f" (the same or worse: {', '.join(others)})" if others else ""
        paths = sorted({str(stored[slide][0]) for slide in damaged})
        raise UserError(f"{damaged[first]}{more}: {integrity.again(*paths)}; only these slides are embedded")
    for path in kept.glob("*.h5"):
        if path.stem not in stored:
            path.unlink()
    return {slide: stored[slide][1]["sha256"] for slide in slides}


def _publish(source: Path, wanted: str, target: Path, kept: Path) -> str:
    """Make ``target``, and ``kept`` as its second name; return what is wrong with ``source``, empty when nothing is."""
    if kept.is_file() and sha256(kept) == wanted:
        with contextlib.suppress(OSError), atomic(target) as scratch:
            scratch.unlink(missing_ok=True)
            os.link(kept, scratch)
        if target.is_file():
            return ""
    if not source.is_file():
        return "is gone"
    with atomic(target) as scratch:
        integrity.separate_copy(source, scratch)
        right = sha256(scratch) == wanted
    if not right:
        target.unlink()
        return f"is damaged (its sha256 is not {wanted[:12]}...)"
    kept.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # no hard links here: copied again next time
        os.link(target, kept)
    return ""
