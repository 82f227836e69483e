"""Bags of instances: the feature vectors of a slide's tiles, all slides in one array."""

from __future__ import annotations

import csv
import dataclasses
import mmap
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chowder.features import integrity
from chowder.features.sampling import sample_rows
from chowder.files import UserError, field, read_json, reason, sha256


@dataclass
class Bags:
    """Slides' feature vectors in one contiguous array. Subsets share the array, so a split costs no memory.

    Attributes
    ----------
    names : slide names, in order.
    features : (N, P) float16 or float32 array; the rows of one slide are adjacent, in tile order.
    starts, counts : (n,) int64; slide ``i`` has rows ``starts[i] : starts[i] + counts[i]``.
    """

    names: list[str]
    features: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    # What is computed from `features` once for every subset: copies on a device (chowder.models.scorer), pooled slides.
    shared: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    # The file that `features` lies in; None: it lies in memory.
    mapped: mmap.mmap | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.features.dtype not in (np.float16, np.float32, np.float64):
            raise UserError(f"features must be a 2-D float array, not {self.features.dtype} {self.features.shape}")
        empty = np.flatnonzero(np.asarray(self.counts) < 1)
        if empty.size:
            raise UserError(f"slide {self.names[empty[0]]} has no tile: leave it out or look at its tissue mask")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> np.ndarray:
        """Features of slide ``i``: a (count, P) view."""
        start = int(self.starts[i])
        return self.features[start : start + int(self.counts[i])]

    @property
    def dim(self) -> int:
        """P, the length of a feature vector."""
        return self.features.shape[1]

    def subset(self, slides: Iterable[str]) -> Bags:
        """Return the named slides, in the given order; shares memory with this one. Errors: an unknown slide."""
        position = {name: i for i, name in enumerate(self.names)}
        wanted = list(slides)
        missing = [name for name in wanted if name not in position]
        if missing:
            raise UserError(f"slide {missing[0]} has no features here: embed it, or take it out of the split")
        rows = np.array([position[name] for name in wanted], dtype=np.int64)
        return Bags(wanted, self.features, self.starts[rows], self.counts[rows], self.shared, self.mapped)

    def expect(self, slides: Iterable[int]) -> None:
        """Let the kernel start reading these slides (by position) from the disk, where they are not in memory."""
        if self.mapped is None:
            return
        row = self.dim * self.features.itemsize
        for i in slides:
            first = int(self.starts[i]) * row // mmap.PAGESIZE * mmap.PAGESIZE
            self.mapped.madvise(mmap.MADV_WILLNEED, first, int(self.starts[i] + self.counts[i]) * row - first)

    def pooled(self, how: str) -> np.ndarray:
        """(n, P) float64 feature-wise ``"mean"`` or ``"max"`` of every slide; kept for all subsets once computed."""
        if how not in POOLS:
            raise ValueError(f"unknown pooling {how!r}: use one of {', '.join(POOLS)}")
        known = self.shared.setdefault(f"pooled {how}", {})
        rows = list(zip(self.starts.tolist(), self.counts.tolist(), strict=True))
        for i, key in enumerate(rows):
            if key not in known:
                known[key] = POOLS[how](self[i])
        return np.stack([known[key] for key in rows])

    @classmethod
    def from_arrays(cls, arrays: Sequence[np.ndarray], names: Sequence[str] | None = None) -> Bags:
        """Bags from one (n_i, P) array a slide (copied into one array)."""
        arrays = [np.asarray(array) for array in arrays]
        if not arrays:
            raise UserError("no bag was given")
        shapes = {array.shape[1:] for array in arrays}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise UserError(f"every bag must be (tiles, P) with one P; found {sorted(a.shape for a in arrays)[:3]}")
        counts = np.array([len(array) for array in arrays], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
        names = [str(i) for i in range(len(arrays))] if names is None else [str(name) for name in names]
        features = np.concatenate(arrays)
        if features.dtype not in (np.float16, np.float32, np.float64):
            features = features.astype(np.float32)
        return cls(names, features, starts, counts)

    @classmethod
    def from_index(
        cls,
        index: str | Path,
        summary: str | Path | None = None,
        slides: Iterable[str] | None = None,
        *,
        sample: bool = True,
        seed: int = 1802,
        dataset: str = "",
        repeat: int = 0,
        dtype: type = np.float16,
        in_memory: float = float("inf"),
        scratch: str | Path | None = None,
    ) -> Bags:
        """Read the feature files that an index names.

        Parameters
        ----------
        index : ``features/<encoder>/index.json``.
        summary : ``tiles/summary.csv``, whose column ``sampled`` is M_S; needed when ``sample`` is true.
        slides : the slides wanted, in this order; default all of the index.
        sample : take M_S rows a slide without replacement (specification, section 1), else all rows.
        seed, dataset, repeat : with the slide's name they determine the sample (``sampling.sample_rows``).
        dtype : float16 (as stored; 270 slides x 8,000 x 2,048 take 8.8 GB) or float32.
        in_memory : bytes; a larger array is written into one file that is mapped, so that the kernel can drop what is
            not in use and read it again. ``scratch`` is the file's folder; it has no name and ends with the process.

        Errors: :class:`UserError` naming slide, file and what to do, for a missing, altered, short or non-finite one;
        :class:`OSError` where the disk has no room for the mapped file.
        """
        index = Path(index)
        dim, entries = read_index(index)
        names = list(entries) if slides is None else list(slides)
        missing = [name for name in names if name not in entries]
        if missing:
            raise UserError(f"{index}: slide {missing[0]} is not in the index: embed it, or take it out of the split")
        if not names:
            raise UserError(f"{index}: no slide is asked for")
        sizes = {name: int(entries[name]["tiles"]) for name in names}
        rows: dict[str, np.ndarray | None] = dict.fromkeys(names)
        if sample:
            wanted = read_sampled(summary)
            for name in names:
                if name not in wanted:
                    raise UserError(f"{summary}: slide {name} is missing: make the summary again")
                rows[name] = sample_rows(sizes[name], wanted[name], seed, dataset, name, repeat)
        counts = np.array([sizes[n] if rows[n] is None else len(rows[n]) for n in names], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
        features, mapped = _room((int(counts.sum()), dim), np.dtype(dtype), in_memory, scratch)
        damaged = []
        for name, start, count in zip(names, starts, counts, strict=True):
            try:
                read_entry(index, entries[name], dim, rows[name], features[start : start + count])
            except integrity.Damaged as error:
                damaged.append(error)
        integrity.raise_all(damaged)
        return cls(names, features, starts, counts, mapped=mapped)


def _room(
    shape: tuple[int, int], dtype: np.dtype, in_memory: float, scratch: str | Path | None
) -> tuple[np.ndarray, mmap.mmap | None]:
    """Return an array to fill: in memory, or of more than ``in_memory`` bytes in a file without a name."""
    size = shape[0] * shape[1] * dtype.itemsize
    if size <= in_memory:
        return np.empty(shape, dtype), None
    if scratch:
        Path(scratch).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as handle:
        try:
            os.posix_fallocate(handle.fileno(), 0, size)  # a full disk is found here, not in the middle of writing
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(scratch or tempfile.gettempdir())) from None
        mapped = mmap.mmap(handle.fileno(), size)
    return np.frombuffer(mapped, dtype).reshape(shape), mapped


def read_index(index: str | Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """P and the entries by slide of a feature index. Errors: :class:`UserError` for a file that is not an index."""
    if not os.path.isfile(index):
        raise UserError(f"{index}: no such feature index: run the embedding first")
    content = read_json(index)
    dim, entries = field(index, content, "dim", "count"), {}
    for entry in field(index, content, "slides", "list"):
        slide = field(index, entry, "slide", "text")
        for key, kind in (
            ("file", "text"),
            ("tiles", "count"),
            ("sha256", "text or nothing"),
            ("digest", "text or nothing"),
        ):
            if key in ("file", "tiles") or key in entry:
                field(index, entry, key, kind)
        if slide in entries:
            raise UserError(f"{index}: slide {slide} is there twice: delete the file and run the workflow again")
        entries[slide] = entry
    return dim, entries


def read_sampled(summary: str | Path | None) -> dict[str, int]:
    """M_S by slide from ``tiles/summary.csv``."""
    if summary is None:
        raise UserError("tiles/summary.csv is needed to sample tiles: give it, or ask for all tiles")
    try:
        with Path(summary).open(newline="", encoding="utf-8") as handle:
            return {row["slide"]: int(row["sampled"]) for row in csv.DictReader(handle)}
    except FileNotFoundError:
        raise UserError(f"{summary}: no such file: make the tile summary first") from None
    except (KeyError, TypeError, ValueError, OSError, csv.Error) as error:
        raise UserError(f"{summary}: needs columns slide and sampled, a number ({error}): make it again") from None


def read_entry(
    index: str | Path,
    entry: dict[str, Any],
    dim: int,
    rows: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return features (len(rows) or tiles, P) and coords (n, 2) int32 of one entry of an index, checked.

    The content must be what the index says: by ``digest``, or by the file's ``sha256`` where an index has no digest.
    ``out`` receives the features without a second copy. Errors: see :meth:`Bags.from_index`.
    """
    path, slide, tiles = Path(index).parent / entry["file"], entry["slide"], int(entry["tiles"])
    direct = out if rows is None and out is not None and out.dtype == np.float16 and out.flags.c_contiguous else None
    try:
        values, coords = _arrays(path, slide, (tiles, dim), direct)
        known = entry.get("digest")
        if known and integrity.digest(values, coords) != known:
            raise UserError(f"features of slide {slide} are not those of the index")
        if not known:
            if entry.get("sha256") and sha256(path) != entry["sha256"]:
                raise UserError(f"is not the file of slide {slide} in the index (sha256 differs)")
            if not integrity.finite(values):  # with a digest this was seen when the index was made
                raise UserError(f"features of slide {slide} hold NaN or infinity")
    except UserError as error:
        raise integrity.Damaged(path, str(error), index) from None
    if rows is not None:
        coords = coords[rows] if len(coords) else coords
        if out is None:
            return values[rows], coords
        out[:] = values[rows]
    elif out is None:
        return values, coords
    elif direct is None:
        out[:] = values
    return out, coords


def _arrays(path: Path, slide: str, shape: tuple[int, int], out: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Features (into ``out``, float16, where given) and coords of a feature file of known shape."""
    import h5py

    try:
        with h5py.File(path, "r") as handle:
            stored = handle["features"]
            if stored.shape != shape:
                raise UserError(f"features of slide {slide} are {stored.shape}, the index says {shape}")
            if out is not None and stored.dtype == out.dtype:
                stored.read_direct(out)
                values = out
            else:
                values = stored[:]
            return values, handle["coords"][:] if "coords" in handle else np.empty((0, 2), np.int32)
    except FileNotFoundError:
        raise UserError(f"the feature file of slide {slide} is missing") from None
    except UserError:
        raise
    except Exception as error:  # h5py and HDF5 raise of all kinds for what was edited
        raise UserError(f"the feature file of slide {slide} can't be read ({reason(error)})") from None


def _mean(x: np.ndarray) -> np.ndarray:
    """(P,) float64 mean over the rows."""
    return x.mean(axis=0, dtype=np.float64)


def _max(x: np.ndarray) -> np.ndarray:
    """(P,) float64 maximum over the rows.

    numpy compares float16 one by one. Their bits, read as integers, have the same order once those of negative numbers
    are inverted; that is six times faster.
    """
    if x.dtype != np.float16:
        return x.max(axis=0).astype(np.float64)
    highest = np.full(x.shape[1], np.iinfo(np.int16).min, np.int16)
    for at in range(0, len(x), 128):  # stays in the cache
        np.maximum(highest, _in_order(x[at : at + 128].view(np.int16)).max(axis=0), out=highest)
    return _in_order(highest).view(np.float16).astype(np.float64)


def _in_order(bits: np.ndarray) -> np.ndarray:
    """Return int16 with the order of the float16 of these bits; a second time, the bits again."""
    return bits ^ ((bits >> 15) & 0x7FFF)


POOLS = {"mean": _mean, "max": _max}


def as_bags(bags: Bags | Sequence[np.ndarray]) -> Bags:
    """Bags from Bags or from a list of (tiles, P) arrays."""
    return bags if isinstance(bags, Bags) else Bags.from_arrays(bags)


def check_labels(labels: Sequence[int], bags: Bags) -> np.ndarray:
    """(n,) int64 labels. Errors: another length than the bags, values other than 0 and 1, one class only."""
    y = np.asarray(labels)
    if y.shape != (len(bags),):
        raise UserError(f"{len(bags)} bags but labels of shape {y.shape}: give one label a bag")
    if not np.isin(y, (0, 1)).all():
        raise UserError("labels must be 0 (normal) or 1 (tumour)")
    if len(np.unique(y)) < 2:
        raise UserError(f"all training slides have label {int(y[0])}: training needs slides of both classes")
    return y.astype(np.int64)
