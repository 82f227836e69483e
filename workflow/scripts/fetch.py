"""Fetch one file: continued where it stopped, verified, and named only when it is whole (library:
chowder.data.download.client).
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

from chowder.data import camelyon16, cohort
from chowder.data.download import caller, places, room
from chowder.data.download.client import fetch, local_path
from chowder.data.download.levels import Whole, drop_leftovers, fetch_levels
from chowder.data.download.partial import shown, tell
from chowder.data.download.transfer import Settings
from chowder.files import UserError, run, write_text

SHARE = 0.4  # of a slide's bytes, at the most, where level 0 is not read


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
    some = parser.add_argument_group("levels of a slide instead of the whole file")
    some.add_argument("--levels-for", type=json.loads, help="JSON: tissue_mpp, tiles (size, mpp, resample), mpp")
    some.add_argument("--sums", help="CSV with slide,pages,sha256 of what such a fetch brings; others are not checked")
    parser.add_argument("--record", help="JSON to write: source, length, bytes that are here, checksums, content")
    run_ = parser.add_argument_group("as one of many fetches of a run")
    run_.add_argument("--places", action="store_true", help="wait for a place, by the plan beside --output")
    run_.add_argument("--caller", type=int, help="process id of the Snakemake that waits for this fetch")
    run_.add_argument("--jobs-run", choices=["here", "slurm", "elsewhere"], default="here", help="where its jobs run")
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
            share = SHARE if args.levels_for else 1.0
            room.once_a_run(plan, output.parent, lambda slides: sizes(args.base, slides, args.settings, share))
            idle = caller.idle(args.caller, args.jobs_run) if args.caller else []
            stack.enter_context(places.place(args.slide, output.parent, *idle))
        record = bring(urls, output, md5, args)
        if args.record:
            write_text(args.record, json.dumps(record | {"content": md5}, indent=1) + "\n")


def bring(urls: list[str], output: Path, md5: str | None, args: argparse.Namespace) -> dict[str, object]:
    """The levels that are read, where they can be fetched alone; the whole file otherwise. Returns the record."""
    if args.levels_for and local_path(urls[0]) is None:  # a local file is linked
        try:
            return bring_levels(urls, output, args)
        except Whole as reason:
            tell(f"warning: {output.name}: is fetched whole: {reason}")
    drop_leftovers(output)
    done = fetch(urls, output, md5=md5, sha256=args.sha256, settings=args.settings, last=lambda: before_name(args))
    return {"levels": "all", "source": shown(done.source), "length": done.size, "size": done.size} | done.sums


def bring_levels(urls: list[str], output: Path, args: argparse.Namespace) -> dict[str, object]:
    """The levels that tissue, tiles, previews and figures read, each tile decoded once."""
    from chowder.slides import levels, strict

    reads = args.levels_for
    mpp = float(reads["mpp"]) if reads["mpp"] else None

    def choose(path: Path, pages) -> list[tuple[int, None]]:
        found = levels.needed(path, reads["tiles"], reads["tissue_mpp"], mpp)
        if found.obstacle:
            raise Whole(found.obstacle)
        return [(page, None) for page in found.pages]

    def expected(done) -> str:
        wanted = known.get(args.slide, {}).get(" ".join(map(str, done.pages)))
        return f"sha256 is {done.sha256}, expected {wanted}" if wanted not in (None, done.sha256) else ""

    def damage(data: bytes, page) -> str:
        return strict.damage(data, page.tile, page.tables)

    known = read_sums(args.sums) if args.sums else {}
    done = fetch_levels(urls, output, choose, damage, args.settings, expected, lambda: before_name(args))
    kept = {key: getattr(done, key) for key in ("source", "length", "size", "pages", "tiles", "sha256", "etag")}
    return {"levels": "needed"} | kept


def before_name(args: argparse.Namespace) -> None:
    """The last look at the Snakemake that waits."""
    if args.caller:
        caller.stay_only_with(args.caller)


def read_sums(path: str) -> dict[str, dict[str, str]]:
    """Return sha256 by slide and pages (``"1 2 3"``) of a list of such sums."""
    sums: dict[str, dict[str, str]] = {}
    for row in cohort.read_rows(path, ("slide", "pages", "sha256")):
        sums.setdefault(row["slide"], {})[row["pages"]] = row["sha256"].lower()
    return sums


def addresses(base: str, names: list[str]) -> list[str]:
    """Keys below the base URL, each once."""
    return [f"{base.rstrip('/')}/{name}" for name in dict.fromkeys(names)]


def sizes(base: str, slides: list[str], settings: dict, share: float) -> dict[str, int]:
    """Bytes of each slide that will be on the disk."""
    urls = {slide: addresses(base, camelyon16.candidates(slide, "image", settings.get("layouts"))) for slide in slides}
    told = room.ask_sizes(urls, Settings.of(settings), camelyon16.MEAN_BYTES)
    return {slide: int(size * share) for slide, size in told.items()}


if __name__ == "__main__":
    run(main)
