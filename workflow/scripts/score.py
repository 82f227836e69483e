"""Score a folder of detections in the challenge's format (<slide>.csv, no header, score,x,y in level-0 pixels).

Needs nothing else of the workflow: the slides table names the slides (slide, label, and where known split, center,
class, froc); lesions come from ASAP annotations (<slide>.xml, with the slide's width and height in the table, or any
size that holds outline and detections) or from lesion files (<slide>.npz).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from chowder.evaluation import reports, scoring, tables
from chowder.files import run


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detections", type=Path, required=True, help="folder of <slide>.csv")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--lesions-dir", type=Path, help="folder of <slide>.npz by lesions.py")
    source.add_argument("--annotations", type=Path, help="folder of <slide>.xml")
    parser.add_argument(
        "--slides", required=True, help="CSV with slide and label (0/1), perhaps split, center, class, froc"
    )
    parser.add_argument("--against", type=Path, help="a second folder: the difference of the two is tested, paired")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: bootstrap, confidence, seed, froc_mpp")
    parser.add_argument("--output", required=True, help="written: JSON with the score in both modes")
    parser.add_argument("--lesion-table", help="written: every label with its best score")
    parser.add_argument("--froc-curve", help="written: threshold, fps, sensitivity, low, high")
    args = parser.parse_args(argv)

    slides, settings = tables.read_slides(args.slides), reports.Settings.of(args.settings)
    folders = [scoring.detection_files(folder, slides) for folder in (args.detections, args.against) if folder]
    if args.lesions_dir:
        lesions = {path.stem: path for path in sorted(args.lesions_dir.glob("*.npz"))}
    else:
        lesions = scoring.lesions_from_annotations(args.annotations, slides, folders, args.settings)
    report, curve, rows = reports.froc_report(slides, folders[0], lesions, settings)
    if args.against:
        report["against"] = scoring.compare(slides, folders[0], folders[1], lesions, settings)
    tables.write_json(args.output, {"detections_folder": str(args.detections), "settings": settings.record()} | report)
    if args.lesion_table:
        tables.write_table(args.lesion_table, rows, reports.LESION_COLUMNS)
    if args.froc_curve:
        tables.write_table(args.froc_curve, curve, reports.FROC_COLUMNS)
    for line in reports.froc_summary(report):
        print(line, file=sys.stderr)


if __name__ == "__main__":
    run(main)
