"""The store of one encoder's trained models: what was trained once, under a fingerprint of all that decides it.

A job trains all methods that are wanted and not yet here, because they then share each reading of the features; the
jobs of the other methods take theirs from here. See docs/decisions/model_store.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chowder.files import UserError, atomic, field, read_json, write_text

MODEL, PREDICTIONS, CURVE, TIMING = "model.pt", "predictions.csv", "curve.csv", "timing.json"


def fingerprint(
    method: str,
    split: str,
    sides: Mapping[str, Sequence[str]],
    settings: Mapping[str, Any],
    code: str,
    labels: Mapping[str, int],
    sampled: Mapping[str, int],
    entries: Mapping[str, Mapping[str, Any]],
) -> str:
    """All that decides a method's model and predictions on one split, as 32 hexadecimal digits.

    Parameters
    ----------
    method, split : their names, from which random numbers are drawn.
    sides : slides of the split by side, ``train`` and ``test``, in order.
    settings, code : what the method's parameters and the fingerprint of its code are.
    labels, sampled : label and M_S by slide.
    entries : entries of the feature index by slide; features are told apart by ``digest``, else ``sha256``.

    Errors: :class:`UserError` for a slide without label, M_S or features.
    """
    slides: dict[str, list[list[Any]]] = {}
    for side, names in sides.items():
        slides[side] = []
        for name in names:
            for known, what in ((labels, "label"), (sampled, "number of sampled tiles"), (entries, "features")):
                if name not in known:
                    raise UserError(f"slide {name} of split {split} has no {what}: make that stage's files again")
            entry = entries[name]
            features = [entry["tiles"], entry.get("digest") or entry.get("sha256") or entry["file"]]
            slides[side].append([name, labels[name], sampled[name], *features])
    text = json.dumps([method, split, slides, settings, code], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Store:
    """A folder with one folder for each fingerprint, written whole or not at all. It may be deleted at any time."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __contains__(self, key: str) -> bool:
        return (self.folder / key).is_dir()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process trains into this store; the system ends the claim of a process that dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            for leftover in self.folder.glob(".new-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            yield

    @contextlib.contextmanager
    def adding(self, key: str) -> Iterator[Path]:
        """Yield a folder to write the files of ``key`` to; it becomes the entry when the block succeeds."""
        scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
        try:
            yield scratch
            write_text(scratch / "sums.json", json.dumps({p.name: _sum(p) for p in sorted(scratch.iterdir())}))
            for path in (*scratch.iterdir(), scratch):
                handle = os.open(path, os.O_RDONLY)
                os.fsync(handle)
                os.close(handle)
            shutil.rmtree(self.folder / key, ignore_errors=True)
            scratch.rename(self.folder / key)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def take(self, key: str, name: str, target: str | Path) -> None:
        """Copy a file of an entry to ``target``. Errors: :class:`UserError` for a file that was altered or removed."""
        source = self.folder / key / name
        try:
            known = read_json(self.folder / key / "sums.json").get(name)
            fine = _sum(source) == known
        except (OSError, UserError):
            fine = False
        if not fine:
            raise UserError(f"{source}: was altered or removed: delete the folder {source.parent} and run again")
        with atomic(target) as scratch:
            shutil.copyfile(source, scratch)

    def timing(self, key: str) -> dict[str, Any]:
        """Seconds of training (``seconds``), ``epochs``, and the members left on the plateau (``undertrained``)."""
        path = self.folder / key / TIMING
        content = read_json(path)
        kinds = {"seconds": "number", "epochs": "count", "undertrained": "list"}
        return {name: field(path, content, name, kind) for name, kind in kinds.items()}


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
