"""Jobs run this Python, and take a GPU only where there is one or the config insists."""

import os
import subprocess
import sys
from pathlib import Path

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
