"""The figures: every one as PNG (200 dpi), SVG and the CSV of the numbers it was drawn from.

Drawing functions take frames and arrays, return a matplotlib ``Figure`` and the drawn data; :func:`save` writes the
three files. A method has one colour and line style in all figures: Okabe-Ito hue by family, lightness and dashes by R.
Figures of simulated slides carry a mark that says so; the paper's numbers are hollow and grey.
"""

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

from chowder import paper
from chowder.files import UserError, atomic, write_text
from chowder.table import RATES

GREY, PAPER_GREY = "#5f6670", "#8a8f96"
COLOURS = {"chowder": "#D55E00", "weldon": "#0072B2", "meanpool": "#009E73", "maxpool": "#CC79A7"}
#: CHOWDER with J > 1 has a hue of its own; methods of no known family take turns with the rest of Okabe-Ito.
J_COLOUR, OTHER_COLOURS = "#E69F00", ("#000000", "#56B4E9", "#B09A00")
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
PAPER_LABEL = "paper, Camelyon-16, as remembered"
LESION_LABEL, EXCLUSION_LABEL = "annotated lesion", "excluded from the annotation"
EXCLUSION_DASH = (0, (2.5, 1.5))


@dataclass(frozen=True)
class About:
    """What every figure must say of its data: the dataset's name, and whether the slides are simulated."""

    dataset: str = ""
    simulated: bool = False

    @classmethod
    def of(cls, settings: dict) -> About:
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
    """A figure of width x height inches that no global state knows of."""
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
    words = [f"dataset {about.dataset}"] if about.dataset else []
    words += ["simulated slides"] if about.simulated else []
    if words:
        # Below the figure's lower edge, where nothing else can be: the tight bounding box makes room for it.
        figure.text(1, -0.005, " · ".join(words), ha="right", va="top", size=6.5, style="italic", color=GREY)
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": None})):
        with atomic(stem.with_name(stem.name + suffix)) as path:
            figure.savefig(path, dpi=200, metadata=metadata, bbox_inches="tight", pad_inches=0.06)
    write_text(stem.with_name(stem.name + ".csv"), data.to_csv(index=False, lineterminator="\n", float_format="%.6g"))


def options(description: str | None) -> ArgumentParser:
    """The command line that all figure scripts share: --output-stem and --settings."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--output-stem", required=True, help="written: STEM.png, STEM.svg and STEM.csv")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: dataset, simulated (true/false), ...")
    return parser


def read_csv(path: str | Path, **kinds) -> pd.DataFrame:
    """A CSV as frame, empty where the file has nothing in it."""
    try:
        return pd.read_csv(path, dtype=kinds or None)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error}); make it again with its rule") from None


def _outside(figure, place: str, handles=None, labels=None, **kwargs):
    """A legend outside the axes, for which the layout makes room."""
    entries = () if handles is None else (handles, labels)
    return figure.legend(*entries, loc=f"outside {place}", **kwargs)


# Colours and line styles of methods ---------------------------------------------------------------------------------


def _mix(colour: str, other: str, share: float) -> str:
    pairs = [(int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def method_style(name: str) -> dict:
    """Colour, line style, width and z-order of a method's line: the same in every figure and on every data set."""
    method = paper.parse(name)
    if method.family in COLOURS:
        colour = J_COLOUR if method.j and method.j > 1 else COLOURS[method.family]
    else:
        colour = OTHER_COLOURS[sum(name.encode()) % len(OTHER_COLOURS)]
    dash = "-"
    if method.r:
        position = math.log10(method.r)
        known = [math.log10(r) for r, _ in DASHES]
        dash = DASHES[int(np.argmin([abs(position - k) for k in known]))][1]
        shade = float(np.interp(position, known, [-0.45, 0.0, 0.18, 0.36, 0.5]))
        colour = _mix(colour, "#000000" if shade < 0 else "#ffffff", abs(shade))
    if method.extra:
        dash = (0, (2, 2))
    main = method.family == "chowder" and method.r == 5
    return {"color": colour, "linestyle": dash, "linewidth": 2.0 if main else 1.4, "zorder": 3 if main else 2.5}


