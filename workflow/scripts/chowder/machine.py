"""What the Snakefile must know of the machine, without importing torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def this_python_first() -> None:
    """Let ``python`` in a job mean the Python that runs Snakemake, unless its deployment puts another one in front."""
    here = str(Path(sys.executable).parent)
    rest = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder != here]
    os.environ["PATH"] = os.pathsep.join([here, *rest])


def accelerators(device: str) -> int:
    """GPUs that a job takes: one for ``cuda``, none for ``cpu``; for ``auto`` one where the NVIDIA driver shows one."""
    return int(device == "cuda" or (device == "auto" and Path("/dev/nvidia0").exists()))
