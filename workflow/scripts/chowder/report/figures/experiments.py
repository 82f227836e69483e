"""Figures of the experiments: AUC against R, ensemble size, split bias, training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from chowder.report import paper, published
from chowder.report.figures.style import (
    COLOURS,
    GREY,
    PAPER_GREY,
    in_table_order,
    legend_outside,
    method_style,
    mix_colours,
    need_columns,
    new_figure,
    say_band,
    styled,
)

MARKERS = {"chowder": "o", "weldon": "s"}
#: place of a point in the band of its R, -1 to 1
SLOTS = {("chowder", "paper"): -0.72, ("chowder", "ours"): -0.24, ("weldon", "ours"): 0.24, ("weldon", "paper"): 0.72}
#: split of a published number of the split bias: its name in the data
SPLIT_BIAS = {"test": "competition", "random": "random"}


@styled
def auc_against_r(bench: pd.DataFrame, theirs: Sequence[published.Number] = ()) -> tuple[object, pd.DataFrame]:
    """AUC of CHOWDER and WELDON against R, on the test split and in cross-validation, from benchmark.csv.

    Ours solid with intervals (test: bootstrap; CV: standard deviation over folds); the paper's hollow and grey.
    MeanPool and MaxPool, which have no R, are thin horizontal lines. ``theirs``: published numbers. All points inside a
    grey band have the R of the tick in its middle; they are set apart to be seen, at ``drawn_at`` in the data.
    """
    need_columns(
        bench,
        ["encoder", "method", "auc_cv", "auc_cv_sd", "auc_test", "auc_test_low", "auc_test_high"],
        "benchmark.csv",
    )
    rows, table1 = [], published.with_r(theirs)
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
        for number in table1:
            method = paper.parse(number.method)
            rows.append(
                {
                    "panel": number.split,
                    "source": "paper",
                    "encoder": encoder,
                    "method": number.method,
                    "family": method.family,
                    "r": method.r,
                    "auc": number.value,
                }
            )
    data = pd.DataFrame(rows).dropna(subset="auc")
    data = data[["encoder", "panel", "source", "method", "family", "r", "auc", "low", "high"]].reset_index(drop=True)
    data["low"], data["high"] = data["low"].clip(0, 1), data["high"].clip(0, 1)
    half = band_half_width(data["r"].dropna().unique())
    slots = [SLOTS.get((family, source), 0) for family, source in zip(data["family"], data["source"], strict=True)]
    data["drawn_at"] = data["r"] * np.power(half, slots)
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
            axis.grid(axis="x", visible=False)
            for r in ticks:
                axis.axvspan(r / half, r * half, color="#eceff2", linewidth=0, zorder=0.5)
                axis.axvline(r, color="#c3c8ce", linewidth=0.7, zorder=0.6)
            for name in ("meanpool", "maxpool"):
                flat = part[(part["method"] == name) & (part["source"] == "ours")]
                for auc in flat["auc"]:
                    drawn = axis.axhline(auc, color=COLOURS[name], linewidth=1.2)
                    handles.setdefault(paper.FAMILIES[name], drawn)
            for family in MARKERS:
                papers = part[(part["source"] == "paper") & (part["family"] == family)].sort_values("r")
                drawn = axis.plot(
                    papers["drawn_at"],
                    papers["auc"],
                    linestyle="none",
                    marker=MARKERS[family],
                    markerfacecolor="white",
                    markeredgecolor=PAPER_GREY,
                    markersize=4.6,
                    zorder=2.2,
                )
                if len(papers):
                    handles.setdefault(f"{paper.FAMILIES[family]}: {published.label(table1)}", drawn[0])
                ours = part[(part["source"] == "ours") & (part["family"] == family) & part["r"].notna()].sort_values(
                    "r"
                )
                if ours.empty:
                    continue
                error = np.nan_to_num(np.vstack([ours["auc"] - ours["low"], ours["high"] - ours["auc"]]).clip(0))
                drawn = axis.errorbar(
                    ours["drawn_at"],
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
            axis.set_xlabel("R (highest and lowest tiles kept); a grey band holds the points of one R", size=7)
            if (part["source"] == "ours").sum() == 0:
                axis.text(
                    0.5, 0.03, "not measured here", transform=axis.transAxes, ha="center", color=GREY, style="italic"
                )
        line[0].set_ylabel("AUC")
    legend_outside(figure, "lower center", list(handles.values()), list(handles), ncols=3 if len(handles) > 4 else 2)
    return figure, data


def band_half_width(rs: Sequence[float]) -> float:
    """Return the factor by which a band reaches to both sides of its R; bands of neighbours never touch."""
    nearest = min((high / low for low, high in pairwise(sorted(rs))), default=math.inf)
    return min(1.27, nearest**0.4)


def yerror_safe(error: np.ndarray) -> np.ndarray | None:
    """Error bars, or None when every one is zero (no intervals known)."""
    return error if error.any() else None


@styled
def ensemble(data: pd.DataFrame) -> tuple[object, pd.DataFrame]:
    """AUC against the number of networks averaged; ``data``: method, members, auc and perhaps low, high.

    low and high hold 95 % of the subsets of members of that size (the slides' sampling error is not in them). With up
    to three methods each has its band, with more only the one that ends highest.
    """
    need_columns(data, ["method", "members", "auc"], "ensemble sizes")
    data = data.reindex(columns=["method", "members", "auc", "low", "high"])
    names = in_table_order(list(data["method"]))
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
        say_band(axis, banded, "95 % of the subsets of members")
    legend_outside(figure, "right center", handlelength=3.4, title="highest first", alignment="left")
    return figure, data


@styled
def split_bias(data: pd.DataFrame, theirs: Sequence[published.Number] = ()) -> tuple[object, pd.DataFrame]:
    """How well test slides are told from training slides (AUC), for the given split and for random ones.

    ``data``: split (kind), repeat, auc. Each repeat a dot, the mean a bar; the paper's values, among the published
    numbers ``theirs``, hollow and grey.
    """
    need_columns(data, ["split", "repeat", "auc"], "split bias")
    kinds = sorted(dict.fromkeys(data["split"]), key=lambda kind: (kind != "competition", kind))
    ours = data.assign(source="ours")[["source", "split", "repeat", "auc"]]
    printed = {SPLIT_BIAS[number.split]: number for number in published.of_paper(theirs, "split_bias")}
    papers = pd.DataFrame([{"source": "paper", "split": k, "auc": printed[k].value} for k in kinds if k in printed])
    drawn = pd.concat([ours, papers], ignore_index=True) if len(papers) else ours
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
        if kind in printed:
            y = printed[kind].value
            axis.plot(place + 0.32, y, "D", markerfacecolor="white", markeredgecolor=PAPER_GREY, markersize=6)
            axis.text(place + 0.37, y, f"{y:.2f}", va="center", color=PAPER_GREY)
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
    }
    if printed:
        look = {"marker": "D", "linestyle": "none", "markerfacecolor": "white", "markeredgecolor": PAPER_GREY}
        shown[published.label(list(printed.values()))] = Line2D([], [], **look)
    legend_outside(figure, "lower center", list(shown.values()), list(shown), ncols=3, columnspacing=1.2)
    return figure, drawn


@styled
def training(data: pd.DataFrame) -> tuple[object, pd.DataFrame]:
    """Training loss by epoch: one panel per method, the members' mean as line, their range as band.

    ``data``: method, split, epoch, member, loss, undertrained. The competition split is the solid line with the band;
    the mean of each cross-validation fold is a thin dashed one. Members of the competition split that stayed on the
    plateau are dotted lines, and the panel's title counts them. Panels share both axes; the loss axis is logarithmic
    when it spans more than a factor of 20.
    """
    need_columns(data, ["method", "split", "epoch", "member", "loss", "undertrained"], "training curves")
    grouped = data.groupby(["method", "split", "epoch"], sort=True)
    drawn = grouped["loss"].agg(mean="mean", low="min", high="max", members="count").reset_index()
    drawn["undertrained"] = grouped["undertrained"].sum().to_numpy()
    names = in_table_order(list(drawn["method"]))
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
                    color=mix_colours(colour, "#000000", 0.3),
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
    legend_outside(figure, "upper center", list(handles.values()), list(handles), ncols=3)
    return figure, drawn
