#!/bin/sh
# The linters of .ci/run. Needs the environment's programs on PATH.
set -eu
ruff check .
ruff format --check .
snakefmt --check Snakefile workflow
snakemake --lint
