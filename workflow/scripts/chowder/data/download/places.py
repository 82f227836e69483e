"""How many downloaded slides are on the disk at a time, when each is deleted after use (docs/decisions/streaming.md).

A fetch takes one of ``at_once`` places before its first byte and waits until there is one. A slide holds its place
while its file, or the part of it that has come, is in the folder, or while the fetch that was given the place runs. A
place is never given away if the slides that are then on the disk might wait for each other (the banker's algorithm).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from chowder.data.download.partial import tell
from chowder.files import UserError, field, read_json, write_text

FOLDER = ".places"  # in the folder of the slides: the plan, the lock, and one ticket per running fetch
WAITING, HELD = "waiting", "held"


@dataclass(frozen=True)
class Plan:
    """What a run will fetch.

    Attributes
    ----------
    at_once : places, at least 1.
    groups : slides that must be on the disk together (those that one job embeds), in the order of fetching. A slide is
        in one group. Only slides that a job of this run reads: others, left by an earlier run, hold no place.
    keep_going : whether the run goes on after a failed job.
    """

    at_once: int
    groups: tuple[tuple[str, ...], ...]
    keep_going: bool = False

    @property
    def order(self) -> dict[str, int]:
        """The rank of every slide."""
        return {slide: rank for rank, slide in enumerate(slide for group in self.groups for slide in group)}


def write_plan(folder: str | os.PathLike, plan: Plan) -> None:
    """Write ``plan`` for the fetches of a run into the ``folder`` of the slides."""
    for name in ("lost.json", "room.json"):  # what the fetches of an earlier run found
        Path(folder, FOLDER, name).unlink(missing_ok=True)
    write_text(Path(folder, FOLDER, "plan.json"), json.dumps(asdict(plan)) + "\n")


def read_plan(folder: str | os.PathLike) -> Plan:
    """Read what :func:`write_plan` wrote. Errors: :class:`UserError` when there is none."""
    path = Path(folder, FOLDER, "plan.json")
    try:
        values = read_json(path)
        places = field(path, values, "at_once", "count")
        field(path, {"groups": [s for group in values["groups"] for s in group]}, "groups", "list of texts")
        return Plan(places, tuple(map(tuple, values["groups"])), bool(values["keep_going"]))
    except (KeyError, TypeError, UserError) as error:
        raise UserError(f"{path}: no plan of this run ({error!r}): delete it and run again") from None


# --- who may have a place: sets in, sets out --------------------------------------------------------------------------


def safe(plan: Plan, held: Iterable[str]) -> bool:
    """Return whether every slide in ``held`` can be used up without a place more.

    A group can be completed when none of its slides is missing, when the missing ones find free places, or when nothing
    else is on the disk. Its places are free after that, so that the next group may be completed.
    """
    rest, open_groups = set(held), [set(group) for group in plan.groups]
    open_groups = [group for group in open_groups if group & rest]
    while open_groups:
        free = max(0, plan.at_once - len(rest))
        done = next((group for group in open_groups if len(group - rest) <= free or rest <= group), None)
        if done is None:
            return False
        rest -= done
        open_groups.remove(done)
    return True


def may_have(plan: Plan, slide: str, held: set[str]) -> bool:
    """Return whether ``slide`` may have a place beside the slides in ``held``.

    It may if a place is free and the state is :func:`safe` afterwards. A group with more slides than places (embedded
    together in an earlier run) may have them when it is alone.
    """
    after = held | {slide}
    alone = any(after <= set(group) for group in plan.groups)
    return (len(after) <= plan.at_once or alone) and safe(plan, after)


def next_one(plan: Plan, waiting: Iterable[str], held: set[str]) -> str | None:
    """Return which of the ``waiting`` slides gets a place now: the first in order that may, or None.

    When ``held`` is not safe (an earlier run left too many slides, or ``at_once`` is lower now) and no group on the
    disk is complete, the one that misses the fewest slides gets one all the same: nothing else would free a place.
    """
    rank = plan.order
    line = sorted((slide for slide in waiting if slide in rank), key=rank.__getitem__)
    chosen = next((slide for slide in line if may_have(plan, slide, held)), None)
    begun = {slide: len(set(group) - held) for group in plan.groups if held.intersection(group) for slide in group}
    if chosen is None and line and 0 not in begun.values() and not safe(plan, held):
        chosen = min(line, key=lambda slide: (begun.get(slide, len(rank)), rank[slide]))
    return chosen


# --- tickets on the disk ----------------------------------------------------------------------------------------------


def on_disk(folder: str | os.PathLike, slides: Iterable[str]) -> set[str]:
    """Return which of ``slides`` have a file (or a link) in ``folder``, or a part of one."""
    try:
        names = set(os.listdir(folder))
    except FileNotFoundError:
        return set()
    return {slide for slide in slides if f"{slide}.tif" in names or f"{slide}.tif.partial" in names}


def _lock(handle, how: int) -> bool:
    """Lock an open file; False when another process has it (with LOCK_NB)."""
    try:
        fcntl.flock(handle, how)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            return False
        raise UserError(
            f"{handle.name}: this file system has no file locks ({error.strerror}): "
            "put results on another one, or keep the slides (slides: keep: true)"
        ) from None
    return True


@contextlib.contextmanager
def alone(places: Path) -> Iterator[None]:
    """Keep the other fetches of the run out of what is done with the files in ``places``."""
    with (places / "lock").open("a") as handle:
        _lock(handle, fcntl.LOCK_EX)
        yield


class _Ticket:
    """A small file that says WAITING or HELD, locked as long as its process lives."""

    def __init__(self, path: Path):
        self.path = path
        self.handle = path.open("a+")
        self.mine = _lock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, word: str) -> None:
        self.handle.truncate(0)
        self.handle.write(word)
        self.handle.flush()

    def read(self) -> str:
        self.handle.seek(0)
        return self.handle.read()

    def close(self, remove: bool) -> None:
        if remove:
            self.path.unlink(missing_ok=True)
        self.handle.close()


def _others(places: Path, own: str) -> dict[str, str]:
    """Slides of the other running fetches with the word in their tickets. A ticket that nobody locks is void."""
    found = {}
    for path in places.glob("*.ticket"):
        slide = path.name.removesuffix(".ticket")
        if slide != own:
            ticket = _Ticket(path)
            if not ticket.mine:
                found[slide] = ticket.read()
            ticket.close(remove=ticket.mine)
    return found


def _lost(places: Path) -> set[str]:
    try:
        return set(json.loads((places / "lost.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return set()


@contextlib.contextmanager
def place(
    slide: str,
    folder: str | os.PathLike,
    idle: Callable[[Sequence[str]], bool] = lambda waiting: False,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold one of the places of the :class:`Plan` in ``folder`` for ``slide``; wait until there is one.

    Parameters
    ----------
    folder : of the slides, with a plan (:func:`write_plan`).
    idle : whether no job of the run can free a place; it is asked with the slides that wait. If so, the first in line
        stops with a :class:`UserError`; with ``keep_going`` the slides that no job will use any more lose their places.
    sleep : waits for seconds.

    A slide that is not in the plan (asked for as a target, and read by no job) needs no place.
    """
    folder = Path(folder)
    plan, places = read_plan(folder), folder / FOLDER
    if slide not in plan.order:
        yield
        return
    while not (ticket := _own(places, slide)).mine:
        ticket.close(remove=False)
        tell(f"{slide}: another process is fetching it: waiting for it")
        sleep(1.0)
    try:
        told = False
        while True:
            with alone(places):
                others, lost = _others(places, slide), _lost(places)
                held = on_disk(folder, plan.order) | {name for name, word in others.items() if word == HELD}
                waiting = [slide, *(name for name, word in others.items() if word == WAITING)]
                first = slide if slide in held else next_one(plan, waiting, held - lost)
                if first == slide:
                    ticket.write(HELD)
                    break
                if idle(waiting) and slide == min(waiting, key=plan.order.__getitem__):
                    _give_up(plan, places, slide, waiting, held - lost, lost)
            if not told:
                tell(f"{slide}: waits for one of {plan.at_once} places (slides.at_once) held by {_names(held - lost)}")
                told = True
            sleep(1.0)
        yield
    finally:
        with alone(places):
            ticket.close(remove=True)


def _own(places: Path, slide: str) -> _Ticket:
    with alone(places):
        ticket = _Ticket(places / f"{slide}.ticket")
        if ticket.mine:
            ticket.write(WAITING)
        return ticket


def _give_up(plan: Plan, places: Path, slide: str, waiting: Sequence[str], held: set[str], lost: set[str]) -> None:
    what = f"{_names(held)} hold the places (slides.at_once: {plan.at_once}) and no running job uses them"
    if not plan.keep_going:
        raise UserError(f"{slide}: {what}: look for the job that failed; every slide that was fetched is kept")
    hopeful = {name for group in plan.groups if set(group).intersection(waiting) for name in group}
    given_up = held - hopeful or held
    tell(f"{slide}: {what}: they lose their places")
    write_text(places / "lost.json", json.dumps(sorted(lost | given_up)) + "\n")


def _names(slides: Iterable[str]) -> str:
    names = sorted(slides)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "none"
