"""Write a run as a Workflow Run RO-Crate, a zip of workflow, config, slides table, table and figures."""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

from chowder.files import atomic, run
from chowder.report import crate


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workflow", type=Path, required=True, help="folder of Snakefile, workflow/ and envs/")
    parser.add_argument("--config", type=json.loads, required=True, help="JSON: the config of the run")
    parser.add_argument("--results", type=Path, required=True, help="results/<dataset>")
    parser.add_argument("--slides", type=Path, required=True, help="slides table of the run")
    parser.add_argument("--made", type=Path, nargs="+", required=True, help="files of the run, below --results")
    parser.add_argument("--version", required=True, help="version of the workflow")
    parser.add_argument("--simulated", action="store_true", help="the slides are simulated")
    parser.add_argument("--output", type=Path, required=True, help="zip")
    args = parser.parse_args(argv)
    with atomic(args.output) as scratch:
        crate.write(
            scratch,
            workflow=args.workflow,
            config=args.config,
            results=args.results,
            slides=args.slides,
            made=args.made,
            simulated=args.simulated,
            version=args.version,
            snakemake=version("snakemake"),
        )


if __name__ == "__main__":
    run(main)
