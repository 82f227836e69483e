"""The heat map of a slide: tile scores over its thumbnail, with the lesions and a detail."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from chowder.files import UserError
from chowder.models.names import tile_score
from chowder.report import paper
from chowder.report.figures.style import EXCLUSION_COLOUR, EXCLUSION_DASH, GREY, need_columns, new_figure, styled
from chowder.report.figures.view import View, outline, scale_bar

LESION_LABEL, EXCLUSION_LABEL = "annotated lesion", "excluded from the annotation"


def white_red():
    """White to red, for scores from 0 up."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("white_red", ["#ffffff", "#fcae91", "#ef3b2c", "#a50f15"])


def blue_white_red():
    """Blue through white to red, for scores of either sign."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = ["#08519c", "#4292c6", "#c6dbef", "#ffffff", "#fcae91", "#ef3b2c", "#a50f15"]
    return LinearSegmentedColormap.from_list("blue_white_red", colours)


def tint(view: View, tiles: pd.DataFrame, size: float, colours: np.ndarray) -> np.ndarray:
    """Return the view in grey, its scored tiles multiplied by their colour, so that the tissue shows through.

    ``tiles``: left, top in µm; ``size``: edge in µm; ``colours`` (n, 3) in [0, 1]. Tiles without score are not in
    ``tiles`` and stay uncoloured. Returns (h, w, 3) uint8.
    """
    height, width = view.pixels.shape[:2]
    grey = view.pixels[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    sx, sy = width / (view.box[2] - view.box[0]), height / (view.box[3] - view.box[1])
    lefts, rights = (np.rint((tiles["left"] + add - view.box[0]) * sx).astype(int).clip(0, width) for add in (0, size))
    tops, bottoms = (np.rint((tiles["top"] + add - view.box[1]) * sy).astype(int).clip(0, height) for add in (0, size))
    colour = np.ones((height, width, 3), np.float32)
    scored = np.zeros((height, width), bool)
    for left, right, top, bottom, value in zip(lefts, rights, tops, bottoms, colours, strict=True):
        colour[top:bottom, left:right] = value
        scored[top:bottom, left:right] = True
    # Scored tissue keeps its texture about a light mean: colours stay those of the colour bar, and a low score reads as
    # white, not as the grey of tissue without score.
    middle = float(np.median(grey[scored])) if scored.any() else 0.5
    light = np.where(scored, (0.94 + 0.4 * (grey - middle)).clip(0.6, 1), 0.25 + 0.6 * grey + 0.15 * (grey > 0.9))
    return np.rint(255 * colour * light[..., None]).clip(0, 255).astype(np.uint8)


def detail_box(
    area,
    tiles: pd.DataFrame,
    size: float,
    mpp: float,
    slide: tuple[float, float],
    least: float = 1500,
    most: float = 6000,
) -> tuple[float, float, float, float]:
    """Return the square (µm) around the largest lesion of ``area``, or around the highest tile when there is none.

    1.6 times the lesion's longer side, between ``least`` and ``most`` µm, shifted to lie on the slide.
    """
    if area is not None and not area.is_empty:
        largest = max(getattr(area, "geoms", [area]), key=lambda polygon: polygon.area)
        left, top, right, bottom = (edge * mpp for edge in largest.bounds)
    else:
        top_tile = tiles.loc[tiles["score"].idxmax()]
        left, top = top_tile["left"], top_tile["top"]
        right, bottom = left + size, top + size
    side = min(max(1.6 * max(right - left, bottom - top), least), most, *slide)
    x = min(max((left + right) / 2, side / 2), slide[0] - side / 2)
    y = min(max((top + bottom) / 2, side / 2), slide[1] - side / 2)
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


def full_red(scores: np.ndarray) -> float:
    """Return the score drawn in full red: the 99.5 % quantile over all test slides' tiles; 3 if it is not above 0."""
    quantile = float(np.nanquantile(scores, 0.995)) if np.isfinite(scores).any() else 0.0
    return quantile if quantile > 0 else 3.0


def score_unit(method: str, score: str) -> str:
    """Return what a tile score of a method means, for the colour bar; ``score`` is the config's localisation.score."""
    if not paper.parse(method).r:
        return "logit"
    evidence = tile_score(paper.parse(method).family, score) == "evidence"
    return "change of the logit" if evidence else "mean embedding value"


