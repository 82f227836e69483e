"""A clone with a finished tiny run, and what the faults do to it: kills, full disks, damaged files."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from chowder.files import SCRATCH
from workflow_clone import TINY, begin, clone

TARGETS = ("benchmark", "figures")
# Not the same in two runs: seconds, pages that show them, and what only tells of the run.
SKIPPED = ("logs/", "benchmarks/", "config.yaml", ".html", ".store/", "figures/matrix", "matrix.csv", "timing.json")


#: A campaign's own folder in a message, which may be cut at its beginning.
SCRATCH_FOLDER = re.compile(r"[\w/.-]*-\w{8}/(?=disk/|clone/|own-)")


@dataclass
class Row:
    """A line of the table: what was done, where, what came of it, and whether that is what it should be."""

    fault: str
    where: str
    outcome: str
    good: bool
    seconds: float = 0.0

    def __str__(self) -> str:
        good = "yes" if self.good else "**no**"
        outcome = SCRATCH_FOLDER.sub("…/", self.outcome)
        return f"| {self.fault} | {self.where} | {outcome} | {good} | {self.seconds:.0f} |"


class Machine:
    """A clone of the repository whose results lie on a disk of their own (a tmpfs, where root can mount one)."""

    def __init__(self, folder: Path, size_mb: int = 2000) -> None:
        self.folder, self.disk = clone(folder / "clone"), folder / "disk"
        self.disk.mkdir()
        self.mounted = os.geteuid() == 0 and self._mount("-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs")
        self.results = self.disk / "tiny"
        self.size_mb = size_mb
        # The configuration's own file, so that cases can change it.
        self.overlay = folder / "overlay.json"
        self.overlay.write_text(json.dumps({"results": str(self.disk)}))
        self.arguments = [*TINY, str(self.overlay), "--cores", "2"]
        started = time.perf_counter()
        self.run(*TARGETS)
        self.base = self.digest()
        self.seconds = time.perf_counter() - started
        self.copy = folder / "base"
        self.copy.mkdir()
        for name, source in (("disk", self.results), ("snakemake", self.folder / ".snakemake")):
            shutil.copytree(source, self.copy / name)

    def _mount(self, *arguments: str) -> bool:
        return subprocess.run(["mount", *arguments, str(self.disk)], capture_output=True, check=False).returncode == 0

    def close(self) -> None:
        """Take the disk away."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)

    def resize(self, size_kb: int) -> None:
        """Give the disk another size."""
        assert self._mount("-o", f"remount,rw,size={size_kb}k")

    def read_only(self) -> None:
        """Let nothing be written to the disk."""
        assert self._mount("-o", "remount,ro")

    def used_kb(self) -> int:
        """Kilobytes that the disk holds."""
        found = os.statvfs(self.disk)
        return (found.f_blocks - found.f_bfree) * found.f_frsize // 1024

    def restore(self) -> None:
        """Put back the finished run."""
        shutil.rmtree(self.results, ignore_errors=True)
        shutil.rmtree(self.folder / ".snakemake", ignore_errors=True)
        shutil.copytree(self.copy / "disk", self.results)
        shutil.copytree(self.copy / "snakemake", self.folder / ".snakemake")

    def begin(self, *targets: str) -> subprocess.Popen:
        """Start Snakemake in a session of its own, so that all of it can be killed at once."""
        return begin(self.folder, *targets, *self.arguments, own_session=True)

    def run(self, *targets: str, fails: bool = False) -> str:
        """Run Snakemake to its end and return what it printed."""
        running = self.begin(*targets)
        output = running.communicate()[0]
        if bool(running.returncode) != fails:
            raise AssertionError(f"ended with {running.returncode}:\n{output[-3000:]}")
        return output

    def digest(self) -> dict[str, str]:
        """Return a sum of every result; tables without their column of seconds."""
        found = {}
        for path in sorted(self.results.rglob("*")):
            name = str(path.relative_to(self.results))
            if not path.is_file() or any(part in name for part in SKIPPED):
                continue
            content = path.read_bytes()
            if path.name == "benchmark.csv":
                rows = csv.DictReader(io.StringIO(content.decode()))
                content = repr([{k: v for k, v in row.items() if k != "train_seconds"} for row in rows]).encode()
            elif path.stem == "benchmark":
                content = re.sub(rb"\d+(\.\d+)? s\b", b"", content)
            elif path.suffix == ".h5":
                content = _arrays(path)
            elif path.name == "index.json" or path.parent.name == "shards":
                continue  # names and sums of files
            found[name] = hashlib.sha256(content).hexdigest()
        return found

    def differences(self) -> str:
        """Return what is not as in the undisturbed run, or was left behind; "" when nothing is."""
        now = self.digest()
        wrong = sorted(name for name in now.keys() | self.base.keys() if now.get(name) != self.base.get(name))
        left = [path.name for path in self.results.rglob(".*") if SCRATCH.fullmatch(path.name) or ".new-" in path.name]
        words = [f"{len(wrong)} files differ: {', '.join(wrong[:3])}"] if wrong else []
        return "; ".join(words + ([f"left behind: {', '.join(left[:3])}"] if left else []))

    def programs(self, words: Iterable[str] = ()) -> list[int]:
        """Return the processes that work in the clone and whose command line has all the words."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if (entry / "cwd").resolve() == self.folder and line and all(word in line for word in words):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def program(self, name: str) -> list[int]:
        """Return the Python processes that run a program of the workflow."""
        return [pid for pid in self.programs([f"scripts/{name}.py"]) if _first_word(pid).startswith("python")]

    def delete(self, patterns: Iterable[str]) -> None:
        """Remove results by patterns below the results folder."""
        for pattern in patterns:
            for path in list(self.results.glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _arrays(path: Path) -> bytes:
    import h5py

    with h5py.File(path, "r") as handle:
        return b"".join(name.encode() + handle[name][:].tobytes() for name in sorted(handle))


def _first_word(pid: int) -> str:
    try:
        return Path(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()).name
    except OSError:
        return ""


def wait_until(true: Callable[[], object], seconds: float) -> bool:
    """Wait until something is true; returns whether it became so in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def kill(pids: Iterable[int]) -> None:
    """Kill processes that may have ended already."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def kill_session(process: subprocess.Popen) -> None:
    """Kill Snakemake and everything it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def one_line(output: str, words: Iterable[str]) -> str:
    """Return the first line that says what is wrong and has all the words, a program's own before Snakemake's."""
    lines = [line.strip() for line in output.splitlines() if all(word in line for word in words)]
    for pattern in (r"^error: ", r"Error|rror:|^slides table "):
        for line in lines:
            if re.search(pattern, line) and "check log file" not in line:
                return line
    return ""


def traceback_in(output: str) -> bool:
    """Whether a Python traceback was shown."""
    return "Traceback (most recent call last)" in output


assert sys.platform == "linux", "the campaign reads /proc"
