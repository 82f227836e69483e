"""A lock that a killed run left goes; any other lock stays, and a line says whose it may be."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from chowder import lock, orphan

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory that is locked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("atexit.register", lambda *_: None)
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    for name in ("0.input.lock", "0.output.lock"):
        (tmp_path / ".snakemake" / "locks" / name).touch()
    return tmp_path


def note(folder, pid, started, host=None):
    runs = folder / ".snakemake" / "chowder-runs"
    runs.mkdir(parents=True, exist_ok=True)
    content = {"host": host or platform.node(), "pid": pid, "started": started}
    (runs / f"{host}-{pid}.json").write_text(json.dumps(content))


def locks(folder):
    return list((folder / ".snakemake" / "locks").iterdir())


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_lock_of_a_killed_run_is_removed_and_its_note_too(folder):
    pid = dead_pid()
    note(folder, pid, "123")
    assert str(pid) in lock.enter() and not locks(folder)
    left = list((folder / ".snakemake" / "chowder-runs").glob("*.json"))
    assert [json.loads(path.read_text())["pid"] for path in left] == [os.getpid()]


def test_another_process_with_the_same_number_is_not_the_run(folder):
    note(folder, os.getppid(), "1")  # it began at another time
    assert "removed" in lock.enter() and not locks(folder)


@pytest.mark.parametrize("case", ["running", "elsewhere", "one of two", "no note", "broken note"])
def test_a_lock_that_may_be_somebodys_stays(folder, case):
    if case == "running":
        note(folder, os.getppid(), orphan.started(os.getppid()))
    if case in ("elsewhere", "one of two"):
        note(folder, dead_pid(), "1", host="node7")
    if case == "one of two":
        note(folder, dead_pid(), "1")
    if case == "broken note":
        note(folder, 1, "1")
        next((folder / ".snakemake" / "chowder-runs").glob("*.json")).write_text("{")
    said = lock.enter()
    assert len(locks(folder)) == 2
    assert ("snakemake --unlock" in said) == (case not in ("no note", "broken note"))


def test_a_snakemake_that_left_no_note_but_runs_in_the_directory_keeps_its_lock(folder):
    (folder / "snakemake").write_text("input()")
    process = subprocess.Popen([sys.executable, "snakemake"], stdin=subprocess.PIPE, cwd=folder)
    note(folder, dead_pid(), "1")
    assert f"process {process.pid} is a Snakemake" in lock.enter() and len(locks(folder)) == 2
    process.communicate(b"\n")


def test_without_a_lock_nothing_is_said(folder):
    for path in locks(folder):
        path.unlink()
    note(folder, dead_pid(), "1")
    assert lock.enter() == ""