@styled
def heatmap(
    slide: str,
    method: str,
    view: View,
    tiles: pd.DataFrame,
    extent: float,
    mpp: float,
    area=None,
    scale: str = "score",
    reader: Callable[[tuple[float, float, float, float]], View] | None = None,
    caption: str = "",
    full: float | None = None,
    excluded=None,
    label: int | None = None,
    probability: float | None = None,
    unit: str = "change of the logit",
) -> tuple[object, pd.DataFrame]:
    """Draw a slide, its heat map (white to red) and a detail (blue-white-red) with lesions' outlines in black.

    ``tiles``: x, y (level-0 px), score; ``extent``: tile edge in level-0 px; ``area``: tumour polygons in level-0 px or
    None; ``excluded``: polygons cut out of them, hatched. ``label`` (1: tumour) and predicted ``probability`` of
    the slide are printed under its name. ``scale``: "score" (white at 0; red at ``full``, by default
    :func:`full_red` of the slide) or "rank" (within the slide). ``unit`` of the score. Pass one ``full`` for
    all slides of a method (:func:`full_red`), so that red means the same on each. ``reader`` reads a box in µm at a
    better resolution, for the detail.
    """
    need_columns(tiles, ["x", "y", "score"], f"tile scores of {slide}")
    if tiles.empty or tiles["score"].isna().all():
        raise UserError(f"tile scores of {slide}: no tile has a score; check that the slide has tissue tiles")
    size = extent * mpp
    tiles = tiles.dropna(subset="score").reset_index(drop=True)
    # Corners are stored as whole px; their place on the grid is exact, and neighbours meet without a seam.
    tiles = tiles.assign(left=(tiles["x"] / extent).round() * size, top=(tiles["y"] / extent).round() * size)
    if scale == "rank":
        shown, low, middle, high = tiles["score"].rank(pct=True).to_numpy(), 0.0, 0.5, 1.0
        name = "rank of the tile within the slide"
    elif scale == "score":
        shown, middle = tiles["score"].to_numpy(float), 0.0
        high = full if full is not None else full_red(shown)
        low, name = -high, f"tile score ({unit})"
    else:
        raise UserError(f"heat map scale {scale!r}: unknown; use score or rank")
    ends = (tiles["left"].min(), tiles["top"].min(), tiles["left"].max() + size, tiles["top"].max() + size)
    if area is not None and not area.is_empty:
        bounds = [edge * mpp for edge in area.bounds]
        ends = (min(ends[0], bounds[0]), min(ends[1], bounds[1]), max(ends[2], bounds[2]), max(ends[3], bounds[3]))
    box = detail_box(area, tiles, size, mpp, (view.box[2], view.box[3]), least=6.5 * size)
    ends = (min(ends[0], box[0]), min(ends[1], box[1]), max(ends[2], box[2]), max(ends[3], box[3]))
    margin = max(0.04 * max(ends[2] - ends[0], ends[3] - ends[1]), 0.8 * size)
    overview = view.crop((ends[0] - margin, ends[1] - margin, ends[2] + margin, ends[3] + margin))
    close = _enlarged(reader(box) if reader else view.crop(box), 700)
    if reader and max(overview.pixels.shape) < 700:
        overview = reader(overview.box)
    overview = _enlarged(overview, 500)

    # Three panels in a row for upright slides; the two overviews above each other for wide ones.
    gap, bars, head, title = 0.12, 0.55, 0.2, 0.28
    if overview.aspect <= 1.25:
        height = min(4.2, (7.6 - 2 * gap) / (2 * overview.aspect + 1))
        wide = height * overview.aspect
        total = (2 * wide + height + 2 * gap, bars + height + head + title)
        places = [(0, bars, wide, height), (wide + gap, bars, wide, height), (2 * (wide + gap), bars, height, height)]
    else:
        wide = 4.4
        height = wide / overview.aspect
        detail = min(7.6 - wide - gap, max(2 * height + head + gap, 2.2))
        tall = max(2 * height + head + gap, detail)
        total = (wide + gap + detail, bars + tall + head + title)
        places = [(0, bars + tall - height, wide, height), (0, bars + tall - 2 * height - head - gap, wide, height)]
        places.append((wide + gap, bars + tall - detail, detail, detail))
    figure = new_figure(*total, constrained=False)
    axes = [figure.add_axes((x / total[0], y / total[1], w / total[0], h / total[1])) for x, y, w, h in places]
    red, both = white_red(), blue_white_red()
    share = (shown - middle) / (high - middle)
    pictures = (
        (overview.pixels, overview, "Slide"),
        (tint(overview, tiles, size, red(share.clip(0, 1))[:, :3]), overview, "Tile scores"),
        (tint(close, tiles, size, both((share.clip(-1, 1) + 1) / 2)[:, :3]), close, "Detail"),
    )
    for axis, (pixels, part, title) in zip(axes, pictures, strict=True):
        axis.imshow(pixels, extent=part.extent, interpolation="nearest", interpolation_stage="rgba")
        axis.set(xticks=[], yticks=[], xlim=(part.box[0], part.box[2]), ylim=(part.box[3], part.box[1]), aspect="equal")
        axis.set_title(title, size=8, pad=3, weight="normal")
        axis.grid(False)
        for spine in axis.spines.values():
            spine.set(visible=True, linewidth=0.5, color="#9aa1a9")
        scale_bar(axis, part)
    figure.text(0, 1, f"{slide}, {paper.parse(method).label}", size=9, weight="bold", va="top")
    figure.text(0, 1 - 0.16 / total[1], verdict(label, probability), size=7.5, va="top")
    for axis, width in ((axes[1], 0.7), (axes[2], 1.1)):
        outline(axis, area, mpp, width, excluded)
    _line_legend(figure, area, excluded)
    _frame(axes[1], close.box)
    for place, colours, start in ((places[1], red, middle), (places[2], both, low)):
        bar_width = min(place[2] * 0.86, 2.2)
        left = place[0] + (place[2] - bar_width) / 2
        bar = figure.add_axes((left / total[0], (place[1] - 0.17) / total[1], bar_width / total[0], 0.09 / total[1]))
        _colour_bar(figure, bar, colours, start, high, name, scale)
    lesions = f"{caption}; " if caption else ("" if area is not None and not area.is_empty else "no lesion annotated; ")
    figure.text(
        0,
        -0.005,
        f"{len(tiles):,} tiles scored; {lesions}grey: tissue without score",
        ha="left",
        va="top",
        size=6.5,
        color=GREY,
    )
    inside = (tiles["left"] + size > close.box[0]) & (tiles["left"] < close.box[2])
    inside &= (tiles["top"] + size > close.box[1]) & (tiles["top"] < close.box[3])
    data = pd.DataFrame({"x": tiles["x"], "y": tiles["y"], "score": tiles["score"], "drawn": shown})
    return figure, data.assign(in_detail=inside.astype(int))