def _labels(names: Sequence[str]) -> dict[str, str]:
    return {name: paper.parse(name).label for name in names}


def _sorted(names: Sequence[str]) -> list[str]:
    return sorted(dict.fromkeys(names), key=lambda name: paper.parse(name).order)


def _say(axes, text: str) -> None:
    """A sentence in the middle of an empty panel."""
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


def _band(axes, names: Sequence[str], what: str = "bootstrap interval") -> None:
    """Say what the band in these axes is, and whose."""
    text = f"band: {what}" + (f", {paper.parse(names[0]).label}" if len(names) == 1 else "")
    axes.text(0.985, 0.02, text, transform=axes.transAxes, ha="right", va="bottom", size=6.5, color=GREY)


def _interval_band(axes, name: str, curve: pd.DataFrame, what: str) -> None:
    """Fill between ``low`` and ``high`` of a method's curve (x, low, high), with both edges drawn, and say whose it is.

    The edges keep a narrow band, or one of a pale colour, apart from the background. A band without any width says so.
    """
    colour, curve = method_style(name)["color"], curve.dropna(subset=["low", "high"])
    x, low, high = (curve[column].to_numpy(float) for column in ("x", "low", "high"))
    if not (high - low > 1e-9).any():
        _band(axes, [name], f"{what} has no width")
        return
    axes.fill_between(x, low, high, alpha=0.28, linewidth=0, zorder=1.5, color=colour)
    for edge in (low, high):
        axes.plot(x, edge, color=colour, linewidth=0.8, alpha=0.75, zorder=1.6)
    _band(axes, [name], what)


