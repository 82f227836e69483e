"""What failed in a run, in a few lines, from Snakemake's own log: rule, slide, the error, and where to read more."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SHOWN = 10


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
    """Return the line that says why: the last that begins with ``error:``, else the last of the log ("" without)."""
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines()]
    except (OSError, ValueError):
        return ""
    lines = [line for line in lines if line]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or [""])[-1]


def summary(text: str) -> str:
    """Return the lines to show at the end of a run that failed; "" where no job failed."""
    failed, finished, steps = failures(text)
    if not failed:
        return ""
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
