"""The end of a failed run: which jobs, why, and what is kept; from the text that Snakemake 9 writes."""

from __future__ import annotations

import os
import subprocess
import time

from chowder import failures

LOG = """Building DAG of jobs...
[Mon Nov 30 13:42:07 2026]
localrule two:
    output: c.txt
    jobid: 3
    resources: tmpdir=/tmp
[Mon Nov 30 13:42:07 2026]
rule tissue:
    output: a.txt
    log: {log}
    jobid: 1
    wildcards: slide=tumor_001
    resources: tmpdir=/tmp
[Mon Nov 30 13:42:07 2026]
Finished jobid: 3 (Rule: two)
1 of 5 steps (20%) done
[Mon Nov 30 13:42:07 2026]
Error in rule tissue:
    message: None
    jobid: 1
    output: a.txt
    log: {log} (check log file(s) for error details)
    shell:
        echo; exit 1
        (command exited with non-zero exit code)
Logfile {log}:
================
warning: x
error: tumor_001.tif: is damaged: fetch it again
================
[Mon Nov 30 13:42:07 2026]
Error in rule fetch_slide:
    message: None
    jobid: 4
    output: b.txt
    log: logs/b.log (check log file(s) for error details)
[Mon Nov 30 13:42:09 2026]
Finished jobid: 4 (Rule: fetch_slide)
2 of 5 steps (40%) done
[Mon Nov 30 13:42:07 2026]
Error in rule two:
    message: None
    jobid: 5
    output: b.txt
"""


def test_rule_slide_reason_log_and_what_is_kept_are_shown(tmp_path):
    log = tmp_path / "tissue.log"
    log.write_text("warning: x\nerror: tumor_001.tif: is damaged: fetch it again\nTraceback that follows\n")
    text = failures.summary(LOG.format(log=log))
    assert text.splitlines() == [
        "",
        "2 jobs failed:",
        "  tissue (slide=tumor_001)",
        "    error: tumor_001.tif: is damaged: fetch it again",
        f"    log: {log}",
        "  two",
        "2 of 5 jobs finished; what they made is kept. Mend the cause, then run again.",
    ]


def test_without_an_error_line_the_last_line_is_shown_and_without_a_log_none(tmp_path):
    (tmp_path / "a.log").write_text("reading\nSegmentation fault\n\n")
    assert failures.reason(str(tmp_path / "a.log")) == "Segmentation fault"
    assert failures.reason(str(tmp_path / "none.log")) == ""
    (tmp_path / "empty.log").touch()
    assert failures.reason(str(tmp_path / "empty.log")) == ""


def test_a_run_that_failed_before_its_jobs_has_no_summary():
    assert failures.summary("WorkflowError:\nconfig: x\n") == ""


def test_many_failures_are_counted_not_listed():
    block = "Error in rule tissue:\n    jobid: {}\n    log: logs/{}.log (check log file(s) for error details)\n"
    text = failures.summary("".join(block.format(i, i) for i in range(25)))
    assert "25 jobs failed" in text and "and 15 more" in text and text.count("log: logs/") == 10


def test_an_empty_log_on_a_full_disk_is_explained(tmp_path, monkeypatch):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "tiles.log").touch()
    log = str(tmp_path / "logs" / "tiles.log")
    assert failures.reason(log) == ""
    monkeypatch.setattr(failures, "free", lambda path: 4096)
    assert failures.reason(log) == (
        f"error: {tmp_path / 'logs'}: the disk is full, not even this job's log could be written: free some space"
    )
    assert "the disk is full" in failures.reason(str(tmp_path / "logs" / "absent.log"))
    (tmp_path / "logs" / "tiles.log").write_text("error: x.tif: broken\n")
    assert failures.reason(log) == "error: x.tif: broken", "what the job could write counts"


def test_free_bytes_are_those_of_the_disk_that_a_file_would_be_on(tmp_path):
    found = os.statvfs(tmp_path)
    assert abs(failures.free(str(tmp_path / "not" / "there" / "x.log")) - found.f_bavail * found.f_frsize) < 1 << 30


def test_a_folder_that_cannot_be_written_to_is_named_not_the_older_log(tmp_path, monkeypatch):
    (tmp_path / "tiles.log").write_text("error: of an earlier run\n")
    monkeypatch.setattr(failures.os, "access", lambda folder, mode: False)  # root may write everywhere
    assert failures.reason(str(tmp_path / "tiles.log")).startswith(f"error: {tmp_path}: cannot be written to:")
    assert failures.reason("") == ""
    assert failures.unwritable(tmp_path / "not" / "there").startswith(f"{tmp_path}: cannot be written to:")


def test_a_folder_that_can_be_written_to_has_no_line(tmp_path):
    assert failures.unwritable(tmp_path / "not" / "there") == ""


def test_a_date_in_the_future_is_explained_and_its_command_mends_it(tmp_path):
    folder = tmp_path / "a b"
    (folder / "tiles").mkdir(parents=True)
    ahead, old = folder / "tiles" / "x.parquet", folder / "y.json"
    ahead.touch(), old.touch()
    later = time.time() + 7200
    os.utime(ahead, (later, later))
    os.utime(old, (1e9, 1e9))
    said = f"Output {folder}/x.png has older modification time (10:00) than input {ahead} (12:00)."
    text = failures.summary(f"WorkflowError in rule a in file b:\n{said} This could indicate\n")
    assert text.startswith(f"\nerror: {ahead}: its date lies in the future")
    subprocess.run(text.split("`")[1], shell=True, check=True)
    assert ahead.stat().st_mtime <= time.time() and old.stat().st_mtime == 1e9
