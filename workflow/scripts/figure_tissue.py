"""Contact sheet: every slide's thumbnail with the outline of its tissue mask, warnings marked."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from chowder import files
from chowder.files import run
from chowder.report.figures import contact_sheet, style, view
from chowder.slides import picture
from chowder.slides.record import read as read_record


def main(argv: list[str] | None = None) -> None:
    parser = style.options(__doc__)
    parser.add_argument("--previews", type=Path, nargs="+", required=True)
    parser.add_argument("--masks", type=Path, nargs="+", required=True, help="in the order of --previews")
    parser.add_argument("--records", type=Path, nargs="+", required=True, help="tissue/<slide>.json, in the same order")
    parser.add_argument("--pdf", type=Path, help="write pages of 36 slides here, for a data set of many")
    args = parser.parse_args(argv)

    count = len(args.previews)
    side = 260 if count <= 120 else 150
    rows, pictures = [], []
    masks, records = files.matched(args.masks, count, "--masks"), files.matched(args.records, count, "--records")
    for preview, mask, path in zip(args.previews, masks, records, strict=True):
        record = read_record(path, "area_mm2")
        warnings = "; ".join(map(str, record.get("warnings") or []))
        rows.append({"slide": record.get("slide", path.stem), "area_mm2": record["area_mm2"], "warnings": warnings})
        pictures.append(view.thumbnail(picture.read(preview), picture.read(mask, "L"), side))
    sheet, about = pd.DataFrame(rows), style.About.of(args.settings)
    if args.pdf:
        contact_sheet.save_pages(sheet, pictures, args.pdf, about)
    small = pictures if count <= 24 or count > 120 else [view.shrunk(one, 150) for one in pictures]
    style.save(*contact_sheet.contact_sheet(sheet, small), args.output_stem, about)


if __name__ == "__main__":
    run(main)
