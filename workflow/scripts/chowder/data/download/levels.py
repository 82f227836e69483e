"""Fetching only the levels of a slide that are read, to their own places in a sparse file (docs/data.md)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chowder.data.download.client import local_path
from chowder.data.download.pages import Page, Window, check_places, directories
from chowder.data.download.partial import Meter, human, shown, tell
from chowder.data.download.ranges import Changed, NoRanges, Remote
from chowder.data.download.sparse import Ranges, SparseFile, leftovers, merged
from chowder.data.download.transfer import Absent, Settings, check_disk
from chowder.files import UserError

GAP = 16 << 10  # bytes between two ranges that are fetched with them rather than asked around
HEADER = 16  # bytes of the first request, which tells the version
VERSIONS = 3  # how often a file may change under way


class Whole(Exception):
    """The slide can only be fetched whole; the message says why."""


@dataclass(frozen=True)
class FetchedLevels:
    """What :func:`fetch_levels` did.

    ``length``: of the file; ``size``: bytes of it that are here; ``transferred``: bytes that came, with what gaps and
    damage cost; ``pages``: TIFF directories whose tiles are here; ``sha256``: of the bytes that are here, in their
    order.
    """

    source: str
    path: Path
    length: int
    size: int
    transferred: int
    requests: int
    tiles: int
    seconds: float
    pages: tuple[int, ...]
    sha256: str
    etag: str


def fetch_levels(
    sources: Sequence[str],
    destination: str | os.PathLike,
    choose: Callable[[Path, Sequence[Page]], Sequence[tuple[int, Sequence[int] | None]]],
    damage: Callable[[bytes, Page], str],
    settings: Settings | dict[str, Any] | None = None,
    expected: Callable[[FetchedLevels], str] = lambda done: "",
    last: Callable[[], None] = lambda: None,
) -> FetchedLevels:
    """Bring parts of a slide to ``destination``: all that was chosen and every tile decodable, or nothing.

    Parameters
    ----------
    sources : URLs, tried in order while they are absent.
    choose : told the sparse file (directories only, which OpenSlide opens) and its pages, returns (page, tiles) pairs:
        the tiles of that page that are needed, None for all.
    damage : says what is wrong with the bytes of a stored tile, "" when they decode.
    expected : says what is wrong with the whole (a known checksum), "" when nothing is.
    last : called when all is here and right, before the file gets its name.

    Raises
    ------
    Whole : the server knows no ranges, or this file can't be taken apart: fetch it whole.
    UserError : no source has the file, it keeps changing, a tile is damaged also when fetched again: one line each.
    """
    import requests

    settings = settings if isinstance(settings, Settings) else Settings.of(settings)
    destination = Path(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    absent = []
    for url in sources:
        if local_path(url) is not None:
            raise Whole("the source is a local file")
        with requests.Session() as session:
            session.headers.update({"User-Agent": "chowder-workflow", "Accept-Encoding": "identity"})
            try:
                return _Levels(session, url, destination, settings, choose, damage, expected).run(last)
            except Absent as reason:
                absent.append(str(reason))
            except NoRanges as reason:
                raise Whole(str(reason)) from None
    others = f" (nor are {len(absent) - 1} other spellings there)" if len(absent) > 1 else ""
    raise UserError(f"{absent[0]}{others}: check the base URL in the config and that this mirror has the file")


def drop_leftovers(destination: str | os.PathLike) -> None:
    """Remove what an unfinished :func:`fetch_levels` left, before the file is fetched whole."""
    part, note, journal = leftovers(Path(destination))
    if journal.exists():
        for path in (part, note, journal):
            path.unlink(missing_ok=True)


class _Levels:
    """One source of one slide."""

    def __init__(self, session, url: str, destination: Path, settings: Settings, choose, damage, expected):
        self.url, self.destination, self.settings = url, destination, settings
        self.choose, self.damage, self.expected = choose, damage, expected
        self.started = time.monotonic()
        self.remote = Remote(session, url, destination.name, settings)
        self.meter = Meter(destination.name, settings.progress_s)

    def run(self, last: Callable[[], None]) -> FetchedLevels:
        """Fetch, check, and name the file."""
        with SparseFile(self.destination, self.url) as part:
            if part.have.size:
                tell(f"{self.destination.name}: continuing, {human(part.have.size)} are here")
            wrong = ""
            for _ in range(VERSIONS):
                self.remote.version = part.version
                try:
                    done = self._one_version(part)
                except Changed as reason:
                    tell(f"{self.destination.name}: {reason}: starting again")
                    part.restart(None)
                    continue
                if not (complaint := self.expected(done)):
                    last()
                    part.finish()
                    self._tell(done)
                    return done
                part.restart(None)
                if wrong:
                    raise UserError(
                        f"{shown(self.url)}: {complaint}, also when fetched again: this copy or the list is wrong"
                    )
                wrong = complaint
                tell(f"{self.destination.name}: {complaint}: deleted, fetching it once more")
            raise UserError(f"{shown(self.url)}: changed {VERSIONS} times while it was fetched: use another mirror")

    def _tell(self, done: FetchedLevels) -> None:
        tell(
            f"{self.destination.name}: {human(done.size)} of {human(done.length)} in {done.seconds:.1f} s, "
            f"{done.requests} requests, {done.tiles} tiles decoded, sha256 {done.sha256}"
        )

    def _one_version(self, part: SparseFile) -> FetchedLevels:
        window = Window(self.remote, part)
        if part.version is None:
            window.ahead.append((0, self.remote.read(0, HEADER)))
            part.restart(self.remote.version)
        length = part.version.length
        pages = directories(window)
        if not pages:
            raise Whole("it is no TIFF whose directories can be read")
        chosen = self.choose(part.path, pages)
        wanted, tiles = Ranges(window.needed), []
        check_places([pages[number] for number, _ in chosen], length, shown(self.url))
        for number, some in chosen:
            only = None if some is None else set(some)
            for index, start, end in pages[number].tiles():
                if only is None or index in only:
                    tiles.append((pages[number], index, start, end))
                    wanted.add(start, end)
        window.spend(wanted)
        for start, end in part.have.without(wanted):  # of a run with other settings: perhaps half a tile
            part.blank(start, end)
        check_disk(self.destination, wanted.size, part.have.size, self.settings)
        self._bring(part, wanted)
        self._check(part, tiles)
        return FetchedLevels(
            shown(self.url),
            self.destination,
            length,
            wanted.size,
            self.remote.moved,
            self.remote.requests,
            len(tiles),
            time.monotonic() - self.started,
            tuple(number for number, _ in chosen),
            part.sha256(wanted),
            part.version.etag,
        )

    def _bring(self, part: SparseFile, wanted: Ranges) -> None:
        """Fetch what is wanted and not here."""
        for start, end in merged(wanted.without(part.have), GAP):
            missing = Ranges(Ranges(wanted.within(start, end)).without(part.have))
            for count in part.take(self.remote.stream(start, end - start), start, missing):
                self.meter.add(count, part.have.size, wanted.size)

    def _check(self, part: SparseFile, tiles: list) -> None:
        """Decode every tile; a damaged one is fetched once more on its own."""
        for page, index, start, end in tiles:
            if not (reason := self.damage(part.read(start, end - start), page)):
                continue
            tell(f"{self.destination.name}: tile {index} of image {page.number}: {reason}: fetching it once more")
            again = self.remote.read(start, end - start)
            if reason := self.damage(again, page):
                raise UserError(
                    f"{shown(self.url)}: tile {index} of its image {page.number} ({page.size[0]} x {page.size[1]} px) "
                    f"is damaged ({reason}), also when fetched again: use another mirror"
                )
            part.write(start, again)
