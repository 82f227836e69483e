"""How much memory a job needs, by arithmetic from the numbers of tiles: what the rules declare as ``mem_mb``.

Each function adds up the arrays that the job holds at its peak, and a tenth for what is not counted. The terms follow
the code of features/bags.py, models/scorer.py and models/trainer.py; tests/unit/models/test_memory.py holds them
against the peak of real processes. Nothing here imports numpy or torch: the rules call it for every job.
"""

from __future__ import annotations

import csv
import functools
import math
import os
from collections.abc import Iterable
from pathlib import Path

from chowder.files import UserError, field, read_json
from chowder.models import names

MB = 1e6
# Peak of a process that does the same with next to no data: its imports (torch, scikit-learn, pyarrow, h5py) above all.
TRAIN, LOCALISE, SPLIT_BIAS = 950, 720, 260
MARGIN = 1.1
HIDDEN = (200, 100)
# As in models/scorer.py and models/calibration.py; not imported, they need torch.
LEAST = 1.1e9
CONVERT_ONCE, PACK, SLIDES_AT_ONCE = 2**30, (2**27, 2**30), 16


def train(
    sampled: Iterable[int],
    tiles: Iterable[int],
    dim: int,
    methods: Iterable[str],
    members: int,
    batch: int = 10,
    in_memory: float = math.inf,
) -> int:
    """Return the MB of a job that trains ``methods`` together.

    Parameters
    ----------
    sampled, tiles : tiles of each slide that are used, and that its feature file holds.
    dim : length of a feature vector.
    methods : names such as chowder_r5; members : networks of each ensemble; batch : slides per step.
    in_memory : bytes; more features than that lie in a mapped file, and count with three batches of slides.
    """
    sampled, methods = list(sampled), [names.parse(name) for name in methods]
    features = sum(sampled) * dim * 2
    mapped = features > in_memory
    if mapped:
        features = _window(sampled, dim, batch)
    elif len({method.repeat for method in methods}) > 1:  # the next sample is read before the last one is let go
        features *= 2
    ensembles = [method for method in methods if method.r]
    if ensembles and not mapped and features <= CONVERT_ONCE // 2:
        features *= 3  # and as float32, or packed
    elif ensembles and not mapped and features <= PACK[1]:
        features *= 2
    columns = sum(members * max(method.j, 1) for method in ensembles)
    parameters = 0
    for method in ensembles:
        inputs = (method.r + (method.r if method.bottom is None else method.bottom)) * max(method.j, 1)
        layers = 0 if method.kind == "weldon" else inputs * HIDDEN[0] + HIDDEN[0] * HIDDEN[1]
        parameters += members * (max(method.j, 1) * dim + layers)
    most = max(sampled, default=0)
    # Embedding values of the slides that are looked at together, and their slopes; Adam's state and the gradients.
    values = most * max(batch * 2, SLIDES_AT_ONCE) * columns * 4
    pooled = 2 * len(sampled) * dim * 8
    return _mb(TRAIN, features + _reading(tiles, most, dim) + values + parameters * 4 * 5 + 3 * pooled)


def split_bias(sampled: Iterable[int], tiles: Iterable[int], dim: int, in_memory: float = math.inf) -> int:
    """Return the MB of a job that reads all slides and pools them; parameters as for :func:`train`."""
    sampled = list(sampled)
    reading = _reading(tiles, max(sampled, default=0), dim)
    features = sum(sampled) * dim * 2
    if features > in_memory:
        features = _window(sampled, dim, 1)
    return _mb(SPLIT_BIAS, features + reading + 3 * len(sampled) * dim * 8)


def localise(tiles: Iterable[int], dim: int, members: int) -> int:
    """Return the MB of a job that scores all tiles of one slide after another."""
    most = max(tiles, default=0)
    # The features twice and as float32 or, for the baselines, float64; embedding values in three precisions.
    return _mb(LOCALISE, most * dim * (2 + 2 + 8) + most * members * 20)


def _window(sampled: list[int], dim: int, batch: int) -> int:
    """Bytes of the slides in use where the features lie in a file: the last batch, this one and the next."""
    return 3 * max(batch, SLIDES_AT_ONCE) * max(sampled, default=0) * dim * 2


def _reading(tiles: Iterable[int], sampled: int, dim: int) -> int:
    """Bytes of the largest feature file and of the rows taken from it, before they are in their place."""
    return (max(tiles, default=0) + sampled) * dim * 2


def _mb(base: float, size: float) -> int:
    return math.ceil(base + MARGIN * size / MB)


def in_memory(needed: float, limit: float) -> float:
    """Return how many bytes of features may lie in memory: all, where the MB that a job needs are within the limit.

    Else they are mapped from a file, but never less than 1.1 GB: smaller sets are computed in another layout, and
    results must not depend on the memory.
    """
    return math.inf if needed <= limit else LEAST


def raised(megabytes: int, attempt: int) -> int:
    """Return what the ``attempt``-th try of a job declares: half as much again each time."""
    return math.ceil(megabytes * 1.5 ** (attempt - 1))


def of_summary(summary: str | os.PathLike) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return sampled and tiles of every slide, from ``tiles/summary.csv``.

    Errors: :class:`FileNotFoundError` where it is not there yet. One that was edited counts as empty: the job that
    reads it says what is wrong.
    """
    return _summary(os.fspath(summary), os.stat(summary).st_mtime_ns)


def of_index(index: str | os.PathLike) -> tuple[int, tuple[int, ...]]:
    """Return dim, and the tiles of every slide, from the index of the features. Errors: as :func:`of_summary`."""
    return _index(os.fspath(index), os.stat(index).st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _summary(path: str, _: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    try:
        with Path(path).open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        return tuple(int(row["sampled"]) for row in rows), tuple(int(row["tiles"]) for row in rows)
    except (KeyError, TypeError, ValueError, csv.Error):
        return (), ()


@functools.lru_cache(maxsize=16)
def _index(path: str, _: int) -> tuple[int, tuple[int, ...]]:
    try:
        content = read_json(path)
        slides = field(path, content, "slides", "list")
        return field(path, content, "dim", "count"), tuple(field(path, entry, "tiles", "count") for entry in slides)
    except UserError:
        return 1, ()
