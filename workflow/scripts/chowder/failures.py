"""What failed in a run, in a few lines, from Snakemake's own log: rule, slide, the error, and where to read more."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

SHOWN = 10
ROOM = 1 << 20  # bytes; with less a disk counts as full


@dataclass(frozen=True)
class Failure:
    """One failed job: its rule, its wildcards as Snakemake prints them and its log's path, "" where it has none."""

    rule: str
    wildcards: str
    log: str


def failures(text: str) -> tuple[list[Failure], int, int]:
    """Return the jobs that failed and did not succeed later, how many jobs finished, and how many there were."""
    wildcards: dict[str, str] = {}
    failed: dict[str, Failure] = {}
    finished, steps = 0, 0
    for block in re.split(r"\n(?! )", text):
        head = block.partition("\n")[0]
        fields = dict(re.findall(r"^    (\w+): (.*)$", block, re.MULTILINE))
        if found := re.match(r"Finished jobid: (\d+)", head):
            failed.pop(found[1], None)
        elif found := re.match(r"(\d+) of (\d+) steps", head):
            finished, steps = int(found[1]), int(found[2])
        elif found := re.match(r"Error in (?:\w+ )?rule (\w+):", head):
            job = fields.get("jobid", head)
            log = re.sub(r" \(check log file.*", "", fields.get("log", "")).partition(", ")[0]
            failed[job] = Failure(found[1], wildcards.get(job, ""), log)
        elif re.match(r"(?:local)?(?:rule|checkpoint) \w+:", head) and "jobid" in fields:
            wildcards[fields["jobid"]] = fields.get("wildcards", "")
    return list(failed.values()), finished, steps


def reason(path: str) -> str:
    """Return the line that says why: the last that begins with ``error:``, else the last of the log ("" without).

    On a full or read-only disk a job cannot write why it failed: its log is empty, absent or an older one, and the
    line says so.
    """
    if path and (closed := unwritable(Path(path).parent)):
        return f"error: {closed}"
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines()]
    except (OSError, ValueError):
        lines = []
    lines = [line for line in lines if line]
    errors = [line for line in lines if line.startswith("error:")]
    if not lines and path and free(path) < ROOM:
        return (
            f"error: {Path(path).parent}: the disk is full, not even this job's log could be written: free some space"
        )
    return (errors or lines or [""])[-1]


def clock(text: str) -> str:
    """Return what to do about a job that Snakemake refused because an input's date lies ahead; "" without one."""
    found = re.search(r"^Output (.+?) has older modification time \(.*?\) than input (.+?) \(", text, re.MULTILINE)
    if not found:
        return ""
    folder = shlex.quote(os.path.commonpath([os.path.abspath(path) for path in found.groups()]))
    mend = f'find {folder} -newermt now -exec touch -d "@$(date +%s)" {{}} +'
    return (
        f"\nerror: {found[2]}: its date lies in the future: was the clock set back, or is another machine's ahead? "
        f"Set it right, give such files the date of now: `{mend}`, and run again"
    )


def unwritable(folder: str | os.PathLike) -> str:
    """Return a line that says that a folder, or the one it would be made in, can't be written to; "" where it can."""
    found = _nearest(Path(folder))
    if os.access(found, os.W_OK):
        return ""
    return f"{found}: cannot be written to: is the disk mounted read-only, or the folder somebody else's?"


def _nearest(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def free(path: str) -> int:
    """Return the free bytes of the disk that a file is on, or would be."""
    folder = _nearest(Path(path).parent)
    try:
        found = os.statvfs(folder)
    except (AttributeError, OSError):  # Windows; a disk that is gone
        return ROOM
    return found.f_bavail * found.f_frsize


def summary(text: str) -> str:
    """Return the lines to show at the end of a run that failed; "" where no job failed."""
    failed, finished, steps = failures(text)
    if not failed:
        return clock(text)
    lines = [f"\n{len(failed)} job{'s' if len(failed) > 1 else ''} failed:"]
    for one in failed[:SHOWN]:
        lines.append(f"  {one.rule}{f' ({one.wildcards})' if one.wildcards else ''}")
        why = reason(one.log) if one.log else ""
        lines += [f"    {why}"] if why else []
        lines += [f"    log: {one.log}"] if one.log else []
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more: see the log below")
    if steps:
        lines.append(f"{finished} of {steps} jobs finished; what they made is kept. Mend the cause, then run again.")
    return "\n".join(lines)
