"""The Snakemake that started a fetch: whether it still runs, and whether any of its jobs does more than wait."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chowder.data.download.partial import tell
from chowder.files import UserError, write_text

QUIET_S = 120.0  # Snakemake starts the next job seconds after one has ended; so long without any means that none comes
LOOK_S = 5.0  # between two looks at the processes
SLURM_QUIET_S = 600.0  # the same where jobs run in Slurm: Snakemake asks for their states every three minutes at least
SLURM_LOOK_S = 30.0


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


def busy_or_queued(pid: int) -> int:
    """Return :func:`busy`, and all jobs that this user has in Slurm's queue; very many when Slurm does not answer."""
    ask = ["squeue", "--noheader", "--format=%i", "--user", str(os.getuid())]
    try:
        queue = subprocess.run(ask, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return sys.maxsize
    return busy(pid) + len(queue.stdout.split()) if queue.returncode == 0 else sys.maxsize


class Idle:
    """Whether nothing but waiting fetches has run below the process ``pid`` for ``quiet_s`` seconds (:data:`QUIET_S`).

    ``count`` says how much runs, and is asked every ``look_s`` seconds (:data:`LOOK_S`).
    """

    def __init__(
        self,
        pid: int,
        clock: Callable[[], float] = time.monotonic,
        count: Callable[[int], int] = busy,
        quiet_s: float | None = None,
        look_s: float | None = None,
    ):
        self.pid, self.clock, self.count = pid, clock, count
        self.quiet_s, self.look_s = quiet_s or QUIET_S, look_s or LOOK_S
        self.since = self.counted = clock()

    def __call__(self, waiting: Sequence[str]) -> bool:
        """Return whether it is so; ``waiting``: the slides whose fetches wait, one process each."""
        now = self.clock()
        if now - self.since >= self.quiet_s or now - self.counted >= self.look_s:
            self.counted = now
            if self.count(self.pid) > len(waiting):
                self.since = now
        return now - self.since >= self.quiet_s


def idle(pid: int, where: str) -> list[Idle]:
    """Return what says that no job of the Snakemake ``pid`` runs, in a list that is empty if that can't be seen.

    ``where`` the jobs run: ``here``, ``slurm`` or ``elsewhere``.
    """
    if where == "slurm":
        return [Idle(pid, count=busy_or_queued, quiet_s=SLURM_QUIET_S, look_s=SLURM_LOOK_S)]
    return [Idle(pid)] if where == "here" else []
