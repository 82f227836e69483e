"""Fetch one file: continued where it stopped, verified, and named only when it is whole (library:
chowder.data.download.client).
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

from chowder.data import camelyon16
from chowder.data.download import caller, places
from chowder.data.download.client import fetch
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
    check.add_argument("--key", action="append", default=[], help="key in --md5-list; repeated: spellings of it")
    check.add_argument("--md5", help="hexadecimal md5")
    check.add_argument("--sha256", help="hexadecimal sha256")
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="JSON: retries, timeout_s, ... (fetch.Settings)"
    )
    turn = parser.add_argument_group("when slides are deleted after use")
    turn.add_argument("--places", action="store_true", help="wait for a place, by the plan beside --output")
    turn.add_argument("--caller", type=int, help="process id of the Snakemake that waits for this fetch")
    args = parser.parse_args(argv)

    urls, keys = args.url, args.key
    if args.slide:
        if not args.base:
            raise UserError("--slide needs --base: the base URL or folder of the mirror")
        names = camelyon16.candidates(args.slide, args.kind, args.settings.get("layouts"))
        urls, keys = urls + [f"{args.base.rstrip('/')}/{name}" for name in names], keys + names
    md5 = args.md5
    if args.md5_list:
        md5 = camelyon16.md5_of(camelyon16.read_md5_list(args.md5_list), keys, args.md5_list)
    if args.caller:
        caller.leave_with(args.caller)
    with contextlib.ExitStack() as stack:
        if args.places:
            idle = [caller.Idle(args.caller)] if args.caller else []
            stack.enter_context(places.place(args.slide, Path(args.output).parent, *idle))
        fetch(urls, args.output, md5=md5, sha256=args.sha256, settings=args.settings)


if __name__ == "__main__":
    run(main)
