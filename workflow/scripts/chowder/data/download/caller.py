"""The Snakemake that started a fetch: whether it still runs, and whether any of its jobs does more than wait."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence

from chowder.data.download.partial import tell

QUIET_S = 60.0  # Snakemake starts the next job seconds after one has ended; so long without any means that none comes


def alive(pid: int) -> bool:
    """Return whether the process ``pid`` runs (one that has ended and is not yet collected does not)."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def leave_with(pid: int, every_s: float = 1.0) -> None:
    """End this process soon after the process ``pid`` has ended: the next run continues with what has come."""

    def look() -> None:
        while alive(pid):
            time.sleep(every_s)
        tell("the Snakemake of this fetch has ended: what has come is kept for the next run")
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


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
        self.since = clock()

    def __call__(self, waiting: Sequence[str]) -> bool:
        """Return whether it is so; ``waiting``: the slides whose fetches wait, one process each."""
        now = self.clock()
        if self.count(self.pid) > len(waiting):
            self.since = now
        return now - self.since >= QUIET_S
