"""The matrix as a picture: a grid of encoders and methods, or with one encoder a line per method."""

from __future__ import annotations

import math
import re
import textwrap

import numpy as np
import pandas as pd

from chowder.report import matrix, paper
from chowder.report.figures.style import GREY, in_table_order, need_columns, new_figure, say_in_panel, styled
from chowder.report.units import gigabytes, seconds

MAP = "Blues"  # one hue, so that lightness alone is read, whatever colours a reader can tell apart
DARKEST = 0.62  # of the map: dark text stays readable on it
INK, EMPTY, ACCENT = "#1b1f24", "#f1f3f5", "#0072B2"
MARKS = {matrix.HIGHER: "▲", matrix.LOWER: "▼", matrix.SAME: "≈"}
CELL = (0.98, 0.42)  # inches
BESIDE = 4  # encoders for which panels stand side by side; with more they stand below each other


@styled
def draw(frame: pd.DataFrame, confidence: float = 0.95) -> tuple[object, pd.DataFrame]:
    """Draw the matrix; ``frame`` as :func:`chowder.report.matrix.build` returns it.

    AUC is that of the test split, or without one that of the cross-validation. Returns the figure and what it shows:
    panel, encoder, method, value, low, high, verdict, highest.
    """
    need_columns(frame, matrix.HEADER, "matrix")
    data = drawn(frame)
    panels = [panel for panel in ("auc_test", "auc_cv", "froc", "training") if (data["panel"] == panel).any()]
    encoders, methods = list(dict.fromkeys(frame["encoder"])), in_table_order(list(frame["method"]))
    if not panels:
        figure = new_figure(4, 3)
        say_in_panel(figure.subplots(), "neither AUC nor FROC was measured")
        return figure, data
    chart = _lines if len(encoders) == 1 else _grid
    figure = chart(data, frame, panels, encoders, methods)
    _explain(figure, frame, [panel for panel in panels if panel != "training"], confidence)
    return figure, data


