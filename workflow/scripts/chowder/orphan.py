"""What a job knows of the Snakemake above it: a job ends when that has ended, so that a kill leaves nothing running."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

LOOK_S = 1.0
# Time that a program has to remove what it has half written, before it is ended without.
LEAVE_S = 5.0
# Snakemake is the parent of the shell that is the parent of the program; a deployment may put some more between.
ABOVE = 6


def end_with_snakemake() -> threading.Thread | None:
    """Watch the Snakemake above this process in a thread, and end this process when it has ended.

    A SIGTERM, which schedulers send as well, then lets the program remove what it has half written. Returns the thread;
    None where there is no Snakemake above (somebody runs the program by hand), or no ``/proc``.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)
    above = snakemake_above(os.getpid())
    if above is None:
        return None

    def look() -> None:
        while started(above[0]) == above[1]:
            time.sleep(LOOK_S)
        print("error: the Snakemake of this job has ended, so it ends too: run again", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LEAVE_S)
        os._exit(1)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    return thread


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


def snakemake_above(pid: int) -> tuple[int, str] | None:
    """Return number and start time of the nearest Snakemake among the parents of the process ``pid``."""
    for _ in range(ABOVE):
        pid = parent(pid)
        if pid <= 1:
            return None
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return None
        if is_snakemake(words):
            begun = started(pid)
            return (pid, begun) if begun else None
    return None


def is_snakemake(words: list[str]) -> bool:
    """Whether a command line is Snakemake's: ``python .../bin/snakemake`` or ``python [options] -m snakemake``."""
    if not Path(words[0]).name.startswith(("python", "snakemake")):
        return False
    before = ""
    for word in words[1:]:
        if before == "-m":
            return word == "snakemake"
        if not word.startswith("-") and before not in ("-X", "-W"):  # the program that Python runs
            return Path(word).name == "snakemake" or word.endswith("snakemake/__main__.py")
        before = word
    return Path(words[0]).name == "snakemake"


def _stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/<pid>/stat`` from the third on; empty where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def parent(pid: int) -> int:
    """Return the number of a process's parent; 0 where there is none."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def started(pid: int) -> str:
    """Return the start time of a process in ticks since the start of the machine; "" when it has ended."""
    fields = _stat(pid)
    return "" if not fields or fields[0] in "ZX" else fields[19]


def peak_mb() -> float:
    """Return the most memory (MB of resident pages) that this process has had; 0 without ``/proc``."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), 0.0)
