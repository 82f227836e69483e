"""What the Snakefile and the heavy programs must know of the machine, without importing torch."""

from __future__ import annotations

import ctypes
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


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees instead of giving it back to the kernel; True where that works.

    A network's layers allocate and free the same tens of megabytes for every batch. glibc maps and unmaps each of
    them, and the page faults cost as much as the arithmetic: measured on one core of a 2-core virtual machine with
    EfficientNet-Lite0 and 32 tiles a batch, 21 tiles/s before and 52 after. Call it before the first large allocation.
    glibc (Linux) only.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(mmap_threshold, 1 << 30) and mallopt(trim_threshold, (1 << 31) - 1))
