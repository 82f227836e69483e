"""Products of the feature array with weights, in pieces that are converted as they are needed."""

from __future__ import annotations

import itertools
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from chowder.files import UserError
from chowder.models import packed

if TYPE_CHECKING:
    from chowder.features.bags import Bags

PRECISIONS = {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.bfloat16, "fp16": torch.float16}
# Rows converted and multiplied at a time on the CPU: 256 x 2,048 float32 (2 MB) stay in the cache.
CPU_ROWS, CUDA_ROWS = 256, 65536
# Feature sets below this size are converted once instead of at every step.
CONVERT_ONCE_BYTES = 2**30
# Larger ones are kept in the layout of chowder.models.packed as well when they have between so many bytes (the copy has
# the same size) and are read so many times. Below, converted rows in memory are as good; see
# docs/decisions/packed_features.md.
PACK_BYTES = 2**27, 2**30
PACK_READINGS = 12
# A gradient is summed in this many parts, however many threads there are, so that its bits stay the same.
PARTS = 8
# Fetching one row costs as much as its products with so many columns.
PICKING = 10
# Scoring is given to the threads in this many pieces each, so that one that was held up doesn't hold up the others.
PIECES = 4


def pick_device(device: str) -> torch.device:
    """``auto`` (CUDA when present), ``cpu`` or ``cuda``. Errors: CUDA asked for and absent."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise UserError(f"training device {device!r} is not known: use auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("training device cuda is asked for, but there is no CUDA device: use auto or cpu")
    return torch.device(device)


class FeatureStore:
    """The feature array, read in pieces that are converted to the precision of the computation.

    ``readings``: how often all slides will be scored; many pay for a copy in a faster layout.
    """

    def __init__(self, bags: Bags, device: torch.device, precision: str, threads: int = 1, readings: int = 1):
        self.bags, self.device = bags, device
        self.dtype = PRECISIONS[precision]
        # Gradients, heads and scores are never below float32.
        self.exact = torch.float64 if precision == "fp64" else torch.float32
        least, most = PACK_BYTES
        self.packed: dict[tuple[int, int], Any] | None = None
        if (
            device.type == "cpu"
            and bags.mapped is None
            and (self.dtype, bags.features.dtype) == (torch.float32, np.float16)
            and least <= bags.features.nbytes <= most
            and readings >= PACK_READINGS
            and packed.available()
        ):
            self.packed = bags.shared.setdefault("packed", {})
        self.features = self._place()
        self.limit = CPU_ROWS if device.type == "cpu" else CUDA_ROWS
        self._in_place = self.features.dtype == self.dtype and self.features.device.type == device.type == "cpu"
        self.threads = threads if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))
        self._local = threading.local()
        self._owner = threading.get_ident()
        if self.packed is not None:
            self._pack()

    def _place(self) -> torch.Tensor:
        key = f"{self.device.type}-{self.dtype}"
        if self.packed is None and key in self.bags.shared:
            return self.bags.shared[key]
        with warnings.catch_warnings():  # torch warns about read-only memory; nothing here writes to it
            warnings.simplefilter("ignore", UserWarning)
            features = torch.from_numpy(self.bags.features)
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info()
            if features.numel() * features.element_size() < 0.8 * free:
                features = features.to(self.device)
        elif (
            self.packed is None
            and self.bags.mapped is None
            and features.numel() * self.dtype.itemsize <= CONVERT_ONCE_BYTES
        ):
            features = features.to(self.dtype)
        if self.packed is None:
            self.bags.shared[key] = features
        return features

    def _pack(self) -> None:
        """Copy the slides' rows into the layout of :mod:`chowder.models.packed`, where that was not done before."""
        wanted = [rows for slide in range(len(self.bags)) for rows in self._pieces(slide)]

        def pack(rows: tuple[int, int]) -> Any:
            return packed.pack(self.features[rows[0] : sum(rows)])

        missing = [rows for rows in wanted if rows not in self.packed]
        self.packed |= zip(missing, self.map(pack, missing), strict=True)

    def _pieces(self, slide: int) -> list[tuple[int, int]]:
        """Runs of rows (start, length) of a slide that are packed together."""
        start, count = int(self.bags.starts[slide]), int(self.bags.counts[slide])
        return [(start + at, min(packed.ROWS, count - at)) for at in range(0, count, packed.ROWS)]

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Return ``function`` of every item, computed on the threads; inside of one of them one after another."""
        if self.threads == 1 or len(items) < 2 or threading.get_ident() != self._owner:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))

    def _chunks(self, slides: Sequence[int]) -> list[tuple[int, int, list[tuple[int, int]]]]:
        """Rows of the slides in chunks of at most ``limit``: (place in the batch, length, row ranges)."""
        ranges = [(int(self.bags.starts[s]), int(self.bags.counts[s])) for s in slides]
        chunks, at = [], 0
        if self._in_place:
            for start, count in ranges:
                for offset in range(0, count, self.limit):
                    length = min(self.limit, count - offset)
                    chunks.append((at, length, [(start + offset, length)]))
                    at += length
            return chunks
        parts: list[tuple[int, int]] = []
        filled = 0
        for start, count in ranges:
            while count:
                take = min(count, self.limit - filled)
                parts.append((start, take))
                start, count, filled = start + take, count - take, filled + take
                if filled == self.limit:
                    chunks.append((at, filled, parts))
                    at, filled, parts = at + filled, 0, []
        return [*chunks, (at, filled, parts)] if filled else chunks

    def _load(self, ranges: list[tuple[int, int]], place: torch.Tensor | None = None) -> torch.Tensor:
        if place is not None:
            at, length = ranges[0]
            return self.features.index_select(0, place[at : at + length]).to(self.device).to(self.exact)
        if self._in_place:
            start, count = ranges[0]
            return self.features[start : start + count]
        if not hasattr(self._local, "buffer"):
            shape = (min(self.limit, len(self.features)), self.features.shape[1])
            self._local.buffer = torch.empty(shape, dtype=self.dtype, device=self.device)
        at = 0
        for start, count in ranges:
            self._local.buffer[at : at + count].copy_(self.features[start : start + count])
            at += count
        return self._local.buffer[:at]

    @torch.no_grad()
    def scores(self, slides: Sequence[int], weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """(EJ, rows) product of every weight (EJ, P) with the rows of the slides, one after another.

        The features are read and converted once for all weights, and multiplied with all of them at once.
        """
        w = torch.cat([weight.detach() for weight in weights]).to(self.dtype)
        rows = int(self.bags.counts[list(slides)].sum())
        out = torch.empty((len(w), rows), dtype=self.exact, device=self.device)
        if self.packed is None:
            chunks = self._chunks(slides)
        else:
            pieces = [piece for slide in slides for piece in self._pieces(slide)]
            ends = itertools.accumulate(length for _, length in pieces)
            chunks = [(end - piece[1], piece[1], [piece]) for end, piece in zip(ends, pieces, strict=True)]

        def score(some: list[tuple[int, int, list[tuple[int, int]]]]) -> None:
            with torch.no_grad():
                for at, length, ranges in some:
                    if self.packed is None:
                        out[:, at : at + length] = torch.mm(w, self._load(ranges).T)
                    else:
                        out[:, at : at + length] = packed.product(w, self.packed[ranges[0]])

        self.map(score, _parts(chunks, PIECES * self.threads))
        return list(out.split([len(weight) for weight in weights]))

    def bounds(self, slides: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return starts and counts (B,) of each slide's columns in what :meth:`scores` returns."""
        counts = self.bags.counts[list(slides)]
        starts = np.cumsum(counts) - counts
        return torch.from_numpy(starts).to(self.device), torch.from_numpy(counts).to(self.device)

    @torch.no_grad()
    def gradients(
        self, slides: np.ndarray, selected: Sequence[tuple[torch.Tensor, torch.Tensor]]
    ) -> list[torch.Tensor]:
        """Return for every ensemble the sum over its selected tiles of slope times feature vector, (EJ, P).

        ``selected`` holds for every ensemble

        chosen : (EJ, k) columns of what :meth:`scores` returned for ``slides``.
        slope : (EJ, k) derivative of the loss by each selected value; a column chosen twice counts twice.

        Ensembles whose members select few rows, and different ones, are computed member by member. For the others, each
        row that any of them selected is read once.
        """
        counts = self.bags.counts[slides]
        shift = torch.from_numpy(np.repeat(self.bags.starts[slides] - (np.cumsum(counts) - counts), counts))
        shift = shift.to(self.device)
        used = torch.zeros((len(selected), len(shift)), dtype=torch.bool, device=self.device)
        for marks, (chosen, _) in zip(used, selected, strict=True):
            marks[chosen] = True
        numbers = used.sum(dim=1).tolist()
        found: list[torch.Tensor | None] = [None] * len(selected)
        alone = [
            i
            for i, (chosen, _) in enumerate(selected)
            if self.device.type == "cpu" and chosen.numel() < numbers[i] * (0.7 + 0.045 * len(chosen))
        ]
        for i in alone:
            found[i] = self._by_member(shift, *selected[i])
        rest = [i for i in range(len(selected)) if i not in alone]
        if rest:
            rest.sort(key=lambda i: -numbers[i])
            gradients = self._together(slides, shift, used[rest], [selected[i] for i in rest])
            for i, gradient in zip(rest, gradients, strict=True):
                found[i] = gradient
        return found

    def _by_member(self, shift: torch.Tensor, chosen: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """Gradient (EJ, P) of one ensemble; each member's rows are read for it alone."""
        total = torch.empty((len(chosen), self.features.shape[1]), dtype=self.exact)
        rows = chosen + shift[chosen]

        def add(some: list[int]) -> None:
            with torch.no_grad():
                for k in some:
                    x = self.features.index_select(0, rows[k]).to(self.exact)
                    torch.mv(x.T, slope[k], out=total[k])

        self.map(add, _parts(list(range(len(chosen))), PIECES * self.threads))
        return total

    def _together(
        self,
        slides: np.ndarray,
        shift: torch.Tensor,
        used: torch.Tensor,
        selected: Sequence[tuple[torch.Tensor, torch.Tensor]],
    ) -> Sequence[torch.Tensor]:
        """Gradients of ensembles; those that select most come first, so each row needs the first few of them only.

        ``used`` (ensembles, rows of the batch): which rows each of them selected.
        """
        sizes = [len(chosen) for chosen, _ in selected]
        rows = len(shift)
        factors = torch.zeros((sum(sizes), rows), dtype=self.exact, device=self.device)
        needed = torch.zeros(rows, dtype=torch.int64, device=self.device)  # leading rows of `factors` that are not 0
        for end, marks, one in zip(itertools.accumulate(sizes), used, selected, strict=True):
            factors[end - len(one[0]) : end].scatter_add_(1, *one)
            needed[marks] = end
        work = torch.bincount(needed, minlength=len(factors) + 1).cpu().numpy()
        picked = (work[1:] * (PICKING + np.arange(1, len(factors) + 1))).sum()
        jobs: list[tuple] = []
        if picked > rows * len(factors) and self.dtype == self.exact:  # reading everything in order beats picking rows
            jobs = [(some, len(factors), None, factors) for some in _parts(self._chunks(slides), PARTS)]
        else:
            for columns in np.flatnonzero(work[1:]) + 1:
                where = (needed == columns).nonzero()[:, 0]
                place = (where + shift[where]).to(self.features.device)
                own = factors[:columns].index_select(1, where)
                edges = [(at, min(self.limit, len(where) - at)) for at in range(0, len(where), self.limit)]
                chunks = [(at, length, [(at, length)]) for at, length in edges]
                jobs += [(some, columns, place, own) for some in _parts(chunks, PARTS)]

        def add(job: tuple) -> torch.Tensor:
            some, columns, place, own = job
            with torch.no_grad():
                part = torch.zeros((columns, self.features.shape[1]), dtype=self.exact, device=self.device)
                for at, length, ranges in some:
                    part.addmm_(own[:, at : at + length], self._load(ranges, place))
                return part

        total = torch.zeros((len(factors), self.features.shape[1]), dtype=self.exact, device=self.device)
        for part in self.map(add, jobs):
            total[: len(part)] += part
        return total.split(sizes)


def _parts(items: list, number: int) -> list[list]:
    """``items`` cut into at most ``number`` runs of about equal length, none empty."""
    edges = [round(i * len(items) / number) for i in range(number + 1)]
    return [items[a:b] for a, b in itertools.pairwise(edges) if b > a]
