"""The tissue of one slide: mask (PNG), record (JSON: thresholds, areas, scale, warnings) and a preview (JPEG)."""

from __future__ import annotations

import argparse
import json
import sys

from chowder.files import atomic, run, write_text
from chowder.slides import tissue
from chowder.slides.reader import Reader


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", required=True, help="name of the slide")
    parser.add_argument("--image", required=True, help="the slide's file")
    parser.add_argument("--mpp", default="", help="um per level-0 px; empty: as the file says")
    parser.add_argument("--settings", required=True, help="section `tissue` of the config, as JSON")
    parser.add_argument("--mask", required=True, help="mask to write (PNG, 0 and 255)")
    parser.add_argument("--record", required=True, help="record to write (JSON)")
    parser.add_argument("--preview", required=True, help="thumbnail to write (JPEG, at the mask's resolution)")
    args = parser.parse_args(argv)

    from PIL import Image

    settings = json.loads(args.settings)
    mpp = settings.pop("mpp")
    with Reader(args.image, float(args.mpp) if args.mpp.strip() else None) as reader:
        info, image, decoder = reader.info, reader.thumbnail(mpp), reader.decoder
    found = tissue.segment(image, mpp, **settings)
    for warning in found.warnings:
        print(f"warning: {args.slide}: {warning}", file=sys.stderr)
    record = {
        "slide": args.slide,
        "mpp": info.mpp,
        "mpp_source": info.mpp_source,
        "width": info.width,
        "height": info.height,
        "levels": info.levels,
        "downsamples": info.downsamples,
        "vendor": info.vendor,
        "decoder": decoder,
        "mask_mpp": mpp,
        "mask_scale": [mpp / info.mpp, mpp / info.mpp],
        "rule": found.rule,
        "thresholds": found.thresholds,
        "area_mm2": float(found.mask.sum()) * (mpp / 1000) ** 2,
        "pen_area_mm2": found.pen_area_mm2,
        "warnings": found.warnings,
    }
    with atomic(args.mask) as scratch:
        Image.fromarray(found.mask.astype("uint8") * 255).save(scratch)
    with atomic(args.preview) as scratch:
        Image.fromarray(image).save(scratch, quality=85)
    write_text(args.record, json.dumps(record, indent=1) + "\n")
    print(f"{args.slide}: {record['area_mm2']:.2f} mm2 of tissue by {found.rule}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
