"""All slides of a dataset in small, with their tissue."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd

from chowder.report.figures.style import COLOURS, need_columns, new_figure, styled


@styled
def contact_sheet(sheet: pd.DataFrame, thumbnails: Sequence[np.ndarray]) -> tuple[object, pd.DataFrame]:
    """All slides' thumbnails with tissue outlines on one page; slides with warnings framed and marked.

    ``sheet``: slide, area_mm2, warnings (text, "" for none). ``thumbnails``: square (s, s, 3) uint8, in that order.
    """
    need_columns(sheet, ["slide", "area_mm2", "warnings"], "tissue records")
    count, side = len(sheet), thumbnails[0].shape[0]
    across = min(count, 6 if count <= 24 else 10 if count <= 120 else 20)
    down = math.ceil(count / across)
    pad, band = round(side * 0.06), round(side * {10: 0.36, 20: 0.3}.get(across, 0.24))
    canvas = np.full((down * (side + band + pad), across * (side + pad), 3), 255, np.uint8)
    width = 7.6 if across >= 4 else 2 * across
    height = width * canvas.shape[0] / canvas.shape[1]
    listed = [f"{row.slide}: {row.warnings}" for row in sheet.itertuples() if row.warnings]
    lines = [line for text in listed[:12] for line in textwrap.wrap(text, 130)[:2]]
    lines += [f"and {len(listed) - 12} more with warnings: see the CSV beside this figure"] if len(listed) > 12 else []
    figure = new_figure(width, height + 0.3, constrained=False)
    axis = figure.add_axes((0, 0, 1, height / (height + 0.3)))
    size = max(3.8, min(6.5, 6.5 * (width / across) / 0.76)) if across > 6 else 7
    for place, picture in enumerate(thumbnails):
        top, left = place // across * (side + band + pad), place % across * (side + pad)
        canvas[top : top + side, left : left + side] = picture
    axis.imshow(canvas, interpolation="nearest", interpolation_stage="rgba")
    from matplotlib.patches import Rectangle

    for place, row in enumerate(sheet.itertuples()):
        top, left = place // across * (side + band + pad), place % across * (side + pad)
        colour = COLOURS["chowder"] if row.warnings else "#c3c8ce"
        axis.add_patch(
            Rectangle(
                (left - 0.5, top - 0.5),
                side,
                side,
                fill=False,
                edgecolor=colour,
                linewidth=1.8 if row.warnings else 0.5,
            )
        )
        text = f"{'! ' if row.warnings else ''}{row.slide}" + (f"\n{row.area_mm2:.1f} mm²" if across <= 10 else "")
        axis.text(
            left + side / 2,
            top + side + 0.02 * side,
            text,
            ha="center",
            va="top",
            size=size,
            linespacing=1.1,
            color=COLOURS["chowder"] if row.warnings else "black",
        )
    title = f"Tissue of {count} slide{'s' * (count != 1)} (outlined in blue), {len(listed)} with warnings"
    axis.axis("off")
    axis.set(xlim=(-2, canvas.shape[1]), ylim=(canvas.shape[0], -2))
    figure.text(0, 1, title, size=9, weight="bold", va="top")
    if lines:
        figure.text(0, -0.02, "\n".join(lines), size=6.3, va="top", color=COLOURS["chowder"])
    return figure, sheet
