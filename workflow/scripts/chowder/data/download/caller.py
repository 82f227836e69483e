"""The Snakemake that started a fetch: whether it still runs, and whether any of its jobs does more than wait."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chowder.data.download.partial import tell
from chowder.files import UserError, write_text

QUIET_S = 120.0  # Snakemake starts the next job seconds after one has ended; so long without any means that none comes
LOOK_S = 5.0  # between two looks at the processes


def alive(pid: int) -> bool:
    """Return whether the process ``pid`` runs (one that has ended and is not yet collected does not)."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def stay_only_with(pid: int) -> None:
    """End this process if the process ``pid`` has ended: the next run continues with what has come.

    A file that got its name after Snakemake's end would be deleted by the next one, which knows of no finished job.
    """
    if not alive(pid):
        tell("the Snakemake of this fetch has ended: what has come is kept for the next run")
        os._exit(1)


def leave_with(pid: int, every_s: float = 1.0) -> None:
    """End this process soon after the process ``pid`` has ended (:func:`stay_only_with`)."""

    def look() -> None:
        while True:
            stay_only_with(pid)
            time.sleep(every_s)

    threading.Thread(target=look, daemon=True).start()


@contextlib.contextmanager
def refused_once(output: Path, pid: int | None) -> Iterator[None]:
    """Let a fetch that failed for good fail at once when the same Snakemake starts it again.

    A new job may mend a process that was killed; it can't mend a missing file, a wrong checksum or an outage that was
    waited out. ``pid`` None: nothing is remembered.
    """
    note = output.with_name(f".{output.name}.refused")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        before = json.loads(note.read_text(encoding="utf-8"))
        if pid is not None and before["caller"] == pid:
            raise UserError(str(before["message"]))
    try:
        yield
    except UserError as error:
        if pid is not None:
            write_text(note, json.dumps({"caller": pid, "message": str(error)}) + "\n")
        raise
    note.unlink(missing_ok=True)


def busy(pid: int) -> int:
    """Return how many programs the process ``pid`` has running: children, and theirs, that have no child themselves."""
    import psutil

    try:
        family = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return 0
    running, parents = set(), set()
    for process in family:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                running.add(process.pid)
                parents.add(process.ppid())
        except psutil.NoSuchProcess:
            continue
    return len(running - parents)


class Idle:
    """Whether nothing but waiting fetches has run below the process ``pid`` for :data:`QUIET_S` seconds."""

    def __init__(self, pid: int, clock: Callable[[], float] = time.monotonic, count: Callable[[int], int] = busy):
        self.pid, self.clock, self.count = pid, clock, count
        self.since = self.counted = clock()

    def __call__(self, waiting: Sequence[str]) -> bool:
        """Return whether it is so; ``waiting``: the slides whose fetches wait, one process each."""
        now = self.clock()
        if now - self.since >= QUIET_S or now - self.counted >= LOOK_S:
            self.counted = now
            if self.count(self.pid) > len(waiting):
                self.since = now
        return now - self.since >= QUIET_S
