"""Embedding a shard of slides: reading, batches across slides, one feature file a slide."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chowder.features import feature_file, identity, integrity
from chowder.files import DiskFull, UserError
from chowder.progress import Progress
from chowder.slides import tile_table

if TYPE_CHECKING:
    import torch

    from chowder.features.encoders.base import Encoder
    from chowder.slides import grid

BAND_ROWS, BAND_TILES = 8, 512  # a reading task takes so many rows of tiles, fewer when they hold so many tiles


def embed_shard(
    items: Sequence[identity.Item],
    encoder: Encoder,
    scratch: str | os.PathLike,
    batch: int = 16,
    threads: int = 1,
) -> dict[str, Path]:
    """Embed every tile of every slide; return each slide's whole feature file in the folder ``scratch``.

    Slides are read in bands of tiles and run through the encoder in batches of fixed shape that do not stop at a
    slide's end (the last one is filled up), so a slide's features don't depend on its neighbours. Each is written as
    soon as it is complete, under a name that holds the fingerprint of all that made it, its sha256 beside it. Found
    there under the same name with that content, it is not done again.

    On a GPU ``threads`` threads read while it computes. On a CPU the same ``threads`` threads read bands and compute
    batches, each batch in one thread: never more of them run than were given, none waits for another within a layer
    (which costs a multiple when the machine is shared), and the bits don't depend on how many there are.

    A slide that can't be read does not stop the others; at the end a UserError names each with its place.
    """
    if batch < 1:
        raise UserError(f"embedding.batch: {batch} is not positive")
    scratch = Path(scratch)
    result: dict[str, Path] = {}
    todo: list[_Slide] = []
    broken: dict[str, str] = {}
    for item in items:
        try:
            coords, grid, name = tile_table.read(item.tiles)
            if name != item.slide:
                raise UserError(f"{item.tiles}: is the tile table of {name!r}, not of {item.slide!r}")
            path = scratch / f"{item.slide}.{identity.feature_key(item, encoder)[:16]}.h5"
            if integrity.intact(path):
                print(f"{item.slide}: {len(coords)} tiles were embedded before", file=sys.stderr)
            else:
                todo.append(_Slide(item, coords, grid, path))
            result[item.slide] = path
        except UserError as error:
            broken[item.slide] = str(error)
    compiled = hasattr(encoder.model, "_orig_mod")  # compiles at the first batch, here and not in several threads
    if len({slide.grid.size for slide in todo}) > 1:
        raise UserError("the tile tables of one shard have different tile sizes: run the tiling again")
    total = sum(len(slide.coords) for slide in todo)
    with (
        _one_thread_each(encoder),
        ThreadPoolExecutor(max(1, threads)) as pool,
        Progress(total, "tiles", f"embedding {len(todo)} slides") as bar,
    ):
        if todo:
            encoder.check(todo[0].grid.size, batch if compiled else 1)
        batcher = _Batcher(encoder, batch, todo, pool, max(1, threads))
        for number, tiles in _bands(todo, pool, max(1, threads) + 1):
            slide = todo[number]
            if isinstance(tiles, UserError):
                if slide.item.slide not in broken:
                    broken[slide.item.slide] = str(tiles)
                    print(f"error: {slide.item.slide}: {tiles}", file=sys.stderr, flush=True)
                slide.drop()
                continue
            decoder, images = tiles
            slide.decoders.update(decoder.split("+"))
            batcher.add(number, images)
            bar.update(len(images))
        batcher.flush()
    for slide in todo:
        if slide.failure:
            broken.setdefault(slide.item.slide, slide.failure)
    if broken:
        kept = len(items) - len(broken)
        what = "; ".join(f"slide {name}: {reason}" for name, reason in broken.items())
        raise UserError(f"{len(broken)} of {len(items)} slides failed (the other {kept} are kept in {scratch}): {what}")
    return result


class _Slide:
    """A slide on its way: what is to be read, what has been computed."""

    def __init__(self, item: identity.Item, coords: np.ndarray, grid: grid.Grid, path: Path):
        self.item, self.coords, self.grid, self.path = item, coords, grid, path
        self.features: np.ndarray | None = None
        self.filled = 0
        self.decoders: set[str] = set()
        self.dropped = False
        self.failure = ""

    def drop(self) -> None:
        self.dropped, self.features = True, None

    def take(self, features: np.ndarray, encoder: Encoder) -> None:
        """Store the next rows; write the file when they were the last."""
        if self.dropped:
            return
        if self.features is None:
            self.features = np.empty((len(self.coords), features.shape[1]), np.float32)
        self.features[self.filled : self.filled + len(features)] = features
        self.filled += len(features)
        if self.filled == len(self.coords):
            fresh = self.path.with_suffix(".new")
            try:
                feature_file.write(fresh, self.features, self.coords, self._attributes(encoder))
                integrity.record(self.path, fresh)  # before the name is taken: a kill in between leaves no name
                os.replace(fresh, self.path)
            except DiskFull:  # no slide will fit any more
                fresh.unlink(missing_ok=True)
                raise
            except UserError as error:
                self.failure = str(error)
            self.features = None

    def _attributes(self, encoder: Encoder) -> dict:
        grid = self.grid
        return {
            "slide": self.item.slide,
            "encoder": encoder.name,
            "weights_sha256": encoder.weights_sha256,
            "mpp_wanted": grid.mpp,
            "mpp_read": grid.mpp_read,
            "tile_size": grid.size,
            "extent": grid.extent,
            "level": grid.level,
            "resample": grid.resample,
            "decoder": "+".join(sorted(self.decoders)),
            "normalisation": encoder.normalisation,
            "precision": encoder.precision,
            "versions": json.dumps(identity.library_versions(), sort_keys=True),
            "code": identity.code(encoder),
        }


def _plan(slides: Sequence[_Slide]) -> Iterator[tuple[int, int, int]]:
    """(slide, first, last + 1) of every band. Bands end where rows end; JPEGs on a border are decoded twice."""
    for number, slide in enumerate(slides):
        rows = slide.coords[:, 1]
        starts = [0, *(np.flatnonzero(np.diff(rows)) + 1).tolist(), len(rows)]
        first, lines = 0, 0
        for stop in starts[1:]:
            lines += 1
            if lines == BAND_ROWS or stop - first >= BAND_TILES or stop == len(rows):
                if stop > first:
                    yield number, first, stop
                first, lines = stop, 0


@contextlib.contextmanager
def _one_thread_each(encoder: Encoder) -> Iterator[None]:
    """On a CPU, let every operation of torch run in the thread that calls it."""
    import torch

    before = torch.get_num_threads()
    if encoder.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _bands(slides: Sequence[_Slide], pool: ThreadPoolExecutor, ahead: int) -> Iterator[tuple[int, object]]:
    """Yield (slide, (decoder, tiles)) or (slide, UserError) in the order of the plan; ``ahead`` bands are on order."""
    local = threading.local()

    def work(number: int, first: int, stop: int):
        from chowder.slides.reader import Reader

        slide = slides[number]
        if slide.dropped:
            return UserError("dropped")
        try:
            if getattr(local, "number", None) != number:
                if getattr(local, "reader", None) is not None:
                    local.reader.close()
                local.number, local.reader = None, None
                local.reader = Reader(slide.item.image, slide.item.mpp)
                local.number = number
            size = slide.grid.size
            images = np.empty((stop - first, size, size, 3), np.uint8)
            local.reader.decoders_reset()
            for place, tile in enumerate(local.reader.tiles(slide.coords[first:stop], slide.grid)):
                images[place] = tile
            return local.reader.decoder, images
        except UserError as error:
            return error

    waiting: deque[tuple[int, Future]] = deque()
    plan = _plan(slides)

    def fill() -> None:
        while len(waiting) < ahead and (band := next(plan, None)):
            waiting.append((band[0], pool.submit(work, *band)))

    try:
        fill()
        while waiting:
            number, future = waiting.popleft()
            tiles = future.result()
            del future
            fill()
            yield number, tiles
            del tiles
    finally:
        for _, future in waiting:
            future.cancel()


class _Batcher:
    """Fills batches of fixed shape across slides and hands the features back to the slides they belong to."""

    def __init__(self, encoder: Encoder, batch: int, slides: Sequence[_Slide], pool: ThreadPoolExecutor, threads: int):
        self.encoder, self.batch, self.shape, self.slides, self.pool = encoder, batch, batch, slides, pool
        self.cuda = encoder.device.type == "cuda"
        self.ahead = 2 if self.cuda else 2 * threads  # batches on their way while the next is filled
        self.buffers: list[torch.Tensor] = []
        self.events: list = []
        self.turn = 0
        self.level = 0
        self.owners: list[list[int]] = []  # [slide, tiles] in the current batch
        self.running: deque = deque()
        self.lock = threading.Lock()
        if self.cuda:
            import torch

            self.copying = torch.cuda.Stream(encoder.device)

    def _buffer(self, size: int) -> torch.Tensor:
        import torch

        while len(self.buffers) < self.ahead + 1:
            self.buffers.append(torch.zeros((self.batch, size, size, 3), dtype=torch.uint8, pin_memory=self.cuda))
            self.events.append(None)
        return self.buffers[self.turn]

    def add(self, number: int, images: np.ndarray) -> None:
        """Queue the tiles (n, size, size, 3) of a slide."""
        place = 0
        while place < len(images):
            buffer = self._buffer(images.shape[1])
            if self.level == 0 and self.events[self.turn] is not None:
                self.events[self.turn].synchronize()  # its last copy to the device must be over
                self.events[self.turn] = None
            count = min(self.batch - self.level, len(images) - place)
            buffer.numpy()[self.level : self.level + count] = images[place : place + count]
            if self.owners and self.owners[-1][0] == number:
                self.owners[-1][1] += count
            else:
                self.owners.append([number, count])
            self.level += count
            place += count
            if self.level == self.batch:
                self._launch()

    def flush(self) -> None:
        """Run what is left (filled up with zeros) and wait for everything."""
        if self.level:
            self.buffers[self.turn][self.level :] = 0
            self._launch()
        while self.running:
            self._collect()

    def _launch(self) -> None:
        buffer = self.buffers[self.turn]
        features = self._copied(buffer) if self.cuda else self.pool.submit(self._forward, buffer)
        self.running.append((features, self.owners))
        self.owners, self.level = [], 0
        self.turn = (self.turn + 1) % len(self.buffers)
        while len(self.running) > self.ahead:
            self._collect()

    def _copied(self, buffer: torch.Tensor) -> torch.Tensor:
        """Copy to the GPU in a stream of its own, then run there: the copy hides behind the batch before."""
        import torch

        computing = torch.cuda.current_stream(self.encoder.device)
        with torch.cuda.stream(self.copying):
            images = buffer.to(self.encoder.device, non_blocking=True)
            self.events[self.turn] = torch.cuda.Event()
            self.events[self.turn].record()
        computing.wait_stream(self.copying)
        images.record_stream(computing)
        return self._forward(images)

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the encoder's output; when memory runs out, work in halves, quarters, ... from then on."""
        import torch

        while True:
            shape = self.shape
            try:
                return self._pieces(images, shape)
            except RuntimeError as error:  # torch.OutOfMemoryError is one; a CPU's says so in its text
                if not _out_of_memory(error):
                    raise
                if shape == 1:
                    raise UserError("one tile is too much for the device's memory: set device: cpu") from None
            with self.lock:
                if self.shape == shape:  # no other thread has halved it meanwhile
                    self.shape = (shape + 1) // 2
                    print(f"out of memory: going on with batches of {self.shape}", file=sys.stderr, flush=True)
            if self.cuda:
                torch.cuda.empty_cache()

    def _pieces(self, images: torch.Tensor, shape: int) -> torch.Tensor:
        """Return the encoder's output, by pieces of ``shape`` tiles; the last is filled up with zeros."""
        import torch

        if shape >= len(images):
            return self.encoder.embed(images)
        result = []
        for first in range(0, len(images), shape):
            piece = images[first : first + shape]
            short = shape - len(piece)
            if short:
                piece = torch.cat([piece, piece.new_zeros((short, *piece.shape[1:]))])
            result.append(self.encoder.embed(piece)[: shape - short])
        return torch.cat(result)

    def _collect(self) -> None:
        features, owners = self.running.popleft()
        rows = (features if self.cuda else features.result()).cpu().numpy()
        first = 0
        for number, count in owners:
            self.slides[number].take(rows[first : first + count], self.encoder)
            first += count


def _out_of_memory(error: RuntimeError) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return "outofmemory" in text or "out of memory" in text or "can't allocate memory" in text
