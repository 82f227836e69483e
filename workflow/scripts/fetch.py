"""Fetch one file: continued where it stopped, verified, and named only when it is whole (library:
chowder.data.download.client).
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

from chowder.data import camelyon16
from chowder.data.download import caller, places, room
from chowder.data.download.client import fetch
from chowder.data.download.transfer import Settings
from chowder.files import UserError, run


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_argument_group("what: --url, or --base with --slide")
    what.add_argument(
        "--url", action="append", default=[], help="URL or path; repeated: the next one when it is absent"
    )
    what.add_argument("--base", help="base URL or folder of a Camelyon-16 mirror")
    what.add_argument("--slide", help="slide name: its usual keys under --base are tried in order")
    what.add_argument("--kind", choices=sorted(camelyon16.LAYOUTS), default="image", help="what of the slide")
    parser.add_argument("--output", required=True, help="file to write")
    check = parser.add_argument_group("checksums")
    check.add_argument("--md5-list", help="checksums.md5: lines '<md5> *<key>'")
    check.add_argument(
        "--key", action="append", default=[], help="key in --md5-list, and below --base before the usual ones"
    )
    check.add_argument("--md5", help="hexadecimal md5")
    check.add_argument("--sha256", help="hexadecimal sha256")
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="JSON: retries, timeout_s, ... (fetch.Settings)"
    )
    run_ = parser.add_argument_group("as one of many fetches of a run")
    run_.add_argument("--places", action="store_true", help="wait for a place, by the plan beside --output")
    run_.add_argument("--caller", type=int, help="process id of the Snakemake that waits for this fetch")
    args = parser.parse_args(argv)

    output, urls, keys = Path(args.output), args.url, args.key
    if args.slide:
        if not args.base:
            raise UserError("--slide needs --base: the base URL or folder of the mirror")
        names = keys + camelyon16.candidates(args.slide, args.kind, args.settings.get("layouts"))
        urls, keys = urls + addresses(args.base, names), names
    md5 = args.md5
    if args.md5_list:
        md5 = camelyon16.md5_of(camelyon16.read_md5_list(args.md5_list), keys, args.md5_list)
    if args.caller:
        caller.leave_with(args.caller)
    with caller.refused_once(output, args.caller), contextlib.ExitStack() as stack:
        if args.places:
            plan = places.read_plan(output.parent)
            room.once_a_run(plan, output.parent, lambda slides: sizes(args.base, slides, args.settings))
            idle = [caller.Idle(args.caller)] if args.caller else []
            stack.enter_context(places.place(args.slide, output.parent, *idle))
        fetch(urls, output, md5=md5, sha256=args.sha256, settings=args.settings)


def addresses(base: str, names: list[str]) -> list[str]:
    """Keys below the base URL, each once."""
    return [f"{base.rstrip('/')}/{name}" for name in dict.fromkeys(names)]


def sizes(base: str, slides: list[str], settings: dict) -> dict[str, int]:
    """Bytes of each slide."""
    urls = {slide: addresses(base, camelyon16.candidates(slide, "image", settings.get("layouts"))) for slide in slides}
    return room.ask_sizes(urls, Settings.of(settings), camelyon16.MEAN_BYTES)


if __name__ == "__main__":
    run(main)
