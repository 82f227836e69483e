"""Seeds that depend on what is drawn, never on the order or time in which it is drawn."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_of(*key: object) -> int:
    """Return a 63-bit seed from a key such as ``(config_seed, dataset, slide, "sample")``.

    The same key gives the same seed on every machine; keys that differ in any part give unrelated seeds.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*key: object) -> np.random.Generator:
    """Return a numpy generator seeded by :func:`seed_of`."""
    return np.random.default_rng(seed_of(*key))
