"""Run the benchmarks by name, or all of them.

``python -m bench [reading integrity embedding training froc intervals measures fetch]``

Options after the names go to each of them: ``python -m bench intervals --draws 100``. With ``--page`` first, what the
named ones print goes into docs/performance.md (bench/page.py): ``python -m bench --page training``.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from bench import page

HERE = Path(__file__).resolve().parent


def machine() -> str:
    """One line that says on what the numbers were measured."""
    name = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0] if models else name
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {name}, Python {platform.python_version()}"
    )


def write_page(names: list[str]) -> int:
    """Run benchmarks and write their sections of docs/performance.md; returns 1 if one failed."""
    failed = 0
    for name in names or page.SECTIONS:
        if name not in page.SECTIONS:
            print(f"error: {name!r} has no section: use some of {', '.join(page.SECTIONS)}", file=sys.stderr)
            return 2
        options = page.SECTIONS[name][1]
        environment = os.environ | {"PYTHONPATH": str(HERE.parent / "workflow" / "scripts")}
        before = os.getloadavg()[0]
        command = [sys.executable, str(HERE / f"bench_{name}.py"), *options]
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        print(result.stdout, flush=True)
        if result.returncode:
            failed = 1
            continue
        shown = " ".join(["python -m bench", name, *options])
        page.write(name, shown, machine(), (before, os.getloadavg()[0]), result.stdout)
    return failed


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--page"]:
        return write_page(arguments[1:])
    first = next((place for place, text in enumerate(arguments) if text.startswith("-")), len(arguments))
    names, options = arguments[:first], arguments[first:]
    known = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    wrong = [name for name in names if name not in known]
    if wrong:
        print(f"error: no benchmark {wrong[0]!r}: use some of {', '.join(known)}", file=sys.stderr)
        return 2
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "workflow" / "scripts")}
    print(f"machine: {machine()}", flush=True)
    failed = 0
    for name in names or known:
        print(f"\n## {name} (python -m bench {name})\n", flush=True)
        failed |= subprocess.run([sys.executable, str(known[name]), *options], env=environment, check=False).returncode
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
