"""Simulate one slide (image and annotation), or write the simulated cohort's slides table."""

from __future__ import annotations

import argparse
import csv
import json
import sys

from chowder.data.simulation import layout, render
from chowder.files import UserError, atomic, run


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohort", metavar="CSV", help="only write the slides table of the simulated cohort here")
    parser.add_argument("--slide", help="name of the slide, such as tumor_001")
    parser.add_argument("--center", help=f"one of {', '.join(layout.CENTERS)}")
    parser.add_argument("--class", dest="kind", help=f"one of {', '.join(layout.CLASSES)}")
    parser.add_argument("--settings", default="{}", help="JSON: seed, and any of " + ", ".join(layout.DEFAULTS))
    parser.add_argument("--image", help="TIFF to write")
    parser.add_argument("--annotation", help="ASAP XML to write")
    options = parser.parse_args(argv)
    try:
        settings = json.loads(options.settings)
    except json.JSONDecodeError as error:
        raise UserError(f"--settings: not JSON ({error}): quote the object for the shell") from None
    seed = settings.pop("seed", 1802)

    if options.cohort:
        rows = layout.cohort(seed=seed)
        with atomic(options.cohort) as scratch, scratch.open("w", newline="", encoding="utf-8") as handle:
            table = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        return
    for name in ("slide", "center", "kind", "image", "annotation"):
        if getattr(options, name) is None:
            parser.error(f"--{'class' if name == 'kind' else name} is needed")
    facts = render.simulate_slide(
        options.slide, options.kind, options.center, seed, options.image, options.annotation, **settings
    )
    print(f"simulated {json.dumps(facts)}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
