"""Python, packages, processor, memory, GPU, disk and locks of this machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from chowder import machine
from chowder.data import camelyon16
from chowder.doctor.case import OK, SECONDS, WARNING, WRONG, Case, Line, dim_of, tiles_of
from chowder.models import memory

PYTHON = (3, 11)
EMBED_MB = 4000  # what a job of the rule embed declares


def python(case: Case) -> Iterable[Line]:
    """Version and kind of Python."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    if sys.version_info < PYTHON:
        yield Line("python", WRONG, found, f"install {'.'.join(map(str, PYTHON))} or newer, then make env")
    elif sys.maxsize < 2**32:
        yield Line("python", WRONG, f"{found}, 32 bits", "use a 64-bit Python")
    else:
        yield Line("python", OK, found)


def locked(text: str) -> dict[str, str]:
    """Return version by name of a lock that hold for this machine, names in lower case with hyphens."""
    from packaging.markers import InvalidMarker, Marker

    found = {}
    for line in re.findall(r"^([A-Za-z0-9][\w.-]*==[^\\\n]+)", text, re.M):
        pinned, _, marker = line.partition(" ; ")
        name, _, version = pinned.strip().partition("==")
        try:
            if not marker or Marker(marker.strip()).evaluate():
                found[_normal(name)] = version.strip()
        except InvalidMarker:
            continue
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(case: Case) -> Iterable[Line]:
    """Installed packages against the lock; what only development needs may be absent."""
    lock = locked((case.home / "envs" / "requirements.lock").read_text(encoding="utf-8"))
    asked = (case.home / "envs" / "requirements.in").read_text(encoding="utf-8").partition("# development")[0]
    needed = {_normal(re.split(r"[=\s#]", line)[0]) for line in asked.splitlines() if line and line[0] != "#"}
    here = {_normal(one.metadata["Name"]): one.version for one in importlib.metadata.distributions()}
    missing = sorted(needed & lock.keys() - here.keys())
    other = [
        f"{name} {here[name]} for {lock[name]}"
        for name in sorted(lock.keys() & here.keys())
        if not _same(here, lock, name)
    ]
    equal = len(lock.keys() & here.keys()) - len(other)
    if missing:
        yield Line(
            "packages", WRONG, f"missing: {', '.join(missing[:5])}", "make env, or install envs/requirements.lock"
        )
    elif other:
        what = f"{len(other)} differ from the lock: {', '.join(other[:3])}"
        yield Line("packages", WARNING, what, "make env: results may differ in the last digits")
    else:
        yield Line("packages", OK, f"{equal} of {len(lock)} of the lock, none in another version")


def _same(here: dict[str, str], lock: dict[str, str], name: str) -> bool:
    return here[name].partition("+")[0] == lock[name].partition("+")[0]  # torch 2.15.0+cpu


