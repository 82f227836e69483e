"""Snakemake's lock on a working directory, where a killed run left it.

Snakemake doesn't write whose a lock is. So each run leaves a note (host, process, its start) in
``.snakemake/chowder-runs`` while it lives. A lock is stale when every note is of a process of this machine that has
ended, and no other Snakemake runs in this directory.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from chowder import orphan
from chowder.files import write_text


def enter(folder: str | os.PathLike = ".snakemake") -> str:
    """Note that this run has begun, and remove a lock that a killed run left. Call it before Snakemake locks.

    Returns a line to show: that a lock was removed, or whose it may be; "" where there is none.
    """
    folder = Path(folder)
    notes = folder / "chowder-runs"
    try:
        notes.mkdir(parents=True, exist_ok=True)
        with _alone(notes):
            return _enter(folder, notes)
    except (
        OSError
    ):  # a directory that can't be written to, a file system without locks: Snakemake will say what is wrong
        return ""


@contextlib.contextmanager
def _alone(notes: Path) -> Iterator[None]:
    with open(notes / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _enter(folder: Path, notes: Path) -> str:
    locks = list((folder / "locks").glob("*.lock"))
    dead, others = [], []
    for path in notes.glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(path.read_text(encoding="utf-8"))
            here = note["host"] == platform.node()
            ended = here and orphan.started(int(note["pid"])) != str(note["started"])
            (dead if ended else others).append((path, note))
    for path, _ in dead:
        path.unlink(missing_ok=True)
    mine = notes / f"{platform.node()[:60]}-{os.getpid()}.json"
    write_text(
        mine, json.dumps({"host": platform.node(), "pid": os.getpid(), "started": orphan.started(os.getpid())}) + "\n"
    )
    atexit.register(_remove, mine, os.getpid())
    others = [note for path, note in others if path != mine]
    if not locks or not (dead or others):
        return ""
    if others:
        whose = ", ".join(f"process {note['pid']} on {note['host']}" for note in others)
        return f"this directory is locked by {whose}: wait for it, or if it was killed: snakemake --unlock"
    running = list(running_in(Path.cwd()))
    if running:
        return f"this directory is locked, and process {running[0]} is a Snakemake that runs in it: wait for it"
    for path in locks:
        path.unlink(missing_ok=True)
    was = ", ".join(str(note["pid"]) for _, note in dead)
    return f"the lock that a killed run left was removed (its process, {was}, has ended)"


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a fork
        path.unlink(missing_ok=True)


def running_in(directory: Path) -> Iterator[int]:
    """Yield the processes of Snakemake that run in a directory, without this one and those above it."""
    above, pid = set(), os.getpid()
    while pid > 1:
        above.add(pid)
        pid = orphan.parent(pid)
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if not entry.name.isdigit() or int(entry.name) in above:
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if orphan.is_snakemake(words) and (entry / "cwd").resolve() == directory.resolve():
                yield int(entry.name)