def _need(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        raise UserError(f"{what}: column {absent[0]} is missing; it needs {', '.join(columns)}")


def estimate(value, low=None, high=None) -> str:
    """``0.912 [0.85, 0.96]``, without the interval where it is not known; n/a without a value."""
    if value is None or pd.isna(value):
        return "n/a"
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return f"{value:.3f}"
    return f"{value:.3f} [{low:.2f}, {high:.2f}]"


# Curves -------------------------------------------------------------------------------------------------------------


def froc_grid() -> np.ndarray:
    """False positives per slide at which FROC curves are drawn: 1/8 to 16, even on a log scale, with the six rates."""
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
    names = _sorted(list(values["method"]))
    label, known = _labels(names), values.set_index("method")
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
        _say(left, no_roc or "No ROC: there are no test slides")
    else:
        _need(roc, ["method", "fpr", "tpr"], "ROC curves")
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
        _say(right, reason or "No FROC: the slides have no lesion annotations")
    else:
        _need(froc, ["method", "fps", "sensitivity"], "FROC curves")
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


# AUC against R, ensemble size, split bias, training -----------------------------------------------------------------

MARKERS = {"chowder": "o", "weldon": "s"}


@styled
def auc_against_r(bench: pd.DataFrame) -> tuple[object, pd.DataFrame]:
    """AUC of CHOWDER and WELDON against R, on the test split and in cross-validation, from benchmark.csv.

    Ours solid with intervals (test: bootstrap; CV: standard deviation over folds); the paper's hollow and grey.
    MeanPool and MaxPool, which have no R, are thin horizontal lines.
    """
    _need(
        bench,
        ["encoder", "method", "auc_cv", "auc_cv_sd", "auc_test", "auc_test_low", "auc_test_high"],
        "benchmark.csv",
    )
    rows = []
    for _, row in bench.iterrows():
        method = paper.parse(row["method"])
        if method.extra or method.j:
            continue
        common = {"encoder": row["encoder"], "method": row["method"], "family": method.family, "r": method.r}
        sd = row["auc_cv_sd"]
        rows.append(
            {
                "panel": "test",
                "source": "ours",
                **common,
                "auc": row["auc_test"],
                "low": row["auc_test_low"],
                "high": row["auc_test_high"],
            }
        )
        rows.append(
            {
                "panel": "cv",
                "source": "ours",
                **common,
                "auc": row["auc_cv"],
                "low": row["auc_cv"] - sd,
                "high": row["auc_cv"] + sd,
            }
        )
    for encoder in dict.fromkeys(bench["encoder"]):
        for name, (cv, test) in paper.TABLE1.items():
            method = paper.parse(name)
            if method.r:
                for panel, auc in (("test", test), ("cv", cv)):
                    rows.append(
                        {
                            "panel": panel,
                            "source": "paper",
                            "encoder": encoder,
                            "method": name,
                            "family": method.family,
                            "r": method.r,
                            "auc": auc,
                        }
                    )
    data = pd.DataFrame(rows).dropna(subset="auc")
    data = data[["encoder", "panel", "source", "method", "family", "r", "auc", "low", "high"]].reset_index(drop=True)
    data["low"], data["high"] = data["low"].clip(0, 1), data["high"].clip(0, 1)
    encoders = list(dict.fromkeys(bench["encoder"]))
    figure = new_figure(7.6, 3.1 * len(encoders) + 0.5)
    axes = figure.subplots(len(encoders), 2, squeeze=False, sharey=True)
    ticks = sorted({int(r) for r in data["r"].dropna()})
    handles: dict[str, object] = {}
    for line, encoder in zip(axes, encoders, strict=True):
        for panel, title, axis in (("test", "Test split", line[0]), ("cv", "Cross-validation", line[1])):
            part = data[(data["encoder"] == encoder) & (data["panel"] == panel)]
            axis.set_title(title + (f", {encoder}" if len(encoders) > 1 else ""))
            axis.axhline(0.5, color=PAPER_GREY, linewidth=0.7, linestyle=(0, (2, 2)))
            for name in ("meanpool", "maxpool"):
                flat = part[(part["method"] == name) & (part["source"] == "ours")]
                for auc in flat["auc"]:
                    drawn = axis.axhline(auc, color=COLOURS[name], linewidth=1.2)
                    handles.setdefault(paper.FAMILIES[name], drawn)
            for family, shift, away in (("chowder", 0.95, 0.83), ("weldon", 1.05, 1.2)):
                theirs = part[(part["source"] == "paper") & (part["family"] == family)].sort_values("r")
                drawn = axis.plot(
                    theirs["r"] * away,
                    theirs["auc"],
                    linestyle="none",
                    marker=MARKERS[family],
                    markerfacecolor="white",
                    markeredgecolor=PAPER_GREY,
                    markersize=4.6,
                    zorder=2.2,
                )
                handles.setdefault(f"{paper.FAMILIES[family]}: {PAPER_LABEL}", drawn[0])
                ours = part[(part["source"] == "ours") & (part["family"] == family) & part["r"].notna()].sort_values(
                    "r"
                )
                if ours.empty:
                    continue
                error = np.nan_to_num(np.vstack([ours["auc"] - ours["low"], ours["high"] - ours["auc"]]).clip(0))
                drawn = axis.errorbar(
                    ours["r"] * shift,
                    ours["auc"],
                    yerror_safe(error),
                    marker=MARKERS[family],
                    color=COLOURS[family],
                    capsize=2.5,
                    elinewidth=1,
                    markersize=5,
                    zorder=3,
                )
                handles.setdefault(f"{paper.FAMILIES[family]}: ours", drawn)
            axis.set_xscale("log")
            axis.set_xticks(ticks, [str(tick) for tick in ticks])
            axis.minorticks_off()
            axis.set_xlabel("R (highest and lowest tiles kept)")
            if (part["source"] == "ours").sum() == 0:
                axis.text(
                    0.5, 0.03, "not measured here", transform=axis.transAxes, ha="center", color=GREY, style="italic"
                )
        line[0].set_ylabel("AUC")
    _outside(figure, "lower center", list(handles.values()), list(handles), ncols=3 if len(handles) > 4 else 2)
    return figure, data


def yerror_safe(error: np.ndarray) -> np.ndarray | None:
    """Error bars, or None when every one is zero (no intervals known)."""
    return error if error.any() else None


@styled
def ensemble(data: pd.DataFrame) -> tuple[object, pd.DataFrame]:
    """AUC against the number of networks averaged; ``data``: method, members, auc and perhaps low, high.

    low and high hold 95 % of the subsets of members of that size (the slides' sampling error is not in them). With up
    to three methods each has its band, with more only the one that ends highest.
    """
    _need(data, ["method", "members", "auc"], "ensemble sizes")
    data = data.reindex(columns=["method", "members", "auc", "low", "high"])
    names = _sorted(list(data["method"]))
    data = pd.concat([data[data["method"] == name].sort_values("members") for name in names], ignore_index=True)
    last = data.groupby("method")["auc"].last()
    banded = names if len(names) <= 3 else [last.idxmax()]
    figure = new_figure(6.4, 3.4 if len(names) <= 12 else 3.9)
    axis = figure.subplots()
    for name in sorted(names, key=lambda name: -last[name]):
        part, style = data[data["method"] == name], method_style(name)
        axis.plot(part["members"], part["auc"], marker="o", markersize=3, label=paper.parse(name).label, **style)
        if name in banded and part["low"].notna().any():
            axis.fill_between(part["members"], part["low"], part["high"], color=style["color"], alpha=0.13, linewidth=0)
    axis.set(title="AUC against ensemble size", xlabel="networks averaged", ylabel="AUC, test split")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_ylim(top=min(axis.get_ylim()[1], 1.01))
    if data["low"].notna().any():
        _band(axis, banded, "95 % of the subsets of members")
    _outside(figure, "right center", handlelength=3.4, title="highest first", alignment="left")
    return figure, data


@styled
def split_bias(data: pd.DataFrame) -> tuple[object, pd.DataFrame]:
    """How well test slides are told from training slides (AUC), for the given split and for random ones.

    ``data``: split (kind), repeat, auc. Each repeat a dot, the mean a bar; the paper's values hollow and grey.
    """
    _need(data, ["split", "repeat", "auc"], "split bias")
    kinds = sorted(dict.fromkeys(data["split"]), key=lambda kind: (kind != "competition", kind))
    ours = data.assign(source="ours")[["source", "split", "repeat", "auc"]]
    theirs = pd.DataFrame(
        [{"source": "paper", "split": k, "auc": paper.SPLIT_BIAS[k]} for k in kinds if k in paper.SPLIT_BIAS]
    )
    drawn = pd.concat([ours, theirs], ignore_index=True) if len(theirs) else ours
    figure = new_figure(4.6, 3.5)
    axis = figure.subplots()
    axis.axhline(0.5, color=PAPER_GREY, linewidth=0.7, linestyle=(0, (2, 2)))
    axis.text(len(kinds) - 0.52, 0.503, "chance", color=GREY, size=6.5, ha="right", va="bottom")
    colours = {"competition": COLOURS["chowder"]}
    for place, kind in enumerate(kinds):
        values = ours.loc[ours["split"] == kind, "auc"].to_numpy(float)
        colour = colours.get(kind, COLOURS["weldon"])
        # A fixed spread, not a random one: same data, same picture.
        spread = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * 0.3 if len(values) > 1 else np.zeros(1)
        axis.plot(place + spread, values, "o", color=colour, alpha=0.65, markersize=4, markeredgewidth=0)
        axis.plot([place - 0.22, place + 0.22], [values.mean()] * 2, color=colour, linewidth=2.2, solid_capstyle="butt")
        axis.text(place - 0.25, values.mean(), f"{values.mean():.2f}", ha="right", va="center", color=colour)
        if kind in paper.SPLIT_BIAS:
            theirs_y = paper.SPLIT_BIAS[kind]
            axis.plot(place + 0.32, theirs_y, "D", markerfacecolor="white", markeredgecolor=PAPER_GREY, markersize=6)
            axis.text(place + 0.37, theirs_y, f"{theirs_y:.2f}", va="center", color=PAPER_GREY)
    names = {"competition": "given split\n(train / test)", "random": "random splits\nof the same sizes"}
    axis.set_xticks(range(len(kinds)), [names.get(kind, kind) for kind in kinds])
    axis.set(
        xlim=(-0.5, len(kinds) - 0.5),
        ylabel="AUC: is this slide in the test set?",
        title="Split bias (MeanPool features)",
    )
    axis.grid(axis="x", visible=False)
    axis.margins(y=0.12)
    from matplotlib.lines import Line2D

    shown = {
        "ours, one repeat": Line2D([], [], color=GREY, marker="o", linestyle="none", markersize=4),
        "ours, mean": Line2D([], [], color=GREY, linewidth=2.2),
        PAPER_LABEL: Line2D([], [], marker="D", linestyle="none", markerfacecolor="white", markeredgecolor=PAPER_GREY),
    }
    _outside(figure, "lower center", list(shown.values()), list(shown), ncols=3, columnspacing=1.2)
    return figure, drawn


@styled
def training(data: pd.DataFrame) -> tuple[object, pd.DataFrame]:
    """Training loss by epoch: one panel per method, the members' mean as line, their range as band.

    ``data``: method, split, epoch, member, loss, undertrained. The competition split is the solid line with the band;
    the mean of each cross-validation fold is a thin dashed one. Members of the competition split that stayed on the
    plateau are dotted lines, and the panel's title counts them. Panels share both axes; the loss axis is logarithmic
    when it spans more than a factor of 20.
    """
    _need(data, ["method", "split", "epoch", "member", "loss", "undertrained"], "training curves")
    grouped = data.groupby(["method", "split", "epoch"], sort=True)
    drawn = grouped["loss"].agg(mean="mean", low="min", high="max", members="count").reset_index()
    drawn["undertrained"] = grouped["undertrained"].sum().to_numpy()
    names = _sorted(list(drawn["method"]))
    across = min(len(names), 4 if len(names) > 6 else 3)
    down = math.ceil(len(names) / across)
    figure = new_figure(min(7.6, 2.6 * across + 1.2), 1.75 * down + 0.75)
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    handles: dict[str, object] = {}
    finite = drawn[["low", "high"]].to_numpy(float)
    log = finite.min() > 0 and finite.max() / finite.min() > 20
    for axis, name in zip(axes.flat, names, strict=False):
        colour = method_style(name)["color"]
        part = drawn[drawn["method"] == name]
        splits = list(dict.fromkeys(part["split"]))
        main = "competition" if "competition" in splits else splits[0]
        for split in sorted(splits, key=lambda split: split == main):
            line = part[part["split"] == split]
            if split == main:
                band = axis.fill_between(line["epoch"], line["low"], line["high"], color=colour, alpha=0.2, linewidth=0)
                solid = axis.plot(line["epoch"], line["mean"], color=colour, linewidth=1.6)[0]
                handles |= {"mean of members": handles.get("mean of members", solid)}
                handles |= {"lowest to highest member": handles.get("lowest to highest member", band)}
            else:
                thin = axis.plot(
                    line["epoch"],
                    line["mean"],
                    color=_mix(colour, "#000000", 0.3),
                    linewidth=0.8,
                    linestyle=(0, (4, 1.5)),
                )[0]
                handles.setdefault("mean, cross-validation folds", thin)
        last = part[part["split"] == main].iloc[-1]
        stayed = data[(data["method"] == name) & (data["split"] == main) & (data["undertrained"] == 1)]
        for _, line in stayed.groupby("member"):
            dotted = axis.plot(line["epoch"], line["loss"], color="black", linewidth=0.7, linestyle=":")[0]
            handles.setdefault("members on the plateau", dotted)
        count = f"\n{last['undertrained']} of {last['members']} members on the plateau" if len(stayed) else ""
        axis.set_title(paper.parse(name).label + count, size=8)
        if log:
            axis.set_yscale("log")
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    for column in range(across):
        # The lowest panel of each column carries the numbers, also where the last row is not full.
        lowest = axes[(len(names) - 1 - column) // across, column]
        lowest.tick_params(labelbottom=True)
        lowest.xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("epoch", size=8)
    figure.supylabel("training loss" + (" (log scale)" if log else ""), size=8)
    _outside(figure, "upper center", list(handles.values()), list(handles), ncols=3)
    return figure, drawn


# Heat maps ----------------------------------------------------------------------------------------------------------

MICRON = "µm"


@dataclass(frozen=True)
class View:
    """A picture of a part of a slide: ``pixels`` (h, w, 3) uint8 covering ``box`` = left, top, right, bottom in µm."""

    pixels: np.ndarray
    box: tuple[float, float, float, float]

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """The box in matplotlib's order, y pointing down."""
        return self.box[0], self.box[2], self.box[3], self.box[1]

    @property
    def aspect(self) -> float:
        return (self.box[2] - self.box[0]) / (self.box[3] - self.box[1])

    def crop(self, box: tuple[float, float, float, float], longest: int = 1600) -> View:
        """The part inside ``box`` (µm, clipped to the view), made no longer than ``longest`` pixels."""
        from PIL import Image

        height, width = self.pixels.shape[:2]
        sx, sy = (self.box[2] - self.box[0]) / width, (self.box[3] - self.box[1]) / height
        left, right = (round((box[i] - self.box[0]) / sx) for i in (0, 2))
        top, bottom = (round((box[i] - self.box[1]) / sy) for i in (1, 3))
        left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
        right, bottom = max(min(right, width), left + 1), max(min(bottom, height), top + 1)
        kept = (self.box[0] + left * sx, self.box[1] + top * sy, self.box[0] + right * sx, self.box[1] + bottom * sy)
        part = Image.fromarray(self.pixels[top:bottom, left:right])
        shrink = max(part.size) / longest
        if shrink > 1:
            part = part.resize([max(1, round(side / shrink)) for side in part.size], Image.Resampling.BOX)
        return View(np.asarray(part), kept)


def whole(pixels: np.ndarray, width: int, height: int, mpp: float) -> View:
    """The view of a whole slide from its thumbnail; ``width`` and ``height`` at level 0."""
    return View(np.asarray(pixels)[..., :3], (0.0, 0.0, width * mpp, height * mpp))


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
    """The view in grey, its scored tiles multiplied by their colour, so that the tissue shows through.

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


def outline(axes, area, mpp: float, linewidth: float = 0.9, excluded=None) -> None:
    """Draw the outlines of a shapely (Multi)Polygon in level-0 px as black lines on axes in µm.

    ``excluded``: what was cut out of it, drawn dashed; where ``area`` ends at an exclusion the line is dashed too.
    """
    import shapely
    from matplotlib.collections import LineCollection

    def draw(lines, **style) -> None:
        parts = [shapely.get_coordinates(part) * mpp for part in shapely.get_parts(lines) if part.length]
        if parts:
            axes.add_collection(LineCollection(parts, colors="black", zorder=4, **style), autolim=False)

    solid = shapely.boundary(area) if area is not None else shapely.MultiLineString()
    if excluded is not None and not excluded.is_empty:
        dashed = shapely.boundary(excluded)
        # cutting moved corners by less than a pixel, so the common line is told by distance
        solid = shapely.difference(solid, shapely.buffer(dashed, 0.5))
        draw(dashed, linewidths=linewidth, linestyles=[EXCLUSION_DASH])
    draw(solid, linewidths=linewidth)


def scale_length(width: float) -> int:
    """A round length in µm, about a fifth to a half... of ``width`` µm: 1, 2 or 5 times a power of ten."""
    wanted = max(width / 4, 1)
    power = 10 ** math.floor(math.log10(wanted))
    return int(max(step * power for step in (1, 2, 5) if step * power <= wanted))


def scale_bar(axes, view: View) -> None:
    """A scale bar with its length in µm in the view's lower left corner."""
    from matplotlib.patches import Rectangle

    width, height = view.box[2] - view.box[0], view.box[3] - view.box[1]
    length = scale_length(width)
    x, y = view.box[0] + 0.04 * width, view.box[3] - 0.04 * height
    thick = 0.012 * max(height, width)
    halo = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.2}
    axes.add_patch(
        Rectangle((x, y - thick), length, thick, facecolor="black", edgecolor="white", linewidth=0.5, zorder=6)
    )
    axes.text(x, y - 1.6 * thick, f"{length:,} {MICRON}", ha="left", va="bottom", size=6.5, zorder=6, bbox=halo)


def detail_box(
    area,
    tiles: pd.DataFrame,
    size: float,
    mpp: float,
    slide: tuple[float, float],
    least: float = 1500,
    most: float = 6000,
) -> tuple[float, float, float, float]:
    """The square (µm) around the largest lesion of ``area``, or around the highest tile when there is none.

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
    """The score drawn in full red: the 99.5 % quantile over the tiles of all test slides; 3 if that is not positive."""
    quantile = float(np.nanquantile(scores, 0.995)) if np.isfinite(scores).any() else 0.0
    return quantile if quantile > 0 else 3.0


def score_unit(method: str, score: str) -> str:
    """Return what a tile score of a method means, for the colour bar; ``score`` is the config's localisation.score."""
    if not paper.parse(method).r:
        return "logit"
    if score == "auto":
        score = "embedding" if method.startswith("weldon") else "evidence"
    return "change of the logit" if score == "evidence" else "mean embedding value"


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
    """A slide, its heat map (white to red) and a detail (blue-white-red) with the lesions' outlines in black.

    ``tiles``: x, y (level-0 px), score; ``extent``: tile edge in level-0 px; ``area``: tumour polygons in level-0 px or
    None; ``excluded``: polygons cut out of them, drawn dashed. ``label`` (1: tumour) and predicted ``probability`` of
    the slide are printed under its name. ``scale``: "score" (white at 0; red at ``full``, by default
    :func:`full_red` of the slide) or "rank" (within the slide). ``unit`` of the score. Pass one ``full`` for
    all slides of a method (:func:`full_red`), so that red means the same on each. ``reader`` reads a box in µm at a
    better resolution, for the detail.
    """
    _need(tiles, ["x", "y", "score"], f"tile scores of {slide}")
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
    """What solid and dashed outlines mean, in the figure's upper right corner."""
    from matplotlib.lines import Line2D

    shown = []
    if area is not None and not area.is_empty:
        shown.append(Line2D([], [], color="black", linewidth=1.1, label=LESION_LABEL))
    if excluded is not None and not excluded.is_empty:
        shown.append(Line2D([], [], color="black", linewidth=1.1, linestyle=EXCLUSION_DASH, label=EXCLUSION_LABEL))
    if shown:
        figure.legend(handles=shown, loc="upper right", fontsize=6.5, borderpad=0, borderaxespad=0, labelspacing=0.2)


def _enlarged(view: View, shortest: int) -> View:
    """The view with at least ``shortest`` pixels a side: tile borders stay sharp over a coarse thumbnail."""
    from PIL import Image

    factor = math.ceil(shortest / min(view.pixels.shape[:2]))
    if factor <= 1:
        return view
    height, width = view.pixels.shape[:2]
    picture = Image.fromarray(view.pixels).resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    return View(np.asarray(picture), view.box)


def _frame(axes, box: tuple[float, float, float, float]) -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    axes.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="#0072B2", linewidth=0.9, zorder=5)
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


