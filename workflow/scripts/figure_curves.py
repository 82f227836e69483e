"""ROC (left) and FROC (right) of every method in one panel: metrics/... -> figures/curves.{png,svg,csv}."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from chowder import files
from chowder.files import read_json, run
from chowder.report.figures import curves, style
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
    drawing = curves.curves(
        pd.concat(roc),
        pd.concat(froc),
        values,
        reason=f"No FROC: {reasons[0]}" if reasons[0] else "",
        limits=pd.DataFrame(limits, columns=["method", "fps", "low", "high"]),
        no_roc=f"No ROC: {reasons[1]}" if reasons[1] else "",
    )
    style.save(*drawing, args.output_stem, style.About.of(args.settings))


if __name__ == "__main__":
    run(main)
