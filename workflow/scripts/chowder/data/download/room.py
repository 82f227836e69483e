"""Whether the slides that a run fetches find room on the disk, before the first of them comes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chowder.data.download.client import local_path
from chowder.data.download.partial import human, tell
from chowder.data.download.places import FOLDER, Plan, alone
from chowder.data.download.transfer import Settings
from chowder.files import UserError, write_text

ASKED_AT_ONCE = 8


def needed(sizes: Mapping[str, int], at_once: int, here: Mapping[str, int]) -> int:
    """Return the bytes that must be free: those of the largest slides that can be on the disk together, and are not.

    Parameters
    ----------
    sizes : bytes of every slide of the run.
    here : bytes of slides and parts that are on the disk.
    """
    return sum(sorted((max(0, size - here.get(slide, 0)) for slide, size in sizes.items()), reverse=True)[:at_once])


def ask_sizes(urls: Mapping[str, Sequence[str]], settings: Settings, mean: int) -> dict[str, int]:
    """Return the size in bytes of every slide, as a HEAD request to the first of its URLs says.

    A slide of which the server does not tell the size counts as the mean of the others, or as ``mean``. A file on a
    local disk counts as 0: it is linked.
    """
    import requests

    def ask(sources: Sequence[str]) -> int | None:
        if local_path(sources[0]) is not None:
            return 0
        with contextlib.suppress(requests.exceptions.RequestException, ValueError):
            timeout = (min(settings.timeout_s, 10.0), min(settings.timeout_s, 10.0))
            answer = session.head(sources[0], timeout=timeout, allow_redirects=True)
            if answer.status_code == 200:
                return int(answer.headers["Content-Length"]) if "Content-Length" in answer.headers else None
        return None

    with requests.Session() as session, ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        session.headers.update({"User-Agent": "chowder-workflow", "Accept-Encoding": "identity"})
        first, *others = list(urls.values()) or [[""]]
        told = [ask(first)] if urls else []
        # a server that does not tell one size, or does not answer, is not asked for the rest
        told += pool.map(ask, others) if told and told[0] is not None else [None] * len(others)
    known = [size for size in told if size is not None]
    guess = sum(known) // len(known) if known else mean
    return {slide: guess if size is None else size for slide, size in zip(urls, told, strict=False)}


def once_a_run(plan: Plan, folder: str | os.PathLike, sizes: Callable[[list[str]], dict[str, int]]) -> None:
    """Compare what the run needs with what is free, in the first of its fetches; the others take its result over.

    Errors: :class:`UserError`, one line that says what is needed, what is free, and what can be done.
    """
    folder = Path(folder)
    note = folder / FOLDER / "room.json"
    with alone(folder / FOLDER):
        if not note.exists():
            slides = list(plan.order)
            need = needed(sizes(slides), plan.at_once, _here(folder, slides))
            free = shutil.disk_usage(folder).free
            line, enough = judge(plan, folder, need, free)
            tell(line)
            write_text(note, json.dumps("" if enough else line) + "\n")
        try:
            problem = json.loads(note.read_text(encoding="utf-8"))
        except ValueError:
            raise UserError(f"{note}: was edited: delete it and run again") from None
    if problem:
        raise UserError(problem)


def judge(plan: Plan, folder: Path, need: int, free: int) -> tuple[str, bool]:
    """Return a line that says what is needed and what is free, and whether that is enough."""
    count = len(plan.order)
    what = f"{plan.at_once} slides at a time (slides.at_once)" if plan.at_once < count else f"{count} slides"
    line = f"{folder}: {what}, up to {human(need)} more on the disk; {human(free)} are free"
    if need <= free:
        return line, True
    less = "lower slides.at_once" if plan.at_once < count else "keep no slides (slides: keep: false)"
    return f"{line}, {human(need - free)} are missing: free some space, {less}, or put results on another disk", False


def _here(folder: Path, slides: Sequence[str]) -> dict[str, int]:
    found = {}
    for slide in slides:
        for name in (f"{slide}.tif", f"{slide}.tif.partial"):
            with contextlib.suppress(OSError):
                found[slide] = (folder / name).stat().st_blocks * 512
    return found