def close_up(image: str | Path, mpp: float, longest: int = 900) -> Callable[[tuple[float, float, float, float]], View]:
    """A function that reads a box (µm) of a slide at no more than about ``longest`` px a side."""

    def read(box: tuple[float, float, float, float]) -> View:
        import openslide

        with openslide.OpenSlide(str(image)) as slide:
            side = max(box[2] - box[0], box[3] - box[1]) / mpp
            level = slide.get_best_level_for_downsample(max(1.0, side / longest))
            down = slide.level_downsamples[level]
            size = [max(1, round((box[i + 2] - box[i]) / mpp / down)) for i in (0, 1)]
            rgba = np.asarray(slide.read_region((round(box[0] / mpp), round(box[1] / mpp)), level, size)).astype(
                np.float32
            )
        alpha = rgba[..., 3:] / 255
        pixels = np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
        return View(pixels, box).crop(box, longest)

    return read


def in_lesion(tiles: pd.DataFrame, area, extent: float) -> pd.DataFrame:
    """Return ``tiles`` with ``in_lesion`` (0/1): whether the tile's centre is in the tumour ``area`` (level-0 px).

    The centre is where the FROC puts the tile's detection (``localisation.detections``). The outline is taken as it is;
    the FROC also counts a detection up to 37.5 µm outside it (``froc.label_lesions``).
    """
    import shapely

    x, y = (np.floor(tiles[axis].to_numpy(float) + extent / 2) for axis in ("x", "y"))
    return tiles.assign(in_lesion=shapely.intersects_xy(area, x, y).astype(int))


