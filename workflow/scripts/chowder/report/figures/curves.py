"""The figure of curves: ROC and FROC of every method, with the paper's numbers beside them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from chowder.report.figures.style import (
    PAPER_GREY,
    in_table_order,
    method_labels,
    method_style,
    need_columns,
    new_figure,
    say_band,
    say_in_panel,
    styled,
)
from chowder.report.table.entry import RATES


def _interval_band(axes, name: str, curve: pd.DataFrame, what: str) -> None:
    """Fill between ``low`` and ``high`` of a method's curve (x, low, high), with both edges drawn, and say whose it is.

    The edges keep a narrow band, or one of a pale colour, apart from the background. A band without any width says so.
    """
    colour, curve = method_style(name)["color"], curve.dropna(subset=["low", "high"])
    x, low, high = (curve[column].to_numpy(float) for column in ("x", "low", "high"))
    if not (high - low > 1e-9).any():
        say_band(axes, [name], f"{what} has no width")
        return
    axes.fill_between(x, low, high, alpha=0.28, linewidth=0, zorder=1.5, color=colour)
    for edge in (low, high):
        axes.plot(x, edge, color=colour, linewidth=0.8, alpha=0.75, zorder=1.6)
    say_band(axes, [name], what)


def estimate(value, low=None, high=None) -> str:
    """``0.912 [0.85, 0.96]``, without the interval where it is not known; n/a without a value."""
    if value is None or pd.isna(value):
        return "n/a"
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return f"{value:.3f}"
    return f"{value:.3f} [{low:.2f}, {high:.2f}]"


# Curves -------------------------------------------------------------------------------------------------------------


def froc_grid() -> np.ndarray:
    """Return the rates at which FROC curves are drawn: 1/8 to 16 per slide, even on a log scale, with the six rates."""
    return np.union1d(np.round(np.geomspace(1 / 8, 16, 225), 6), [float(rate) for rate in RATES])


def froc_line(fps: np.ndarray, sensitivity: np.ndarray) -> np.ndarray:
    """Sensitivity on :func:`froc_grid`: linear in false positives, flat beyond the last point, as in the score."""
    fps, sensitivity = np.asarray(fps, float), np.asarray(sensitivity, float)
    if len(fps) and fps[0] > fps[-1]:
        fps, sensitivity = fps[::-1], sensitivity[::-1]
    return np.interp(froc_grid(), fps, sensitivity) if len(fps) else np.full(len(froc_grid()), np.nan)


@styled
def curves(
    roc: pd.DataFrame,
    froc: pd.DataFrame | None,
    values: pd.DataFrame,
    reason: str = "",
    no_roc: str = "",
    limits: pd.DataFrame | None = None,
) -> tuple[object, pd.DataFrame]:
    """ROC (left) and FROC (right) of every method.

    ``roc``: method, fpr, tpr and perhaps low, high (band of the tpr); ``froc``: method, fps, sensitivity; ``values``:
    method, auc, auc_low, auc_high, froc, froc_low, froc_high. ``reason``/``no_roc``: why there is none, for the panel.
    ``limits``: method, fps, low, high of the sensitivity at the six rates. The FROC band joins these: between the
    corners of the curve, which can be 100 false positives apart, nothing else is known.
    """
    names = in_table_order(list(values["method"]))
    label, known = method_labels(names), values.set_index("method")
    figure = new_figure(7.6, 3.75 + 0.155 * len(names))
    grid = figure.add_gridspec(2, 2, height_ratios=[3.6, 0.15 + 0.155 * len(names)])
    left, right, *lower = [figure.add_subplot(grid[row, column]) for row in (0, 1) for column in (0, 1)]
    drawn = []

    def legend(axes, below, column: str) -> None:
        lines = {line.get_gid(): line for line in axes.lines if line.get_gid()}
        order = sorted(lines, key=lambda name: (-np.nan_to_num(known.loc[name, column], nan=-1), names.index(name)))
        texts = [
            f"{label[name]}   {estimate(*known.loc[name, [column, f'{column}_low', f'{column}_high']])}"
            for name in order
        ]
        title = {"auc": "AUC", "froc": "FROC score"}[column] + ", highest first"
        below.axis("off")
        if order:
            below.legend(
                [lines[name] for name in order],
                texts,
                loc="upper left",
                handlelength=3.6,
                title=title,
                alignment="left",
                borderaxespad=0,
                labelspacing=0.3,
            )

    left.set(title="ROC", xlabel="false positive rate (1 − specificity)", ylabel="true positive rate (sensitivity)")
    if roc is None or roc.empty:
        say_in_panel(left, no_roc or "No ROC: there are no test slides")
    else:
        need_columns(roc, ["method", "fpr", "tpr"], "ROC curves")
        left.plot([0, 1], [0, 1], color=PAPER_GREY, linewidth=0.7, linestyle=(0, (2, 2)), zorder=1)
        banded = known["auc"].idxmax() if known["auc"].notna().any() else None
        for name in names:
            part = roc[roc["method"] == name]
            if part.empty:
                continue
            left.plot(part["fpr"], part["tpr"], gid=name, **method_style(name))
            kept = pd.DataFrame({"panel": "roc", "method": name, "x": part["fpr"], "y": part["tpr"]})
            if name == banded and {"low", "high"} <= set(part.columns):
                kept["low"], kept["high"] = part["low"], part["high"]
                _interval_band(left, name, kept, "bootstrap interval")
            drawn.append(kept)
        left.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), aspect="equal")
    legend(left, lower[0], "auc")

    right.set(title="FROC", xlabel="false positives per slide", ylabel="lesion sensitivity")
    if froc is None or froc.empty or known["froc"].isna().all():
        say_in_panel(right, reason or "No FROC: the slides have no lesion annotations")
    else:
        need_columns(froc, ["method", "fps", "sensitivity"], "FROC curves")
        x, rates = froc_grid(), [float(rate) for rate in RATES]
        for name in names:
            part = froc[froc["method"] == name]
            if part.empty or pd.isna(known.loc[name, "froc"]):
                continue
            y = froc_line(part["fps"].to_numpy(), part["sensitivity"].to_numpy())
            style = method_style(name)
            right.plot(x, y, gid=name, **style)
            right.plot(rates, np.interp(rates, x, y), "o", markersize=2.6, color=style["color"], zorder=style["zorder"])
            kept = pd.DataFrame({"panel": "froc", "method": name, "x": x, "y": y})
            if name == known["froc"].idxmax() and limits is not None and (limits["method"] == name).any():
                known_at = limits[limits["method"] == name].set_index("fps")
                kept = kept.join(known_at[["low", "high"]], on="x")
                _interval_band(right, name, kept, "interval at the six rates")
            drawn.append(kept)
        right.set_xscale("log", base=2)
        right.set(xlim=(0.2, 10), ylim=(-0.015, 1.015), box_aspect=1)
        right.set_xticks(rates, ["¼", "½", "1", "2", "4", "8"])
        right.minorticks_off()
    legend(right, lower[1], "froc")
    columns = ["panel", "method", "x", "y", "low", "high"]
    data = pd.concat(drawn, ignore_index=True) if drawn else pd.DataFrame(columns=columns)
    return figure, data.reindex(columns=columns)
