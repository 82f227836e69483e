"""Small bundles for tests: a trained ensemble on random features, and the manifest around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from chowder.features.encoders.lite0 import LITE0_SHA256
from chowder.models import build, bundle

DIM = 6


def settings() -> dict[str, Any]:
    """Tissue, tile and localisation settings as the default config has them."""
    return {
        "tissue": {"mpp": 8.0, "combine": "and", "min_area_mm2": 0.02, "max_hole_mm2": 0.02, "exclude_pen": True},
        "tiles": {"size": 224, "mpp": 0.5, "resample": "target", "min_tissue": 0.5},
        "localisation": {"score": "auto", "smoothing_um": 0, "nms_um": 0},
    }


def manifest(method: str = "chowder_r2", **more: Any) -> dict[str, Any]:
    """What :func:`chowder.models.bundle.write` wants, for features of length DIM."""
    stain = {
        "haematoxylin_mean": (0.2, 0.3),
        "haematoxylin_sd": (0.05, 0.1),
        "eosin_mean": (0.1, 0.2),
        "eosin_sd": (0.02, 0.1),
    }
    return settings() | {
        "dataset": "trial",
        "simulated": False,
        "method": method,
        "title": "a title",
        "encoder": {
            "name": "efficientnet_lite0",
            "weights_sha256": LITE0_SHA256,
            "weights": "",
            "dim": DIM,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "normalisation": "nikitenko",
            "precision": "fp32",
            "overrides": {},
            "licence": "Apache-2.0",
            "code": "",
        },
        "sample": {"seed": 3, "dataset": "trial", "repeat": 0, "tiles": 7},
        "full_red": 1.5,
        "cohort": {
            "slides": 12,
            "normal": 6,
            "tumour": 6,
            "tiles": {"min": 20, "max": 200},
            "mpp": {"min": 0.24, "max": 0.25},
            "mpp_read": {"min": 0.48, "max": 0.5},
            "stain": {key: {"min": low, "max": high} for key, (low, high) in stain.items()},
        },
        **more,
    }  # fmt: skip


def trained(folder: Path, method: str = "chowder_r2", seed: int = 1) -> tuple[Any, bytes]:
    """An estimator trained on random bags, and its file."""
    rng = np.random.default_rng(seed)
    bags = [rng.normal(size=(12, DIM)).astype(np.float32) + (i % 2) for i in range(8)]
    training = {"members": 2, "epochs": 3, "batch": 4, "hidden": [4], "seed": seed}
    estimator = build.build(method, {"training": training, "baselines": {}})
    estimator.fit(bags, [i % 2 for i in range(8)])
    path = folder / f"{method}_{seed}.pt"
    estimator.save(path)
    return estimator, path.read_bytes()


def written(path: Path, method: str = "chowder_r2", **more: Any) -> Path:
    """A bundle of one trained model at ``path``."""
    bundle.write(path, manifest(method, **more), {"competition": trained(path.parent, method)[1]}, "read me")
    return path
