"""Jobs run this Python, and take a GPU only where there is one or the config insists."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from chowder import machine


def test_python_in_a_shell_is_the_one_that_runs_this(monkeypatch):
    monkeypatch.setenv("PATH", os.pathsep.join(["/nowhere", "/usr/bin", "/bin"]))
    machine.this_python_first()
    found = subprocess.run(["sh", "-c", "command -v python"], capture_output=True, text=True, check=True).stdout.strip()
    assert Path(found).parent == Path(sys.executable).parent
    once = os.environ["PATH"]
    machine.this_python_first()
    assert os.environ["PATH"] == once


def test_accelerators_by_device(monkeypatch):
    assert machine.accelerators("cuda") == 1
    assert machine.accelerators("cpu") == 0
    for present in (True, False):
        monkeypatch.setattr(Path, "exists", lambda self, present=present: present)
        assert machine.accelerators("auto") == present


@pytest.mark.parametrize(("answer", "expected"), [("(null)\ngpu:a100:4(S:0-1)", 1), ("(null)", 0), (None, 1)])
def test_on_a_cluster_the_scheduler_says_whether_there_are_gpus(monkeypatch, tmp_path, answer, expected):
    monkeypatch.setattr(Path, "exists", lambda self: True)  # the machine that submits has one
    program = tmp_path / "sinfo"
    if answer is not None:
        program.write_text(f"#!/bin/sh\nprintf '{answer}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin" if answer is not None else str(tmp_path))
    machine._slurm_resources.cache_clear()
    assert machine.accelerators("auto", cluster=True) == expected
    assert machine.accelerators("cpu", cluster=True) == 0 and machine.accelerators("cuda", cluster=True) == 1
    machine._slurm_resources.cache_clear()


def test_memory_is_the_machines_or_what_a_group_allows(monkeypatch):
    whole = machine.memory_mb()
    assert 100 < whole <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    monkeypatch.setattr(Path, "read_text", lambda self: "50000000\n" if self.name == "memory.max" else "max\n")
    assert machine.memory_mb() == 50


def test_freed_memory_is_kept_for_the_next_batch():
    """Page faults of allocating, touching and freeing 48 MB a hundred times, counted in a process of its own."""
    code = (
        "import resource, sys; import numpy; from chowder import machine\n"
        "if sys.argv[1] == 'kept': assert machine.keep_freed_memory()\n"
        "for i in range(100): numpy.ones(6_000_000)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)"
    )
    if platform.libc_ver()[0] != "glibc":
        assert not machine.keep_freed_memory()
        return
    environment = os.environ | {"PYTHONPATH": str(Path(machine.__file__).parents[1])}
    faults = {
        word: int(subprocess.run([sys.executable, "-c", code, word], env=environment, capture_output=True, text=True,
                                 check=True).stdout)
        for word in ("kept", "returned")
    }  # fmt: skip
    assert faults["kept"] < faults["returned"] / 2
