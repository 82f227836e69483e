"""Score a folder of detections in the challenge's format: the command ``camelyon-froc`` of the package (see --help)."""

from __future__ import annotations

from chowder.evaluation.command import main
from chowder.files import run

if __name__ == "__main__":
    run(main)
