"""The tiles with the highest and the lowest scores of a slide."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from chowder.report import paper
from chowder.report.figures.style import need_columns, new_figure, styled
from chowder.report.figures.view import MICRON, scale_length


def in_lesion(tiles: pd.DataFrame, area, extent: float) -> pd.DataFrame:
    """Return ``tiles`` with ``in_lesion`` (0/1): whether the tile's centre is in the tumour ``area`` (level-0 px).

    The centre is where the FROC puts the tile's detection (``localisation.detections``). The outline is taken as it is;
    the FROC also counts a detection up to 37.5 µm outside it (``lesions.label_lesions``).
    """
    import shapely

    x, y = (np.floor(tiles[axis].to_numpy(float) + extent / 2) for axis in ("x", "y"))
    return tiles.assign(in_lesion=shapely.intersects_xy(area, x, y).astype(int))


def extremes(scores: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the ``count`` highest and lowest tiles: group (top, bottom), rank, x, y, score; ties by position."""
    need_columns(scores, ["x", "y", "score"], "tile scores")
    ordered = scores.sort_values(["score", "y", "x"], ascending=[False, True, True], kind="stable")
    count = min(count, len(ordered))
    top = ordered.head(count).assign(group="top", rank=range(1, count + 1))
    bottom = ordered.tail(count)[::-1].assign(group="bottom", rank=range(1, count + 1))
    return pd.concat([top, bottom], ignore_index=True)[["group", "rank", "x", "y", "score"]]


@styled
def gallery(slide: str, method: str, tiles: pd.DataFrame, pictures: Sequence[np.ndarray], r: int | None, edge: float):
    """Draw the highest and lowest tiles of a slide with score and place (level-0 px of the upper left corner).

    ``tiles``: rows of :func:`extremes`, perhaps with ``in_lesion`` (0/1); ``pictures``: their pixels, (h, w, 3) uint8
    each; ``r``: the method's R, of which the first ones are shown, None without R; ``edge``: a tile's edge in µm.
    """
    groups = [("top", "#a50f15", "highest"), ("bottom", "#08519c", "lowest")]
    count = int((tiles["group"] == "top").sum())
    down = math.ceil(count / 6)
    across = math.ceil(count / down)
    cell, text, head, gap = 7.6 / max(across, 4) - 0.08, 0.3, 0.3, 0.08
    total = (across * (cell + gap) - gap, 2 * (head + down * (cell + text)))
    figure = new_figure(*total, constrained=False)
    for part, (group, colour, word) in enumerate(groups):
        rows = tiles[tiles["group"] == group]
        start = total[1] - part * (head + down * (cell + text)) - head
        kept = f"the {count} {word} tiles" if r is None else f"the R = {r} {word} tiles"
        kept = f"{count} of {kept}" if r is not None and count < r else kept
        title = f"{slide}, {paper.parse(method).label}: {kept}" if part == 0 else kept[0].upper() + kept[1:]
        figure.text(0, (start + 0.07) / total[1], title, size=9, weight="bold", color=colour, va="bottom")
        for place, (index, row) in enumerate(rows.iterrows()):
            x, y = place % across * (cell + gap), start - place // across * (cell + text) - cell
            axis = figure.add_axes((x / total[0], y / total[1], cell / total[0], cell / total[1]))
            picture = pictures[index]
            axis.imshow(picture, interpolation="nearest", interpolation_stage="rgba")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            for spine in axis.spines.values():
                spine.set(visible=True, linewidth=1.4, color=colour)
            lesion = "  in lesion" if row.get("in_lesion", 0) == 1 else ""
            axis.set_xlabel(
                f"{row['rank']}:  {row['score']:.2f}{lesion}\n({row['x']}, {row['y']})".replace("-", "−"),
                size=6.3,
                labelpad=2,
                linespacing=1.25,
            )
            if part == 0 and place == 0:
                pixels = picture.shape[1]
                length = scale_length(edge)
                axis.plot(
                    [pixels * 0.06, pixels * (0.06 + length / edge)],
                    [pixels * 0.93] * 2,
                    color="black",
                    linewidth=2.4,
                    solid_capstyle="butt",
                )
                axis.text(
                    pixels * (0.06 + length / edge / 2),
                    pixels * 0.9,
                    f"{length} {MICRON}",
                    ha="center",
                    va="bottom",
                    size=5.8,
                    bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
                )
                axis.set(xlim=(-0.5, pixels - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    return figure, tiles
