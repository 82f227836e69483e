"""All slides of a dataset in small, with their tissue."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from chowder.files import atomic
from chowder.report.figures.style import COLOURS, About, mark_data, need_columns, new_figure, styled

PAGE = 36  # slides of a page, 6 across


def pages(sheet: pd.DataFrame, thumbnails: Sequence[np.ndarray]) -> Iterator[object]:
    """Yield figures of at most :data:`PAGE` slides, 32 mm each, for a document that people leaf through or print."""
    for start in range(0, len(sheet), PAGE):
        part = sheet.iloc[start : start + PAGE]
        title = f"Tissue (outlined in blue) of slides {start + 1} to {start + len(part)} of {len(sheet)}"
        yield contact_sheet(part, thumbnails[start : start + PAGE], 6, title)[0]


def save_pages(sheet: pd.DataFrame, thumbnails: Sequence[np.ndarray], path: str | Path, about: About) -> None:
    """Write :func:`pages` as a PDF; same input, same bytes."""
    from matplotlib.backends.backend_pdf import PdfPages

    metadata = {"CreationDate": None, "Title": f"Tissue of {about.dataset}{' (simulated)' * about.simulated}"}
    with atomic(path) as scratch, PdfPages(scratch, metadata=metadata) as document:
        for figure in pages(sheet, thumbnails):
            mark_data(figure, about)
            document.savefig(figure, dpi=200, bbox_inches="tight", pad_inches=0.3)


@styled
def contact_sheet(
    sheet: pd.DataFrame, thumbnails: Sequence[np.ndarray], most: int = 10, title: str = ""
) -> tuple[object, pd.DataFrame]:
    """All slides' thumbnails with tissue outlines on one page; slides with warnings framed and marked.

    ``sheet``: slide, area_mm2, warnings (text, "" for none). ``thumbnails``: square (s, s, 3) uint8, in that order.
    ``most``: slides in a row, at most.
    """
    need_columns(sheet, ["slide", "area_mm2", "warnings"], "tissue records")
    count, side = len(sheet), thumbnails[0].shape[0]
    across = min(count, 6 if count <= 24 else 10, most)
    down = math.ceil(count / across)
    pad, band = round(side * 0.06), round(side * (0.36 if across == 10 else 0.24))
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
        text = f"{'! ' if row.warnings else ''}{row.slide}" + f"\n{row.area_mm2:.1f} mm²"
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
    title = title or f"Tissue of {count} slide{'s' * (count != 1)} (outlined in blue), {len(listed)} with warnings"
    axis.axis("off")
    axis.set(xlim=(-2, canvas.shape[1]), ylim=(canvas.shape[0], -2))
    figure.text(0, 1, title, size=9, weight="bold", va="top")
    if lines:
        figure.text(0, -0.02, "\n".join(lines), size=6.3, va="top", color=COLOURS["chowder"])
    return figure, sheet
