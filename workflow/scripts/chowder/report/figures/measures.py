"""Figures of the second table: reliability diagrams, and sensitivity by lesion size."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from chowder.evaluation.lesion_sizes import size_name
from chowder.report import paper
from chowder.report.figures.style import (
    GREY,
    PAPER_GREY,
    in_table_order,
    legend_outside,
    method_labels,
    method_style,
    need_columns,
    new_figure,
    say_in_panel,
    styled,
)

RATES_SHOWN = (1.0, 8.0)


@styled
def reliability(data: pd.DataFrame) -> tuple[object, pd.DataFrame]:
    """Observed share of tumour slides against the predicted probability, one panel per method.

    ``data``: method, from, to, slides, predicted, observed, low, high. The area of a dot is the number of slides in its
    bin. ``data`` may be empty: then the panel says so.
    """
    need_columns(data, ["method", "slides", "predicted", "observed", "low", "high"], "reliability")
    names = in_table_order(list(data["method"]))
    if not names:
        figure = new_figure(4, 3)
        say_in_panel(figure.subplots(), "no test slides of both classes")
        return figure, data
    columns = min(len(names), 4)
    lines = math.ceil(len(names) / columns)
    figure = new_figure(1.9 * columns + 0.6, 1.95 * lines + 0.5)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    most = data["slides"].max()
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis in axes.flat[max(len(names) - columns, 0) : len(names)]:
        axis.tick_params(labelbottom=True)  # nothing is below it
    for axis, name in zip(axes.flat, names, strict=False):
        part, colour = data[data["method"] == name].sort_values("predicted"), method_style(name)["color"]
        axis.plot([0, 1], [0, 1], color=PAPER_GREY, linewidth=0.8, linestyle=(0, (2, 2)))
        axis.vlines(part["predicted"], part["low"], part["high"], color=colour, linewidth=1, alpha=0.7)
        axis.plot(part["predicted"], part["observed"], color=colour, linewidth=1)
        area = 10 + 70 * part["slides"] / most
        axis.scatter(part["predicted"], part["observed"], s=area, color=colour, zorder=3, linewidth=0)
        axis.set(title=paper.parse(name).label, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axis.set_xticks([0, 0.5, 1])
        axis.set_yticks([0, 0.5, 1])
    figure.supxlabel("predicted probability of tumour (mean of the bin)", size=8)
    figure.supylabel("share of slides with tumour", size=8)
    return figure, data


@styled
def lesion_sizes(data: pd.DataFrame) -> tuple[object, pd.DataFrame]:
    """Share of the lesions found against their major axis, at 1 and at 8 false positives per slide.

    ``data``: method, fps, from_um, to_um, lesions, slides, found, sensitivity, low, high; perhaps without rows.
    """
    need_columns(data, ["method", "fps", "from_um", "to_um", "lesions", "sensitivity", "low", "high"], "lesion sizes")
    names = in_table_order(list(data["method"]))
    figure = new_figure(8.4, 3.3)
    axes = figure.subplots(1, 2, sharey=True)
    if not names:
        for axis in axes:
            say_in_panel(axis, "no lesion was evaluated")
        return figure, data
    bins = data[["from_um", "to_um"]].drop_duplicates().sort_values("from_um").to_numpy(float)
    labels = method_labels(names)
    for axis, rate in zip(axes, RATES_SHOWN, strict=True):
        part = data[data["fps"] == rate]
        ticks = []
        for low, high in bins:
            inside = part.loc[part["from_um"] == low, "lesions"]
            number = f"n = {int(inside.max())}" if len(inside) else ""
            ticks.append(f"{size_name(low, high)}\n{number}")
        for order, name in enumerate(names):
            mine = part[part["method"] == name]
            x = np.searchsorted(bins[:, 0], mine["from_um"]) + 0.72 * ((order + 0.5) / len(names) - 0.5)
            colour = method_style(name)["color"]
            axis.vlines(x, mine["low"], mine["high"], color=colour, linewidth=1.1, alpha=0.75)
            axis.plot(x, mine["sensitivity"], "o", color=colour, markersize=4, label=labels[name])
        for edge in np.arange(len(bins) - 1) + 0.5:
            axis.axvline(edge, color="#e3e6ea", linewidth=0.8)
        axis.set_xticks(range(len(bins)), ticks)
        axis.grid(axis="x", visible=False)
        axis.set(ylim=(-0.03, 1.03), xlim=(-0.5, len(bins) - 0.5), xlabel="major axis of the lesion")
        axis.set_title(f"{rate:g} false positive{'s' if rate != 1 else ''} per slide")
    axes[0].set_ylabel("share of lesions found")
    axes[1].tick_params(labelcolor=GREY, axis="y")
    legend_outside(figure, "right center", *axes[0].get_legend_handles_labels())
    return figure, data
