"""Run the benchmarks by name, or all: ``python -m bench [reading integrity embedding training froc intervals fetch]``.

Options after the names go to each of them: ``python -m bench intervals --draws 100``.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

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


def main(arguments: list[str]) -> int:
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