def processor(case: Case) -> Iterable[Line]:
    """What the encoders' arithmetic can use."""
    try:
        flags = set(re.findall(r"^flags\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.M)[0].split())
    except (OSError, IndexError):
        yield Line("cpu", OK, f"{platform.machine()}, features not known")
        return
    known = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bf16", "amx_bf16": "AMX"}
    found = ", ".join(name for flag, name in known.items() if flag in flags)
    if "avx2" in flags:
        yield Line("cpu", OK, f"{platform.machine()} with {found}")
    else:
        yield Line(
            "cpu", WARNING, f"{platform.machine()} without AVX2", "embedding and training are several times slower"
        )


def cores(case: Case) -> Iterable[Line]:
    """Cores and memory of this machine (or what a container leaves of them) against what one job asks for."""
    have, config = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        case.config,
    )
    want = max(config[section]["threads"] for section in ("embedding", "training"))
    yield Line("cores", OK, f"{have}, a job takes up to {min(want, have)}")
    size, tiles = machine.memory_mb(), tiles_of(case)
    sampled = [max(config["sample"]["minimum"], round(config["sample"]["fraction"] * tiles))] * len(case.rows)
    sampled = [min(tiles, number) for number in sampled]
    training = memory.train(
        sampled,
        [tiles] * len(case.rows),
        dim_of(case),
        config["methods"],
        config["training"]["members"],
        config["training"]["batch"],
    )
    need = max(EMBED_MB, training)
    found = f"{size / 1000:.1f} GB, the largest job asks for about {need / 1000:.1f}"
    if need > size:
        yield Line("memory", WARNING, found, "fewer slides, methods or tiles (sample), or a larger machine")
    else:
        yield Line("memory", OK, found)


def gpu(case: Case) -> Iterable[Line]:
    """GPUs and driver against the devices of the config."""
    wanted = {case.config[section]["device"] for section in ("embedding", "training")} if case.config else {"auto"}
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=SECONDS * 1.5)
        rows = [line.strip() for line in answer.stdout.splitlines() if line.strip()] if not answer.returncode else []
    except (OSError, subprocess.TimeoutExpired):
        rows = []
    if rows:
        built = importlib.metadata.version("torch")
        if "+cpu" in built:
            yield Line("gpu", WARNING, f"{rows[0]}, but torch {built}", "make env: this torch has no CUDA")
        else:
            yield Line("gpu", OK, f"{len(rows)} x {rows[0]}")
    elif "cuda" in wanted:
        yield Line("gpu", WRONG, "none that nvidia-smi shows, the config asks for cuda", "set device: auto")
    else:
        yield Line("gpu", OK, "none: the CPU computes")


def disk(case: Case) -> Iterable[Line]:
    """Free space at results/ against slides (at_once of them when streamed) and features of the run."""
    config, count = case.config, len(case.rows)
    place = case.at(os.path.join(config["results"], config["dataset"]))
    there = next(path for path in (place, *place.parents) if path.exists())
    if not os.access(there, os.W_OK):
        yield Line("disk", WRONG, f"{there} can't be written to", "correct the permissions, or set results")
        return
    slides, source = config["slides"], config["slides"]["source"]
    held = 0
    if source == "camelyon16":
        held = camelyon16.MEAN_BYTES * (count if slides["keep"] else min(count, slides["at_once"]))
    elif source == "simulated":
        held = round(config["simulation"]["area_mm2"] * 6e6) * count
    features = (
        2 * count * tiles_of(case) * dim_of(case) * 2 * len(config["encoders"])
    )  # the store's and the published file
    free, need = shutil.disk_usage(there).free, held + features
    present = sum(path.stat().st_blocks * 512 for path in place.glob("slides/*.tif")) if held else 0
    need = max(0, need - present)
    found = f"{free / 1e9:.0f} GB free at {there.resolve()}, about {need / 1e9:.1f} GB needed"
    less = "set slides.keep: false" if source == "camelyon16" and slides["keep"] else "free some space, or set results"
    if free < need:
        yield Line("disk", WRONG, found, less)
    else:
        yield Line("disk", WARNING if free < 1.2 * need else OK, found, less)


def locks(case: Case) -> Iterable[Line]:
    """Locks of Snakemake in this folder that no running Snakemake holds."""
    found = list((case.directory / ".snakemake" / "locks").glob("*.lock"))
    if not found:
        yield Line("locks", OK, "none")
    elif running := _snakemakes(case.directory):
        yield Line("locks", OK, f"held by Snakemake with process number {', '.join(map(str, running))}")
    else:
        yield Line("locks", WARNING, "a lock is here, and no Snakemake runs here on this machine", "snakemake --unlock")


def _snakemakes(directory: Path) -> list[int]:
    """Process numbers of other Snakemakes of this machine that work in ``directory``."""
    import psutil

    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()[:4]
            named = process.pid not in own and any("snakemake" in os.path.basename(word) for word in words)
            if named and Path(process.cwd()).resolve() == directory.resolve():
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found
