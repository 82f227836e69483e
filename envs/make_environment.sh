#!/bin/sh
# Builds .venv from envs/requirements.lock: with uv when it is there (seconds), else with pip. Every package is checked
# against its hash. A failed or interrupted build leaves no .ready, so the next call starts again.
set -eu
python=${PYTHON:-python3}
rm -f .venv/.ready
if command -v uv >/dev/null 2>&1; then
  [ -x .venv/bin/python ] || uv venv --quiet --python "$python" .venv
  uv pip sync --quiet --python .venv/bin/python --require-hashes envs/requirements.lock
else
  # without pip inside .venv (made by uv before), start afresh
  .venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/requirements.lock
fi
.venv/bin/python -c "import torch, torchvision, pyvips, openslide, snakemake"
touch .venv/.ready
