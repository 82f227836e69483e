"""The command ``camelyon-froc``: the lesion score (FROC) of Camelyon-16 for any folder of detections."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from chowder.evaluation import curve_figure, reports, scoring, tables
from chowder.evaluation.scorer_table import read as read_table
from chowder.files import UserError, run

DESCRIPTION = """\
Score detections of lesions by the evaluation of the Camelyon-16 challenge (FROC), with confidence intervals.

What you need:
  detections   a folder with one CSV per slide, <slide>.csv: no header, lines of score,x,y. x and y are level-0 pixels
               of the slide (x to the right, y down), a higher score is more certain. An empty file: nothing found.
  truth        one of: ASAP annotations (<slide>.xml; groups _0, _1, Tumor are tumour, _2, Exclusion are cut out),
               masks (<slide>.tif, .png, .npy or <slide>_mask.tif), or <slide>.npz by the workflow's lesions.py.
               Of tumour slides; normal slides need none.
  slides.csv   a table with a header and the columns
                 slide          the name of the files without suffix
                 label          0 normal, 1 tumour
               and, where known,
                 width,height   level-0 pixels; positions outside the slide are then errors
                 split          train or test: if any slide is in test, only those count
                 froc           0: the slide does not count (test_114 of Camelyon-16)
                 center,class   scores by centre, and by class (negative, itc, micro, macro)
                 patient        where patients have several slides: they are drawn for the intervals
                 mpp            um per level-0 pixel, used with --froc-mpp slide only

Example:
  camelyon-froc --detections my_csvs --annotations xmls --slides slides.csv
  camelyon-froc --detections mine --against theirs --masks masks --slides slides.csv --output score.json \\
      --lesion-table lesions.csv --froc-curve curve.csv --figure curve.png
