"""How many tiles of a slide a model is trained on, and which."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from chowder import seeds


def sample_rows(tiles: int, wanted: int, seed: int, dataset: str, slide: str, repeat: int = 0) -> np.ndarray | None:
    """Which of a slide's ``tiles`` rows are sampled: sorted row numbers, or None for all of them.

    The first ``wanted`` of a permutation that depends on seed, dataset and slide alone, so the sample is uniform
    without replacement, another slide never changes it, and a smaller M_S takes a part of what a larger one takes.
    """
    if wanted >= tiles:
        return None
    key = (seed, dataset, slide, "sample", repeat) if repeat else (seed, dataset, slide, "sample")
    return np.sort(seeds.generator(*key).permutation(tiles)[:wanted])


def sample_sizes(
    counts: Mapping[str, int], training: Iterable[str] = (), minimum: int = 1000, fraction: float = 0.5
) -> dict[str, int]:
    """Tiles that each slide gives to training: M_S = min(M_T, max(minimum, fraction * mean of M_T)).

    Source: specification, section 1.

    ``counts`` is M_T, tissue tiles by slide; the mean is over the ``training`` slides, or over all when there are
    none. ``fraction`` * mean is rounded down.
    """
    training = [slide for slide in training if slide in counts] or list(counts)
    if not training:
        return {}
    mean = sum(counts[slide] for slide in training) / len(training)
    aim = max(minimum, math.floor(fraction * mean))
    return {slide: min(number, aim) for slide, number in counts.items()}