def drawn(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what the figure shows, one row per cell that has a value."""
    columns = ["auc_test" if frame["auc_test"].notna().any() else "auc_cv", "froc"]
    rows = []
    for _, row in frame.iterrows():
        common = {"encoder": row["encoder"], "method": row["method"]}
        for column in columns:
            ends = matrix.SPREAD[column]
            low, high = (row[end] for end in ends) if len(ends) == 2 else (row[column] - row[ends[0]], math.nan)
            high = high if len(ends) == 2 else row[column] + row[ends[0]]
            most = frame.loc[frame["encoder"] == row["encoder"], column].max()
            rows.append(
                {"panel": column, **common, "value": row[column], "low": low, "high": high}
                | {"verdict": row[f"{column}_verdict"], "highest": row[column] == most}
            )
        rows.append({"panel": "training", **common, "value": row["train_seconds"], "verdict": "", "highest": False})
    names = ["panel", "encoder", "method", "value", "low", "high", "verdict", "highest"]
    return pd.DataFrame(rows, columns=names).dropna(subset="value").reset_index(drop=True)


TITLES = {"auc_test": "AUC, test", "auc_cv": "AUC, cross-validation", "froc": "FROC", "training": "Training time"}


def _interval(row: pd.Series) -> str:
    if pd.isna(row["low"]) or pd.isna(row["high"]):
        return ""
    if row["panel"] == "auc_cv":
        return f"± {(row['high'] - row['low']) / 2:.3f}"
    return f"[{row['low']:.2f}, {row['high']:.2f}]"


def _cost(frame: pd.DataFrame, encoder: str, before: tuple[str, str] = ("embedding ", "features ")) -> list[str]:
    """Return an encoder's embedding time and the size of its features, each where known, with words before them."""
    row = frame[frame["encoder"] == encoder].iloc[0]
    found = seconds(row["embed_seconds"]), gigabytes(row["features_gb"])
    return [word + what for word, what in zip(before, found, strict=True) if what]


def short(name: str, width: int = 15) -> str:
    """Return an encoder's name on lines of at most ``width`` letters, broken after _, - and dots where possible."""
    lines = [""]
    for part in re.findall(r".+?(?:[_\-.]+|$)", name):
        for piece in [part[at : at + width] for at in range(0, len(part), width)]:
            if len(lines[-1]) + len(piece) > width and lines[-1]:
                lines.append("")
            lines[-1] += piece
    return "\n".join(lines)


# --- several encoders -------------------------------------------------------------------------------------------------


def _grid(data: pd.DataFrame, frame: pd.DataFrame, panels: list[str], encoders: list[str], methods: list[str]):
    """Return the figure of a grid per panel: encoders from left to right, methods from top to bottom."""
    beside = len(encoders) <= BESIDE
    lines, columns = (1, len(panels)) if beside else (len(panels), 1)
    width = 1.5 + columns * (CELL[0] * len(encoders) + 0.15) + (0 if beside else 0.3)
    figure = new_figure(width, 0.4 + lines * (CELL[1] * len(methods) + 1.25))
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axis, panel in zip(axes.flat, panels, strict=True):
        part = data[data["panel"] == panel].set_index(["method", "encoder"])
        values = np.array([[part["value"].get((m, e), math.nan) for e in encoders] for m in methods], dtype=float)
        _squares(figure, axis, panel, values)
        for i, method in enumerate(methods):
            for j, encoder in enumerate(encoders):
                if (method, encoder) not in part.index:
                    axis.text(j, i, "–", ha="center", va="center", color=GREY)
                else:
                    _cell(axis, j, i, part.loc[(method, encoder)].copy(), panel)
        if panel == "training":
            for j, encoder in enumerate(encoders):
                said = "\n".join(_cost(frame, encoder, ("embed ", ""))) or " "
                axis.text(j, len(methods) - 0.4, said, ha="center", va="top", size=6.8, color=GREY)
        axis.set_xticks(range(len(encoders)), [short(encoder) for encoder in encoders], size=7)
        axis.set_yticks(range(len(methods)), [paper.parse(name).label for name in methods], size=8)
        axis.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        axis.set_title(TITLES[panel], pad=8)
        axis.grid(False)
        for side in axis.spines.values():
            side.set_visible(False)
    return figure


def _squares(figure, axis, panel: str, values: np.ndarray) -> None:
    """Paint the cells of a panel; that of costs has no colours."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    if panel == "training":
        axis.imshow(np.zeros_like(values), cmap="Greys", vmin=-0.05, vmax=1, aspect="auto")
    else:
        low = min([0.0 if panel == "froc" else 0.5, *values[np.isfinite(values)]])
        shades = colormaps[MAP](np.linspace(0, DARKEST, 256))
        colours = ListedColormap(shades).with_extremes(bad=EMPTY)
        picture = axis.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=low, vmax=1, aspect="auto")
        bar = figure.colorbar(picture, ax=axis, orientation="horizontal", fraction=0.035, pad=0.02, aspect=40)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=6.5, length=2)
    rows, columns = values.shape
    axis.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, color="white", linewidth=2)
    axis.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, color="white", linewidth=2)


def _cell(axis, x: int, y: int, row: pd.Series, panel: str) -> None:
    """Write one cell: value with its sign, the interval below."""
    if panel == "training":
        axis.text(x, y, seconds(row["value"]), ha="center", va="center", color=INK, size=7.5)
        return
    row["panel"] = panel
    interval, mark = _interval(row), MARKS.get(row["verdict"], "")
    weight = "bold" if row["highest"] else "normal"
    text = f"{row['value']:.3f}" + (f" {mark}" if mark else "")
    axis.text(x, y - (0.14 if interval else 0), text, ha="center", va="center", color=INK, size=8.5, weight=weight)
    if interval:
        axis.text(x, y + 0.25, interval, ha="center", va="center", color=INK, size=6.3)


# --- one encoder ------------------------------------------------------------------------------------------------------


def _lines(data: pd.DataFrame, frame: pd.DataFrame, panels: list[str], encoders: list[str], methods: list[str]):
    """Return the figure of one encoder: a dot and an interval per method, with the numbers beside them."""
    figure = new_figure(1.5 + 3.0 * len(panels), 1.25 + 0.3 * len(methods))
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, panel in zip(axes, panels, strict=True):
        part = data[data["panel"] == panel].set_index("method")
        for y, name in enumerate(methods):
            if name not in part.index:
                axis.text(1.03, y, "–", transform=axis.get_yaxis_transform(), va="center", color=GREY)
                continue
            row = part.loc[name].copy()
            row["panel"] = panel
            weight, text = "bold" if row["highest"] else "normal", f"{row['value']:.3f}"
            if panel == "training":
                text = seconds(row["value"])
            else:
                axis.hlines(y, row["low"], row["high"], color=ACCENT, linewidth=1.4, alpha=0.6)
            axis.plot(row["value"], y, "o", color=ACCENT, markersize=6 if row["highest"] else 4.5)
            text = " ".join(part for part in (text, _interval(row), MARKS.get(row["verdict"], "")) if part)
            axis.text(1.03, y, text, transform=axis.get_yaxis_transform(), va="center", size=7.2, weight=weight)
        axis.set_yticks(range(len(methods)), [paper.parse(name).label for name in methods], size=8)
        axis.set_ylim(len(methods) - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.set_title(TITLES[panel])
        if panel == "training":
            _cost_axis(axis, part["value"], _cost(frame, encoders[0]))
        else:
            low = min([0.0 if panel == "froc" else 0.5, *part["low"].dropna(), *part["value"]])
            axis.set_xlim(max(low - 0.03, -0.03), 1.03)
    figure.suptitle(f"encoder {encoders[0]}", x=0.01, ha="left", size=8, color=GREY)
    return figure


def _cost_axis(axis, values: pd.Series, costs: list[str]) -> None:
    """Make the axis of run times: decades with few labels, and the encoder's own costs below."""
    from matplotlib.ticker import FixedLocator, NullFormatter

    low, high = max(values.min(), 0.05), max(values.max(), 0.1)
    axis.set_xscale("log")
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    axis.set_xlim(10.0**first * 0.7, 10.0 ** max(last, first + 1) * 1.4)
    powers = range(first, max(last, first + 1) + 1)
    ticks = [10.0**power for power in powers[:: 1 if len(powers) < 6 else 2]]
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("\n".join(["seconds", ", ".join(costs)]) if costs else "seconds")


# --- what the signs mean ----------------------------------------------------------------------------------------------


def _explain(figure, frame: pd.DataFrame, panels: list[str], confidence: float) -> None:
    """Write below the figure what bold, signs and intervals are."""
    from matplotlib.transforms import ScaledTranslation

    several = " of its encoder" if frame["encoder"].nunique() > 1 else ""
    against = {name for panel in panels for name in frame[f"{panel}_against"] if name}
    given = len(against) == 1 and not all(_is_best(frame, panel) for panel in panels)
    what = paper.parse(min(against)).label if given else f"the highest{several}"
    signs = {mark for panel in panels for mark in map(MARKS.get, frame[f"{panel}_verdict"]) if mark}
    words = [f"Bold: highest{several}."]
    if signs & {"▲", "▼"}:
        shown = " ".join(sorted(signs & {"▲", "▼"}))
        words.append(f"{shown}: differs from {what} (paired test, p below {1 - confidence:.2g} after Holm).")
    if "≈" in signs:
        words.append("≈: the test does not tell them apart.")
    spread = "± standard deviation over folds" if "auc_cv" in panels else f"[low, high]: {confidence:.0%} interval"
    words.append(f"{spread}{', over slides' if 'auc_cv' not in panels else ''}.")
    if several and frame["train_seconds"].notna().any():
        words.append("Below the training times: time to embed all slides, size of the features.")
    width = int(figure.get_size_inches()[0] * 72 / 3.4)
    figure.text(
        0,
        0,
        textwrap.fill(" ".join(words), width),
        transform=figure.transFigure + ScaledTranslation(0, -14 / 72, figure.dpi_scale_trans),
        ha="left",
        va="top",
        size=6.8,
        color=GREY,
    )


def _is_best(frame: pd.DataFrame, column: str) -> bool:
    """Whether each encoder's methods were compared with its highest value."""
    for _, part in frame.groupby("encoder"):
        known = part[part[column].notna()]
        if len(known) and set(known[f"{column}_against"]) != {known.loc[known[column].idxmax(), "method"]}:
            return False
    return True