"""
EPILOG = """\
The result: mean sensitivity at 1/4, 1/2, 1, 2, 4 and 8 false positives per slide. "official" equals the organisers'
script of 2016 with its quirks, "corrected" removes them; both are always given. Intervals: bootstrap over slides.
Mistakes in the input are one line on stderr that names the file and line; the exit status is then 1 (2: an option).
"""
MODES_SHOWN = ("official", "corrected")


class Parser(argparse.ArgumentParser):
    """argparse with mistakes as one line."""

    def error(self, message: str):
        """Print one line and exit with status 2."""
        print(f"error: {' '.join(message.split())}: see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def parser() -> Parser:
    """Return the options of the command."""
    own = Parser(
        prog="camelyon-froc",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    own.add_argument("--detections", type=Path, required=True, metavar="FOLDER", help="<slide>.csv of every slide")
    truth = own.add_mutually_exclusive_group(required=True)
    truth.add_argument("--annotations", type=Path, metavar="FOLDER", help="ASAP annotations, <slide>.xml")
    truth.add_argument("--masks", type=Path, metavar="FOLDER", help="tumour masks, <slide>.tif, .png or .npy")
    truth.add_argument("--lesions-dir", type=Path, metavar="FOLDER", help="lesion files of the workflow, <slide>.npz")
    own.add_argument("--slides", type=Path, required=True, metavar="FILE", help="the slides table, CSV")
    own.add_argument("--against", type=Path, metavar="FOLDER", help="a second folder: paired test of the difference")
    asked = own.add_argument_group("results (all optional; the score is printed in any case)")
    asked.add_argument("--output", type=Path, metavar="FILE", help="JSON with everything")
    asked.add_argument("--lesion-table", type=Path, metavar="FILE", help="CSV: every lesion with its best score")
    asked.add_argument("--froc-curve", type=Path, metavar="FILE", help="CSV: threshold,fps,sensitivity,low,high")
    asked.add_argument("--figure", type=Path, metavar="FILE", help="the curve as PNG, SVG or PDF (needs matplotlib)")
    how = own.add_argument_group("settings")
    how.add_argument("--froc-mode", help="official (default) or corrected: for lesion table and curve")
    how.add_argument(
        "--froc-mpp", help="um per level-0 pixel, default 0.243 as in the challenge, or slide: the table's"
    )
    how.add_argument("--bootstrap", help="resamples for the intervals, default 2000")
    how.add_argument("--confidence", help="of the intervals, default 0.95")
    how.add_argument("--seed", help="of the resamples, default 0")
    how.add_argument("--settings", metavar="JSON", help="the same as JSON, as the workflow passes them")
    how.add_argument(
        "--mask-downsample",
        type=int,
        choices=(1, 2, 4, 8, 16, 32),
        help="level-0 pixels per mask pixel; default: by width and height, else 32, or level 0 first in a pyramid",
    )
    how.add_argument("--mask-value", type=int, help="value of tumour in masks of several values; default: all but 0")
    how.add_argument("--ignore-unknown", action="store_true", help="ignore CSVs of slides that are not in the table")
    return own


def main(argv: list[str] | None = None) -> None:
    """Score as the options say; print the result on stdout, notes and warnings on stderr."""
    args = parser().parse_args(argv)
    values = settings_of(args)
    settings = reports.Settings.of(values)
    for folder in (args.detections, args.against):
        if folder is not None and not folder.is_dir():
            raise UserError(f"{folder}: no such folder: give the one that holds <slide>.csv")
    if args.figure:
        curve_figure.check(args.figure)
    table = read_table(args.slides)
    notes = [f"{args.slides}: columns ignored: {', '.join(table.ignored)}"] if table.ignored else []
    folders = [folder for folder in (args.detections, args.against) if folder]
    read = [scoring.detection_files(folder, table, args.ignore_unknown) for folder in folders]
    files = [found for found, _ in read]
    truth = scoring.read_truth(_source(args), table, values)
    for found in files:
        scoring.checked_detections(found, truth, table)
    notes += [note for _, some in read for note in some] + truth.notes

    report, curve, rows = reports.froc_report(table.slides, files[0], truth.lesions, settings)
    if not report["available"]:
        raise UserError(f"{_source(args).folder}: no score: {report['reason']}")
    curves = [(args.detections.name, report[settings.froc_mode], curve)]
    if args.against:
        report["against"] = scoring.compare(table, files[0], files[1], truth, settings)
        if args.figure:
            second, second_curve, _ = reports.froc_report(table.slides, files[1], truth.lesions, settings)
            curves.append((args.against.name, second[settings.froc_mode], second_curve))
    about = {"detections_folder": str(args.detections), "settings": settings.record(), "notes": notes}
    if args.output:
        tables.write_json(args.output, about | report)
    if args.lesion_table:
        tables.write_table(args.lesion_table, rows, reports.LESION_COLUMNS)
    if args.froc_curve:
        tables.write_table(args.froc_curve, curve, reports.FROC_COLUMNS)
    if args.figure:
        curve_figure.draw(args.figure, curves)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    for warning in report["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print("\n".join(printed(report)))


def settings_of(args: argparse.Namespace) -> dict:
    """Return the settings of --settings and of the options of their own, checked."""
    values = {}
    if args.settings is not None:
        try:
            values = json.loads(args.settings)
        except ValueError as error:
            raise UserError(f'--settings: not JSON ({error}): write {{"bootstrap": 2000}}') from None
        scoring.check_settings(values)
    for key in scoring.OWN_SETTINGS:
        text = getattr(args, key)
        if text is not None:
            try:
                values[key] = json.loads(text)
            except ValueError:
                values[key] = text
    try:
        return scoring.check_settings(values)
    except UserError as error:
        raise UserError(str(error).replace("--settings", "settings", 1)) from None


def _source(args: argparse.Namespace) -> scoring.Source:
    if args.masks:
        return scoring.Source("masks", args.masks, args.mask_downsample, args.mask_value)
    if args.mask_downsample is not None or args.mask_value is not None:
        raise UserError("--mask-downsample and --mask-value: mean nothing without --masks: remove them")
    return (
        scoring.Source("annotations", args.annotations)
        if args.annotations
        else scoring.Source("lesions", args.lesions_dir)
    )


def printed(report: dict) -> list[str]:
    """Return the result as lines: the score and six sensitivities of both modes with their intervals."""
    lines = [
        f"{report['lesions']} lesions and {report['itc']} isolated tumour cells on {report['slides']} slides, "
        f"{report['detections']} detections",
        f"{'false positives per slide':<28}{'official':<26}{'corrected':<26}",
    ]
    rates = list(report["official"]["sens_at"])
    cells = []
    for mode in MODES_SHOWN:
        part = report[mode]
        cells.append(
            [f"{part['score']:.4f} [{part['low']:.4f}, {part['high']:.4f}]"]
            + [
                f"{part['sens_at'][rate]:.4f} [{part['sens_at_low'][rate]:.4f}, {part['sens_at_high'][rate]:.4f}]"
                for rate in rates
            ]
        )
    names = ["score (mean of the six)", *rates]
    lines += [f"{name:<28}{one:<26}{two:<26}".rstrip() for name, one, two in zip(names, *cells, strict=True)]
    if report.get("expected_lesions"):
        lines.append(f"official test set: {report['expected_lesions']} lesions expected, {report['lesions']} found")
    for mode, against in report.get("against", {}).items():
        lines.append(
            f"difference to the second folder, {mode}: {against['difference']:+.4f} "
            f"[{against['low']:.4f}, {against['high']:.4f}], p = {against['p']:.3g}"
        )
    return lines


def console() -> None:
    """Entry point of the console command."""
    run(main)


if __name__ == "__main__":
    console()
