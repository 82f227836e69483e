"""ROC (left) and FROC (right) of every method in one panel, of each with its band, and of one as the paper draws it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from chowder import files
from chowder.files import UserError, read_json, run
from chowder.report import published
from chowder.report.figures import bands, curves, style
from chowder.report.table import entry


def sensitivity_limits(method: str, part: dict) -> list[dict]:
    """Return method, fps, low, high of the sensitivity at each rate that froc.json has an interval for."""
    low, high = part.get("sens_at_low") or {}, part.get("sens_at_high") or {}
    return [
        {"method": method, "fps": float(rate), "low": low[rate], "high": high[rate]}
        for rate in sorted(low.keys() & high.keys(), key=float)
        if None not in (low[rate], high[rate])
    ]


def main(argv: list[str] | None = None) -> None:
    parser = style.options(__doc__)
    parser.add_argument("--methods", nargs="+", required=True, help="names, in the order of the files")
    parser.add_argument("--auc", type=Path, nargs="+", required=True, help="auc.json of each")
    parser.add_argument("--froc", type=Path, nargs="*", default=[], help="froc.json of each")
    parser.add_argument("--roc-curves", type=Path, nargs="+", required=True, help="roc_curve.csv of each")
    parser.add_argument("--froc-curves", type=Path, nargs="*", default=[], help="froc_curve.csv of each")
    parser.add_argument("--bands-stem", help="likewise: a small panel with its band for each method")
    parser.add_argument("--layout-stem", help="likewise: the method of --main as the paper draws it")
    parser.add_argument("--main", help="method of --layout-stem")
    parser.add_argument("--published", type=Path, help="published.csv: the paper's numbers; without it there are none")
    args = parser.parse_args(argv)

    rows, infos, roc, froc, limits = [], [], [], [], []
    for method, auc, score, left, right in zip(
        args.methods,
        files.matched(args.auc, len(args.methods), "--auc"),
        files.matched(args.froc, len(args.methods), "--froc"),
        files.matched(args.roc_curves, len(args.methods), "--roc-curves"),
        files.matched(args.froc_curves, len(args.methods), "--froc-curves"),
        strict=True,
    ):
        row, info = entry.method_entry(auc, score, None, encoder="", method=method, settings=args.settings)
        rows.append(row)
        infos.append(info)
        roc.append(style.read_csv(left).assign(method=method))
        limits += sensitivity_limits(method, (read_json(score) if score else {}).get(info["mode"]) or {})
        froc.append(style.read_csv(right).assign(method=method) if right else pd.DataFrame())
    values = pd.DataFrame(rows).rename(columns=lambda name: name.replace("auc_test", "auc"))
    reasons = [next((info[key] for info in infos if key in info), "") for key in ("no_froc", "no_test")]
    reason, no_roc = (f"No {kind}: {why}" if why else "" for kind, why in zip(("FROC", "ROC"), reasons, strict=True))
    known = pd.DataFrame(limits, columns=["method", "fps", "low", "high"])
    left, right, about = pd.concat(roc), pd.concat(froc), style.About.of(args.settings)
    style.save(*curves.curves(left, right, values, reason=reason, limits=known, no_roc=no_roc), args.output_stem, about)
    if args.bands_stem:
        style.save(*bands.bands(left, right, values, known), args.bands_stem, about)
    if args.layout_stem:
        if args.main not in args.methods:
            raise UserError(f"--main: {args.main!r} is not among the methods: use one of {', '.join(args.methods)}")
        numbers = published.read(args.published) if args.published else []
        theirs = published.lookup(numbers, args.main, int(rows[args.methods.index(args.main)]["ensemble"]))
        whose = f"{about.dataset or 'unnamed'}{', SIMULATED slides' if about.simulated else ''}"
        drawing = bands.paper_layout(args.main, left, right, values, known, theirs, whose, reason, no_roc)
        style.save(*drawing, args.layout_stem, about)


if __name__ == "__main__":
    run(main)
