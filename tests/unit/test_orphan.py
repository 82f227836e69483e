"""Which process above a job is Snakemake."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from chowder import orphan

YES = (
    ["python3.11", "/env/bin/snakemake", "--cores", "2"],
    ["/env/bin/python", "-m", "snakemake", "--cores", "2"],
    ["/env/bin/python", "-X", "dev", "-m", "snakemake"],
    ["/env/bin/python", "-I", "/env/lib/site-packages/snakemake/__main__.py", "-j1"],
    ["snakemake"],
)
NO = (
    ["bash", "-c", "python /work/snakemake/train.py"],
    ["/bin/bash", "/env/bin/snakemake"],
    ["python", "train.py", "--x", "snakemake"],
    ["python", "-m", "pytest", "snakemake"],
    ["python", "-c", "import snakemake"],
    ["vim", "snakemake"],
    ["python"],
    [""],
)


@pytest.mark.parametrize("words", YES)
def test_snakemake_is_known_by_its_command_line(words):
    assert orphan.is_snakemake(words)


@pytest.mark.parametrize("words", NO)
def test_other_programs_are_not_snakemake(words):
    assert not orphan.is_snakemake(words)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_start_time_and_parent_are_those_of_psutil_and_end_with_the_process():
    import psutil

    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert orphan.parent(process.pid) == os.getpid()
    ticks = int(orphan.started(process.pid)) / os.sysconf("SC_CLK_TCK")
    boot = psutil.boot_time()
    assert ticks + boot == pytest.approx(psutil.Process(process.pid).create_time(), abs=1.0)
    process.communicate(b"\n")
    assert orphan.started(process.pid) == "" and orphan.parent(process.pid) == 0
    assert orphan.started(os.getpid()) == orphan.started(os.getpid()) != ""


def test_a_program_that_somebody_runs_by_hand_is_not_watched(monkeypatch):
    monkeypatch.setattr(orphan, "is_snakemake", lambda words: False)
    assert orphan.end_with_snakemake() is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_grows_by_what_is_touched():
    code = (
        "from chowder.orphan import peak_mb\nbefore = peak_mb()\nx = bytearray(50_000_000)\n"
        "x[::4096] = b'1' * len(x[::4096])\ndel x\nprint(peak_mb() - before)"
    )
    folder = os.path.dirname(os.path.dirname(orphan.__file__))
    found = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert 45 < float(found) < 80
