"""What all figures share: colours and line styles of methods, settings, the three files of a figure."""

from __future__ import annotations

import json
import math
import textwrap
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import numpy as np
import pandas as pd

from chowder.files import UserError, atomic, write_text
from chowder.report import paper

GREY, PAPER_GREY = "#5f6670", "#8a8f96"
COLOURS = {"chowder": "#D55E00", "weldon": "#0072B2", "meanpool": "#009E73", "maxpool": "#CC79A7"}
LONG_DASH = (0, (7, 1.8))
#: Later methods: pairs that share a colour have different lines. No two looks come closer for deuteranopes and
#: protanopes than the tests allow.
LOOKS = {
    "chowder_mlp": ("#882255", "-"),
    "abmil": ("#000000", "-"),
    "abmil_gated": ("#000000", LONG_DASH),
    "clam_sb": ("#56B4E9", "-"),
    "dsmil": ("#56B4E9", LONG_DASH),
    "transmil": ("#661100", "-"),
    "dtfd": ("#661100", LONG_DASH),
}
#: CHOWDER with J > 1 has a hue of its own; methods of no known family take turns with these.
J_COLOUR, OTHER_COLOURS = "#E69F00", ("#000000", "#56B4E9", "#882255")
DASHES = (
    (1, (0, (1, 1.1))),
    (5, "-"),
    (10, (0, (5, 1.4))),
    (100, (0, (5, 1.4, 1, 1.4))),
    (300, (0, (3, 1, 1, 1, 1, 1))),
)
RC = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#33383e",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.2,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "svg.hashsalt": "chowder",
    "svg.fonttype": "path",
    "figure.facecolor": "white",
}
EXCLUSION_DASH, EXCLUSION_COLOUR = (0, (2.5, 1.5)), "#0072B2"


@dataclass(frozen=True)
class About:
    """What every figure must say of its data: the dataset's name, and whether the slides are simulated."""

    dataset: str = ""
    simulated: bool = False

    @classmethod
    def of(cls, settings: dict) -> About:
        """Return what a program's settings say of the data set."""
        return cls(str(settings.get("dataset", "")), bool(settings.get("simulated", False)))


def styled(draw: Callable) -> Callable:
    """Run a drawing function under this module's matplotlib settings, whatever the user's own are."""

    @wraps(draw)
    def wrapper(*args, **kwargs):
        import matplotlib

        with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **RC}):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float, constrained: bool = True):
    """Return a figure of width x height inches that no global state knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    return figure


@styled
def save(figure, data: pd.DataFrame, stem: str | Path, about: About) -> None:
    """Write ``stem``.png (200 dpi), .svg and .csv; same input, same bytes. Marks figures of simulated slides."""
    stem = Path(stem)
    if figure.legends:
        # The tight box at saving would move legends that are anchored to the figure's edge: lay out once, then pin.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for legend in figure.legends:
            legend.set_bbox_to_anchor((0, 0, 1, 1), transform=figure.transFigure)
    mark_data(figure, about)
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": None})):
        with atomic(stem.with_name(stem.name + suffix)) as path:
            figure.savefig(path, dpi=200, metadata=metadata, bbox_inches="tight", pad_inches=0.06)
    write_text(stem.with_name(stem.name + ".csv"), data.to_csv(index=False, lineterminator="\n", float_format="%.6g"))


def mark_data(figure, about: About) -> None:
    """Write the data set, and whether its slides are simulated, below the lower edge of a figure."""
    words = [f"dataset {about.dataset}"] if about.dataset else []
    words += ["simulated slides"] if about.simulated else []
    if words:
        # Where nothing else can be: the tight bounding box makes room for it.
        figure.text(1, -0.005, " · ".join(words), ha="right", va="top", size=6.5, style="italic", color=GREY)


def options(description: str | None) -> ArgumentParser:
    """Parse the command line that all figure scripts share: --output-stem and --settings."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--output-stem", required=True, help="written: STEM.png, STEM.svg and STEM.csv")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: dataset, simulated (true/false), ...")
    return parser


def read_csv(path: str | Path, **kinds) -> pd.DataFrame:
    """Read a CSV as frame, empty where the file has nothing in it."""
    try:
        return pd.read_csv(path, dtype=kinds or None)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error}); make it again with its rule") from None


def legend_outside(figure, place: str, handles=None, labels=None, **kwargs):
    """Add a legend outside the axes, for which the layout makes room."""
    entries = () if handles is None else (handles, labels)
    return figure.legend(*entries, loc=f"outside {place}", **kwargs)


def mix_colours(colour: str, other: str, share: float) -> str:
    """Return the colour ``share`` of the way from ``colour`` to ``other`` (``#rrggbb``)."""
    pairs = [(int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def method_style(name: str) -> dict:
    """Colour, line style, width and z-order of a method's line: the same in every figure and on every data set."""
    method = paper.parse(name)
    dash = "-"
    if method.family in COLOURS:
        colour = J_COLOUR if method.j and method.j > 1 else COLOURS[method.family]
    elif method.family in LOOKS:
        colour, dash = LOOKS[method.family]
    else:
        colour = OTHER_COLOURS[sum(name.encode()) % len(OTHER_COLOURS)]
    if method.r:
        position = math.log10(method.r)
        known = [math.log10(r) for r, _ in DASHES]
        dash = DASHES[int(np.argmin([abs(position - k) for k in known]))][1]
        shade = float(np.interp(position, known, [-0.45, 0.0, 0.18, 0.36, 0.5]))
        colour = mix_colours(colour, "#000000" if shade < 0 else "#ffffff", abs(shade))
    if method.extra:
        dash = (0, (2, 2))
    main = method.family == "chowder" and method.r == 5
    return {"color": colour, "linestyle": dash, "linewidth": 2.0 if main else 1.4, "zorder": 3 if main else 2.5}


def method_labels(names: Sequence[str]) -> dict[str, str]:
    """Return the name in figures of each method."""
    return {name: paper.parse(name).label for name in names}


def in_table_order(names: Sequence[str]) -> list[str]:
    """Return the methods, each once, in the order of the table."""
    return sorted(dict.fromkeys(names), key=lambda name: paper.parse(name).order)


def say_in_panel(axes, text: str) -> None:
    """Write a sentence in the middle of an empty panel."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.text(
        0.5,
        0.5,
        textwrap.fill(text, 44),
        ha="center",
        va="center",
        transform=axes.transAxes,
        color=GREY,
        style="italic",
    )


def say_band(axes, names: Sequence[str], what: str = "bootstrap interval") -> None:
    """Say what the band in these axes is, and whose."""
    text = f"band: {what}" + (f", {paper.parse(names[0]).label}" if len(names) == 1 else "")
    axes.text(0.985, 0.02, text, transform=axes.transAxes, ha="right", va="bottom", size=6.5, color=GREY)


def need_columns(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raise UserError when ``frame`` (``what`` names it) lacks one of the columns."""
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        raise UserError(f"{what}: column {absent[0]} is missing; it needs {', '.join(columns)}")