def verdict(label: int | None, probability: float | None) -> str:
    """Return the line under a slide's name: ``labelled tumour, predicted probability of tumour 0.745``."""
    words = [] if label is None else [f"labelled {'tumour' if label else 'normal'}"]
    words += [] if probability is None else [f"predicted probability of tumour {probability:.3f}"]
    return ", ".join(words)


def _line_legend(figure, area, excluded) -> None:
    """Say what black and hatched outlines mean, in the figure's upper right corner."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shown = []
    if area is not None and not area.is_empty:
        shown.append(Line2D([], [], color="black", linewidth=1.1, label=LESION_LABEL))
    if excluded is not None and not excluded.is_empty:
        style = {"edgecolor": EXCLUSION_COLOUR, "linestyle": EXCLUSION_DASH, "linewidth": 1.1, "hatch": "/////"}
        shown.append(Patch(fill=False, label=EXCLUSION_LABEL, **style))
    if shown:
        figure.legend(handles=shown, loc="upper right", fontsize=6.5, borderpad=0, borderaxespad=0, labelspacing=0.2)


def _enlarged(view: View, shortest: int) -> View:
    """Return the view with at least ``shortest`` pixels a side: tile borders stay sharp over a coarse thumbnail."""
    from PIL import Image

    factor = math.ceil(shortest / min(view.pixels.shape[:2]))
    if factor <= 1:
        return view
    height, width = view.pixels.shape[:2]
    picture = Image.fromarray(view.pixels).resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    return View(np.asarray(picture), view.box)


def _frame(axes, box: tuple[float, float, float, float]) -> None:
    """Frame the detail in grey on white, which is neither a lesion's nor an exclusion's line."""
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    for colour, width in (("white", 2.2), (GREY, 1.1)):
        axes.add_patch(
            Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=width, zorder=5)
        )


def _colour_bar(figure, axes, colours, low: float, high: float, name: str, scale: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(ScalarMappable(Normalize(low, high), colours), cax=axes, orientation="horizontal")
    ticks = [low, (low + high) / 2, high]
    ends = (f"≤ {low:.3g}", f"≥ {high:.3g}") if scale == "score" else (f"{low:.3g}", f"{high:.3g}")
    bar.set_ticks(ticks, labels=[ends[0].replace("-", "−"), f"{ticks[1]:.3g}", ends[1]])
    bar.ax.tick_params(labelsize=6.5, length=2, pad=1.5)
    bar.set_label(name, size=6.5, labelpad=1)
    bar.outline.set_linewidth(0.4)