# Gallery and contact sheet ------------------------------------------------------------------------------------------


def extremes(scores: pd.DataFrame, count: int) -> pd.DataFrame:
    """The ``count`` highest and lowest tiles: group (top, bottom), rank, x, y, score; ties by position on the slide."""
    _need(scores, ["x", "y", "score"], "tile scores")
    ordered = scores.sort_values(["score", "y", "x"], ascending=[False, True, True], kind="stable")
    count = min(count, len(ordered))
    top = ordered.head(count).assign(group="top", rank=range(1, count + 1))
    bottom = ordered.tail(count)[::-1].assign(group="bottom", rank=range(1, count + 1))
    return pd.concat([top, bottom], ignore_index=True)[["group", "rank", "x", "y", "score"]]


@styled
def gallery(slide: str, method: str, tiles: pd.DataFrame, pictures: Sequence[np.ndarray], r: int | None, edge: float):
    """The highest and lowest tiles of a slide with score and place (level-0 px of the upper left corner).

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


def thumbnail(preview: np.ndarray, mask: np.ndarray, side: int) -> np.ndarray:
    """A preview fitted into a white square of ``side`` px, the outline of its tissue mask drawn in blue."""
    from PIL import Image
    from scipy.ndimage import binary_dilation, binary_erosion

    picture = Image.fromarray(np.asarray(preview)[..., :3])
    shrink = side / max(picture.size)
    size = [max(1, round(length * shrink)) for length in picture.size]
    small = np.asarray(picture.resize(size, Image.Resampling.BOX)).copy()
    inside = (
        np.asarray(Image.fromarray((np.asarray(mask) > 0).astype(np.uint8) * 255).resize(size, Image.Resampling.BOX))
        > 96
    )
    edge = inside & ~binary_erosion(inside)
    if side > 200:
        edge = binary_dilation(edge)
    small[edge] = (0, 90, 255)
    canvas = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas


@styled
def contact_sheet(sheet: pd.DataFrame, thumbnails: Sequence[np.ndarray]) -> tuple[object, pd.DataFrame]:
    """All slides' thumbnails with tissue outlines on one page; slides with warnings framed and marked.

    ``sheet``: slide, area_mm2, warnings (text, "" for none). ``thumbnails``: square (s, s, 3) uint8, in that order.
    """
    _need(sheet, ["slide", "area_mm2", "warnings"], "tissue records")
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
