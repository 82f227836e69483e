"""Products of the feature array with weights, in pieces that are converted as they are needed."""

from __future__ import annotations

import functools
import itertools
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from chowder.files import UserError

if TYPE_CHECKING:
    from chowder.features.bags import Bags

PRECISIONS = {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.bfloat16, "fp16": torch.float16}
# Rows converted and multiplied at a time on the CPU: 128 x 2,048 float32 (1 MB) stay in a core's own cache.
CPU_ROWS, CUDA_ROWS = 128, 65536
# Feature sets below this size are converted once instead of at every step.
CONVERT_ONCE_BYTES = 2**30
# Products with so few columns are faster the other way round (W^T X^T, 57 ms against 85 for 50,000 x 2,048 x 10).
FEW_COLUMNS = 16
# A gradient is summed in this many parts, however many threads there are, so that its bits stay the same.
PARTS = 8


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
    """The feature array, read in pieces that are converted to the precision of the computation."""

    def __init__(self, bags: Bags, device: torch.device, precision: str, threads: int = 1):
        self.bags, self.device = bags, device
        self.dtype = PRECISIONS[precision]
        # Gradients, heads and scores are never below float32.
        self.exact = torch.float64 if precision == "fp64" else torch.float32
        self.features = self._place()
        self.limit = CPU_ROWS if device.type == "cpu" else CUDA_ROWS
        self._in_place = self.features.dtype == self.dtype and self.features.device.type == device.type == "cpu"
        self.threads = threads if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))
        self._local = threading.local()
        self._owner = threading.get_ident()

    def _place(self) -> torch.Tensor:
        key = f"{self.device.type}-{self.dtype}"
        if key in self.bags.shared:
            return self.bags.shared[key]
        with warnings.catch_warnings():  # torch warns about read-only memory; nothing here writes to it
            warnings.simplefilter("ignore", UserWarning)
            features = torch.from_numpy(self.bags.features)
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info()
            if features.numel() * features.element_size() < 0.8 * free:
                features = features.to(self.device)
        elif features.numel() * self.dtype.itemsize <= CONVERT_ONCE_BYTES:
            features = features.to(self.dtype)
        self.bags.shared[key] = features
        return features

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

    def _load(self, ranges: list[tuple[int, int]]) -> torch.Tensor:
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
        chunks = self._chunks(slides)
        rows = chunks[-1][0] + chunks[-1][1]
        few = len(w) <= FEW_COLUMNS
        wt = w.T.contiguous()
        out = torch.empty((len(w), rows) if few else (rows, len(w)), dtype=self.exact, device=self.device)

        def score(some: list[tuple[int, int, list[tuple[int, int]]]]) -> None:
            with torch.no_grad():
                for at, length, ranges in some:
                    x = self._load(ranges)
                    if few:
                        out[:, at : at + length] = torch.mm(w, x.T)
                    else:
                        out[at : at + length] = torch.mm(x, wt)

        self.map(score, _parts(chunks, self.threads))
        sizes = [len(weight) for weight in weights]
        return list(out.split(sizes)) if few else [part.T.contiguous() for part in out.split(sizes, dim=1)]

    def bounds(self, slides: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return starts and counts (B,) of each slide's columns in what :meth:`scores` returns."""
        counts = self.bags.counts[list(slides)]
        starts = np.cumsum(counts) - counts
        return torch.from_numpy(starts).to(self.device), torch.from_numpy(counts).to(self.device)

    @torch.no_grad()
    def gradient(self, slides: np.ndarray, chosen: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """(EJ, P) sum over the selected tiles of slope times feature vector.

        Parameters
        ----------
        chosen : (EJ, k) columns of what :meth:`scores` returned for ``slides``.
        slope : (EJ, k) derivative of the loss by each selected value; a column chosen twice counts twice.
        """
        counts = self.bags.counts[slides]
        rows = int(counts.sum())
        factors = torch.zeros((len(chosen), rows), dtype=self.exact, device=self.device)
        factors.scatter_add_(1, chosen, slope)
        marked = torch.zeros(rows, dtype=torch.bool, device=self.device)
        marked[chosen] = True
        used = marked.nonzero()[:, 0]
        if 2 * len(used) > rows and self.dtype == self.exact:  # reading everything in order beats picking rows
            parts = _parts(self._chunks(slides), PARTS)
            load = self._load
        else:
            shift = torch.from_numpy(np.repeat(self.bags.starts[slides] - (np.cumsum(counts) - counts), counts))
            where = used.to(shift.device)
            where = (where + shift[where]).to(self.features.device)
            factors = factors.index_select(1, used)
            picked = [(at, min(self.limit, len(used) - at)) for at in range(0, len(used), self.limit)]
            parts = _parts([(at, length, [(at, length)]) for at, length in picked], PARTS)

            def load(ranges: list[tuple[int, int]]) -> torch.Tensor:
                at, length = ranges[0]
                return self.features.index_select(0, where[at : at + length]).to(self.device).to(self.exact)

        def add(some: list[tuple[int, int, list[tuple[int, int]]]]) -> torch.Tensor:
            with torch.no_grad():
                total = torch.zeros((len(factors), self.features.shape[1]), dtype=self.exact, device=self.device)
                for at, length, ranges in some:
                    total.addmm_(factors[:, at : at + length], load(ranges))
                return total

        return functools.reduce(torch.add, self.map(add, parts))


def _parts(items: list, number: int) -> list[list]:
    """``items`` cut into at most ``number`` runs of about equal length, none empty."""
    edges = [round(i * len(items) / number) for i in range(number + 1)]
    return [items[a:b] for a, b in itertools.pairwise(edges) if b > a]
