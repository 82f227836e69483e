"""Let a second Snakemake, which only reads, write the report of finished targets as one HTML file."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from chowder.files import UserError, atomic, run


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snakefile", required=True, help="the Snakefile of the run")
    parser.add_argument("--overrides", type=json.loads, default={}, help="JSON: config given on the command line")
    parser.add_argument("--targets", nargs="+", required=True, help="files to report on, with all that made them")
    parser.add_argument("--output", type=Path, required=True, help="HTML file to write")
    args = parser.parse_args(argv)

    with atomic(args.output) as scratch, tempfile.NamedTemporaryFile("w", suffix=".json") as overrides:
        json.dump(args.overrides, overrides)
        overrides.flush()
        command = [sys.executable, "-m", "snakemake", "--snakefile", args.snakefile, "--nolock", "--report", scratch]
        if args.overrides:
            command += ["--configfile", overrides.name]
        status = subprocess.run([*command, "--", *args.targets], check=False).returncode
        if status:
            raise UserError(f"{args.output}: Snakemake's report ended with status {status}: see its message above")


if __name__ == "__main__":
    run(main)
