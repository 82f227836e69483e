"""What the Snakefile and the heavy programs must know of the machine, without importing torch."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from chowder.files import UserError

if TYPE_CHECKING:
    import torch


def this_python_first() -> None:
    """Let ``python`` in a job mean the Python that runs Snakemake, unless its deployment puts another one in front."""
    here = str(Path(sys.executable).parent)
    rest = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder != here]
    os.environ["PATH"] = os.pathsep.join([here, *rest])


def accelerators(device: str, cluster: bool = False) -> int:
    """GPUs that a job takes: one for ``cuda``, none for ``cpu``.

    For ``auto`` one where the NVIDIA driver shows one; with ``cluster``, where jobs go to other machines, one if Slurm
    knows of GPUs. Another scheduler can't be asked: then it is what this machine has, as without ``cluster``.
    """
    if device == "auto":
        listed = _slurm_resources() if cluster else None
        return int(Path("/dev/nvidia0").exists() if listed is None else "gpu" in listed)
    return int(device == "cuda")


@functools.cache
def _slurm_resources() -> str | None:
    """Return the generic resources of all nodes, as ``sinfo`` prints them; None without Slurm, or without an answer."""
    try:
        found = subprocess.run(["sinfo", "--noheader", "--format=%G"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout if found.returncode == 0 else None


def memory_mb() -> int:
    """Memory of this machine in MB, or what a control group (a container, a Slurm job) leaves of it."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            size = min(size, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return size // 10**6


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


def torch_device(device: str) -> torch.device:
    """Return the device that ``auto``, ``cpu``, ``cuda`` or ``cuda:<number>`` means. Errors: it is not there."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"device: {device!r} is none of auto, cpu, cuda, cuda:<number>")
    place = torch.device(device)
    if place.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device: {device!r} was asked for, but PyTorch sees no CUDA device: use `auto` or `cpu`")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device: {device!r} was asked for, but CUDA devices end at {torch.cuda.device_count() - 1}")
    if place.type == "cuda" and place.index is None:
        place = torch.device("cuda", _free_gpu(torch.cuda.device_count()))
    return place


def _free_gpu(count: int) -> int:
    """Return a GPU that no other job of this kind on this machine holds (until this process ends).

    Snakemake counts GPUs but does not hand them out, so each job takes a lock file. When all are taken: the first.
    """
    import fcntl
    import tempfile

    for number in range(count if count > 1 else 0):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        label = visible[number] if len(visible) == count and visible[number] else str(number)
        path = Path(tempfile.gettempdir()) / f"chowder-gpu-{os.getuid()}-{label.replace('/', '-')}.lock"
        handle = open(path, "w")  # noqa: SIM115 (held until the process ends)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            continue
        _LOCKS.append(handle)
        return number
    return 0


_LOCKS: list = []
