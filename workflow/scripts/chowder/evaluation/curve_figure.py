"""The FROC curve of one or two folders as a picture. The only part of the scorer that needs matplotlib."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chowder.evaluation.froc import RATES
from chowder.files import UserError, atomic

FORMS = (".png", ".svg", ".pdf")
_COLOURS = ("#0072b2", "#d55e00")


def check(path: str | os.PathLike) -> None:
    """Raise UserError when the picture cannot be written: another suffix, or no matplotlib."""
    if Path(path).suffix.lower() not in FORMS:
        raise UserError(f"{path}: a figure is written as {', '.join(FORMS)}: change the suffix")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(f"{path}: figures need matplotlib: pip install matplotlib, or leave --figure out") from None


def draw(path: str | os.PathLike, curves: Sequence[tuple[str, Mapping[str, Any], Sequence[Mapping]]]) -> None:
    """Draw FROC curves with their bands.

    ``curves``: (name, part of the report with score, low and high, rows with fps, sensitivity, low, high) of each
    folder, at most two. The rates are on a logarithmic axis from 1/8 to 16 false positives per slide.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for colour, (name, part, rows) in zip(_COLOURS, curves, strict=False):
        ordered = sorted(rows, key=lambda row: (row["fps"], row["sensitivity"]))
        fps = [row["fps"] for row in ordered] + [max(16.0, ordered[-1]["fps"])]
        sides = {key: [row[key] for row in ordered] for key in ("sensitivity", "low", "high")}
        for values in sides.values():
            values.append(values[-1])  # beyond its end the score takes the last value
        axes.fill_between(fps, sides["low"], sides["high"], color=colour, alpha=0.15, linewidth=0)
        name = " ".join(name.replace("$", r"\$").split())  # a formula to matplotlib; a first _ would hide the line
        name = f" {name}" if name.startswith("_") else name
        label = f"{name}: {part['score']:.3f} [{part['low']:.3f}, {part['high']:.3f}]"
        axes.plot(fps, sides["sensitivity"], color=colour, label=label)
        at = [part["sens_at"][f"{rate:g}"] for rate in RATES]
        axes.plot(RATES, at, "o", color=colour, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xlim(1 / 8, 16)
    ticks = [1 / 8, *RATES, 16]
    axes.set_xticks(ticks, ["1/8", "1/4", "1/2", "1", "2", "4", "8", "16"])
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("false positives per slide")
    axes.set_ylabel("sensitivity (lesions found)")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.legend(loc="lower right", fontsize=8, title="mean of the six points [interval]", title_fontsize=8)
    with atomic(path) as scratch:
        figure.savefig(scratch, dpi=150, metadata={"Date": None} if Path(path).suffix.lower() == ".svg" else None)
