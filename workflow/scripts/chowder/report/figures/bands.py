"""ROC and FROC with the interval of every method, one small panel per method; and one method as the paper draws it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from chowder.report import paper, published
from chowder.report.figures.curves import estimate, froc_grid, froc_line
from chowder.report.figures.style import (
    GREY,
    PAPER_GREY,
    in_table_order,
    method_style,
    need_columns,
    new_figure,
    say_in_panel,
    styled,
)
from chowder.report.table.entry import RATES

OTHERS = "#c9ced4"  # of the other methods' curves behind a method's own
COLUMNS = ["panel", "method", "x", "y", "low", "high"]
TITLES = {"roc": "ROC: AUC", "froc": "FROC: score"}


def curve_data(roc, froc, values: pd.DataFrame, limits: pd.DataFrame | None) -> pd.DataFrame:
    """Return the curves of every method with their bands: panel (roc, froc), method, x, y, low, high.

    ``roc``, ``froc``, ``values``, ``limits``: as for :func:`chowder.report.figures.curves.curves`. A FROC band is known
    at the six rates.
    """
    parts, known = [], values.set_index("method")
    for name in in_table_order(list(values["method"])):
        part = roc[roc["method"] == name] if roc is not None and len(roc) else pd.DataFrame()
        if len(part):
            need_columns(part, ["method", "fpr", "tpr"], "ROC curves")
            named = part.reindex(columns=["fpr", "tpr", "low", "high"]).set_axis(["x", "y", "low", "high"], axis=1)
            parts.append(named.assign(panel="roc", method=name))
        part = froc[froc["method"] == name] if froc is not None and len(froc) else pd.DataFrame()
        if len(part) and not pd.isna(known.loc[name, "froc"]):
            need_columns(part, ["method", "fps", "sensitivity"], "FROC curves")
            line = froc_line(part["fps"].to_numpy(), part["sensitivity"].to_numpy())
            own = pd.DataFrame({"x": froc_grid(), "y": line, "low": np.nan, "high": np.nan})
            if limits is not None and len(limits):
                at = limits[limits["method"] == name].set_index("fps")[["low", "high"]]
                own = own.drop(columns=["low", "high"]).join(at, on="x")
            parts.append(own.assign(panel="froc", method=name))
    data = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)
    return data.reindex(columns=COLUMNS)


@styled
def bands(roc, froc, values: pd.DataFrame, limits: pd.DataFrame | None = None) -> tuple[object, pd.DataFrame]:
    """Draw a panel per method with its curve and interval, the other methods in grey behind: ROC above, FROC below.

    Arguments as for :func:`chowder.report.figures.curves.curves`; a kind of curve that no method has is left out.
    """
    data, names = curve_data(roc, froc, values, limits), in_table_order(list(values["method"]))
    kinds = [kind for kind in TITLES if (data["panel"] == kind).any()]
    across = min(len(names), 3 if len(names) in (5, 6, 9) else 4)
    down = math.ceil(len(names) / across)
    figure = new_figure(max(1.95 * across, 3.9), 2.05 * down * max(len(kinds), 1) + 0.3)
    if not kinds:
        say_in_panel(figure.subplots(), "No curves: there are no test slides")
        return figure, data
    axes = figure.subplots(down * len(kinds), across, squeeze=False)
    known = values.set_index("method")
    for block, kind in enumerate(kinds):
        rows = axes[block * down : (block + 1) * down]
        for place, axis in enumerate(rows.flat):
            if place >= len(names):
                axis.axis("off")
                continue
            _panel(axis, data[data["panel"] == kind], names[place])
            key = {"roc": "auc", "froc": "froc"}[kind]
            value = estimate(*known.loc[names[place], [key, f"{key}_low", f"{key}_high"]])
            axis.set_title(f"{paper.parse(names[place]).label}\n{value}", size=7.2, weight="normal")
            _frame(axis, kind, lowest=place + across >= len(names), leftmost=place % across == 0)
        rows[0, 0].text(
            0, 1.32, f"{TITLES[kind]} and interval", transform=rows[0, 0].transAxes, weight="bold", size=8.5
        )
    return figure, data


def _panel(axis, data: pd.DataFrame, name: str) -> None:
    for other, part in data.groupby("method", sort=False):
        if other != name:
            axis.plot(part["x"], part["y"], color=OTHERS, linewidth=0.7, zorder=1)
    part, style = data[data["method"] == name], method_style(name)
    if part.empty:
        axis.text(0.5, 0.5, "n/a", transform=axis.transAxes, ha="center", color=GREY, style="italic")
        return
    axis.plot(part["x"], part["y"], gid=name, **(style | {"linewidth": 1.5}))
    band = part.dropna(subset=["low", "high"])
    axis.fill_between(band["x"], band["low"], band["high"], color=style["color"], alpha=0.25, linewidth=0, zorder=2)
    for edge in ("low", "high"):
        axis.plot(band["x"], band[edge], color=style["color"], linewidth=0.6, zorder=2.1)


def _frame(axis, kind: str, lowest: bool, leftmost: bool) -> None:
    axis.set(ylim=(-0.02, 1.02), box_aspect=1, yticks=(0, 0.5, 1))
    if kind == "roc":
        axis.plot([0, 1], [0, 1], color=PAPER_GREY, linewidth=0.6, linestyle=(0, (2, 2)), zorder=0.9)
        axis.set(xlim=(-0.02, 1.02), xticks=(0, 0.5, 1))
    else:
        axis.set_xscale("log", base=2)
        axis.set(xlim=(0.2, 10))
        axis.set_xticks([float(rate) for rate in RATES], ["¼", "½", "1", "2", "4", "8"])
        axis.minorticks_off()
    words = {"roc": ("false positive rate", "true positive rate"), "froc": ("false positives per slide", "sensitivity")}
    axis.set_xlabel(words[kind][0] if lowest else "", size=7)
    axis.set_ylabel(words[kind][1] if leftmost else "", size=7)
    axis.tick_params(labelbottom=lowest, labelleft=leftmost, labelsize=6.5)


@styled
def paper_layout(
    name: str,
    roc,
    froc,
    values: pd.DataFrame,
    limits: pd.DataFrame | None,
    theirs: Mapping[str, published.Number],
    about: str,
    reason: str = "",
    no_roc: str = "",
) -> tuple[object, pd.DataFrame]:
    """Draw one method as the paper does: ROC left, FROC right with a linear axis; below, our numbers and theirs.

    ``theirs``: :func:`chowder.report.published.lookup` of the method. Their FROC score is a dotted grey line; there are
    no curves of theirs to draw. ``about``: whose slides ours are, heading of our column.
    """
    data = curve_data(roc, froc, values, limits)
    data = data[data["method"] == name].reset_index(drop=True)
    known = values.set_index("method").loc[name]
    figure = new_figure(7.6, 4.7)
    grid = figure.add_gridspec(2, 2, height_ratios=[3.6, 0.95])
    left, right, below = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, :])
    for axis, kind, none in ((left, "roc", no_roc), (right, "froc", reason)):
        axis.set_title({"roc": "ROC", "froc": "FROC"}[kind])
        part = data[data["panel"] == kind]
        if part.empty:
            say_in_panel(axis, none or f"No {kind.upper()}")
            continue
        _panel(axis, part, name)
        axis.set(ylim=(-0.02, 1.02), box_aspect=1)
    if (data["panel"] == "roc").any():
        left.plot([0, 1], [0, 1], color=PAPER_GREY, linewidth=0.7, linestyle=(0, (2, 2)), zorder=0.9)
        left.set(xlim=(-0.02, 1.02), xlabel="false positive rate", ylabel="true positive rate")
    if (data["panel"] == "froc").any():
        right.set(xlim=(0, 8.2), xlabel="average number of false positives per slide", ylabel="lesion sensitivity")
        marks = {"our score": (known["froc"], method_style(name)["color"], "-")}
        if "paper_froc" in theirs:
            marks[published.label([theirs["paper_froc"]])] = (theirs["paper_froc"].value, PAPER_GREY, (0, (1, 1.5)))
        for words, (value, colour, dash) in marks.items():
            right.axhline(value, color=colour, linewidth=1, linestyle=dash, zorder=1.5)
            right.text(8.1, value + 0.012, f"{words}: {value:.3f}", ha="right", size=6.5, color=colour)
    _numbers(below, name, known, theirs, about)
    return figure, data


def _numbers(axis, name: str, known: pd.Series, theirs: Mapping[str, published.Number], about: str) -> None:
    """Write our numbers and the paper's into a table of two columns."""
    axis.axis("off")
    shown = [number for column, number in theirs.items() if column in ("paper_auc_test", "paper_froc")]
    heading = published.label(shown) if shown else "paper: no number for this method"
    rows = []
    for words, key, column in (("AUC, test", "auc", "paper_auc_test"), ("FROC score", "froc", "paper_froc")):
        number = theirs.get(column)
        members = f" (E = {number.ensemble})" if number and number.ensemble else ""
        ours = estimate(*known[[key, f"{key}_low", f"{key}_high"]])
        rows.append((words, ours, f"{number.value:.4g}{members}" if number else "–"))
    xs = (0.0, 0.24, 0.66)
    for place, cells in enumerate([(paper.parse(name).label, f"measured here: {about}", heading), *rows]):
        for x, text in zip(xs, cells, strict=True):
            style = {"weight": "bold"} if place == 0 else {}
            style |= {"color": "#5b5443", "style": "italic"} if x == xs[2] else {}
            axis.text(x, 0.86 - 0.33 * place, text, transform=axis.transAxes, size=7.5, va="top", **style)
