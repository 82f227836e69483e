"""Figures: the CSV beside each holds what was drawn, two runs give the same bytes, simulated data is marked."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from matplotlib.colors import to_hex
from PIL import Image

import figure_auc_r
import figure_curves
import figure_ensemble
import figure_gallery
import figure_heatmap
import figure_split_bias
import figure_tissue
import figure_training
from chowder.evaluation import localisation
from chowder.files import UserError
from chowder.models.names import KINDS
from chowder.report import paper, published
from chowder.report.figures import bands, contact_sheet, curves, experiments, gallery, heatmap, style, view
from chowder.report.table.entry import RATES

METHODS = ["meanpool", "weldon_r10", "chowder_r5"]
PUBLISHED = Path(__file__).resolve().parents[3] / "config/published.csv"
THEIRS = published.read(PUBLISHED)
ABOUT = style.About("demo", True)


def roc_of(name, low=0.1):
    x = np.linspace(0, 1, 6)
    y = x ** (0.3 + 0.1 * METHODS.index(name))
    return pd.DataFrame({"method": name, "fpr": x, "tpr": y, "low": (y - low).clip(0), "high": (y + low).clip(0, 1)})


def froc_of(name):
    fps, sensitivity = np.array([12.0, 5, 1, 0.3, 0]), np.array([0.9, 0.8, 0.5, 0.2, 0]) - 0.05 * METHODS.index(name)
    return pd.DataFrame({"method": name, "fps": fps, "sensitivity": sensitivity.clip(0)})


def values(froc=0.5):
    rows = [
        {
            "method": m,
            "auc": 0.9 - 0.05 * i,
            "auc_low": 0.7,
            "auc_high": 1.0,
            "froc": froc,
            "froc_low": 0.3,
            "froc_high": 0.7,
        }
        for i, m in enumerate(METHODS)
    ]
    return pd.DataFrame(rows)


def all_of(make):
    return pd.concat([make(name) for name in METHODS])


def texts(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


# Curves


def test_curves_csv_is_what_is_drawn():
    figure, data = curves.curves(all_of(roc_of), all_of(froc_of), values())
    for panel, axes in (("roc", figure.axes[0]), ("froc", figure.axes[1])):
        lines = {line.get_gid(): line for line in axes.lines if line.get_gid()}
        assert set(lines) == set(METHODS)
        for name, line in lines.items():
            part = data[(data["panel"] == panel) & (data["method"] == name)]
            assert np.array_equal(line.get_xdata(), part["x"]) and np.array_equal(line.get_ydata(), part["y"])
    band = data[data["low"].notna()]
    assert set(zip(band["panel"], band["method"], strict=True)) == {("roc", "meanpool")}


def test_froc_line_is_linear_in_false_positives_and_flat_beyond_the_end():
    grid, line = curves.froc_grid(), curves.froc_line(np.array([4.0, 2, 1, 0]), np.array([0.8, 0.6, 0.2, 0]))
    for fps, wanted in ((0.25, 0.05), (0.5, 0.1), (1, 0.2), (2, 0.6), (4, 0.8), (8, 0.8)):
        assert line[grid == fps] == pytest.approx(wanted)
    assert np.array_equal(line, curves.froc_line(np.array([0, 1, 2, 4.0]), np.array([0, 0.2, 0.6, 0.8])))


def test_legend_gives_values_with_intervals_highest_first():
    figure, _ = curves.curves(all_of(roc_of), all_of(froc_of), values())
    found = [text for text in texts(figure) if "0." in text and ("CHOWDER" in text or "MeanPool" in text)]
    assert found[0] == "MeanPool   0.900 [0.70, 1.00]"
    assert "CHOWDER R=5   0.800 [0.70, 1.00]" in found


def test_without_froc_or_test_slides_the_panels_say_why():
    figure, data = curves.curves(all_of(roc_of), pd.DataFrame(), values(np.nan), reason="No FROC: no lesion drawn")
    assert "No FROC: no lesion drawn" in texts(figure) and set(data["panel"]) == {"roc"}
    figure, data = curves.curves(pd.DataFrame(), None, values(np.nan).assign(auc=np.nan), no_roc="No ROC: no split")
    assert "No ROC: no split" in texts(figure) and data.empty


def test_missing_column_is_named():
    with pytest.raises(UserError, match="column tpr is missing"):
        curves.curves(all_of(roc_of).drop(columns="tpr"), None, values())


@pytest.fixture
def limits():
    rates = [float(rate) for rate in RATES]
    parts = [pd.DataFrame({"method": name, "fps": rates, "low": 0.1, "high": 0.9}) for name in METHODS]
    return pd.concat(parts, ignore_index=True)


def test_every_method_has_a_panel_with_its_own_band_and_the_others_behind(limits):
    figure, data = bands.bands(all_of(roc_of), all_of(froc_of), values(), limits)
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 2 * len(METHODS)
    names = style.in_table_order(METHODS)
    for place, axes in enumerate(panels):
        kind, name = ("roc", "froc")[place // len(METHODS)], names[place % len(METHODS)]
        own = [line for line in axes.lines if line.get_gid() == name]
        part = data[(data["panel"] == kind) & (data["method"] == name)]
        assert len(own) == 1 and np.array_equal(own[0].get_ydata(), part["y"])
        assert sum(line.get_color() == bands.OTHERS for line in axes.lines) == len(METHODS) - 1
        band = axes.collections[0].get_paths()[0].vertices
        known = part.dropna(subset=["low", "high"])
        assert band[:, 1].min() == pytest.approx(known["low"].min())
        assert band[:, 1].max() == pytest.approx(known["high"].max())
        assert set(known["x"]) == ({float(rate) for rate in RATES} if kind == "froc" else set(part["x"]))
    assert panels[0].get_title(loc="left") == "MeanPool\n0.900 [0.70, 1.00]"


def test_bands_of_what_there_is():
    figure, data = bands.bands(all_of(roc_of), pd.DataFrame(), values(np.nan))
    assert set(data["panel"]) == {"roc"} and sum(bool(axes.lines) for axes in figure.axes) == len(METHODS)
    figure, data = bands.bands(pd.DataFrame(), None, values(np.nan).assign(auc=np.nan))
    assert data.empty and any("no test slides" in text for text in texts(figure))


def test_the_papers_layout_has_our_curves_and_their_numbers_apart(limits):
    theirs = published.lookup(THEIRS, "chowder_r5", 10)
    options = (all_of(roc_of), all_of(froc_of), values(0.42), limits)
    figure, data = bands.paper_layout("chowder_r5", *options, theirs, "demo, SIMULATED slides")
    assert set(data["method"]) == {"chowder_r5"} and set(data["panel"]) == {"roc", "froc"}
    left, right, below = figure.axes
    assert [line.get_gid() for line in left.lines if line.get_gid()] == ["chowder_r5"]
    heights = {line.get_ydata()[0] for line in right.lines if len(set(line.get_ydata())) == 1}
    assert {0.42, 0.3103} <= heights
    cells = {text.get_position(): text.get_text() for text in below.texts}
    ours, papers = ([text for (x, _), text in cells.items() if x == column] for column in (0.24, 0.66))
    assert ours == ["measured here: demo, SIMULATED slides", "0.800 [0.70, 1.00]", "0.420 [0.30, 0.70]"]
    assert papers == ["paper, Camelyon-16, as remembered", "0.858 (E = 10)", "0.3103 (E = 50)"]
    figure, _ = bands.paper_layout("meanpool", all_of(roc_of), None, values(np.nan), None, {}, "x", "No FROC: none")
    assert "No FROC: none" in texts(figure) and "paper: no number for this method" in texts(figure)


# Styles


def test_every_method_of_the_paper_has_a_look_of_its_own():
    names = [*dict.fromkeys(n.method for n in published.of_paper(THEIRS)), "chowder_r5_j4", "chowder_r5_nms"]
    looks = {(style["color"], str(style["linestyle"])) for style in map(style.method_style, names)}
    assert len(looks) == len(names)


MODERN = ["chowder_mlp_r5", "abmil", "abmil_gated", "clam_sb", "dsmil", "transmil", "dtfd"]
#: of colours as deuteranopes and protanopes see them: Machado, Oliveira and Fernandes 2009, severity 1, linear RGB
VISION = {
    "usual": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}


def as_seen(colour, vision):
    """CIE L*a*b* of ``#rrggbb``."""
    from skimage.color import rgb2lab

    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = (np.array(VISION[vision]) @ linear).clip(0, 1)
    return rgb2lab(np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)[None, None])[0, 0]


def distance(one, other, vision):
    """CIEDE2000; below 1 is not seen, 10 is seen at a glance."""
    from skimage.color import deltaE_ciede2000

    return float(deltaE_ciede2000(as_seen(one, vision), as_seen(other, vision)))


@pytest.mark.parametrize("vision", VISION)
def test_the_colour_blind_tell_methods_apart(vision):
    """Methods with the same kind of line differ in colour; families differ in colour whatever their lines."""
    names = ["meanpool", "maxpool", *(f"{kind}_r{r}" for kind in ("weldon", "chowder") for r in (1, 5, 10, 100, 300))]
    names += ["chowder_r5_j4", *MODERN]
    looks = {name: style.method_style(name) for name in names}
    assert {paper.parse(name).family for name in names} == set(KINDS), "every kind of method is looked at"
    for one, other in itertools.combinations(names, 2):
        if str(looks[one]["linestyle"]) == str(looks[other]["linestyle"]):
            assert distance(looks[one]["color"], looks[other]["color"], vision) > 10, (one, other)
    for one, other in itertools.combinations(style.COLOURS.values(), 2):
        assert distance(one, other, vision) > 12
    for name, look in looks.items():
        assert distance(look["color"], "#ffffff", vision) > 20, f"{name} on white"


def test_red_and_green_of_old_traffic_lights_fail_the_colour_blind_check():
    assert distance("#c06050", "#8a8a3a", "usual") > 25 and distance("#c06050", "#8a8a3a", "deuteranopia") < 12


def test_a_methods_look_does_not_depend_on_the_others():
    assert style.method_style("chowder_r5")["color"] == "#d55e00"
    assert style.method_style("weldon_r10") == style.method_style("weldon_r10")
    assert style.method_style("unknown")["color"] in style.OTHER_COLOURS


# AUC against R, ensembles, split bias, training


def bench():
    names = ["meanpool", "weldon_r1", "weldon_r10", "chowder_r1", "chowder_r5", "chowder_r5_j4"]
    auc = np.array([0.6, 0.7, 0.75, 0.8, 0.85, 0.99])
    return pd.DataFrame(
        {
            "encoder": "e",
            "method": names,
            "auc_cv": auc - 0.02,
            "auc_cv_sd": 0.03,
            "auc_test": auc,
            "auc_test_low": auc - 0.1,
            "auc_test_high": auc + 0.05,
        }
    )


def test_auc_against_r_keeps_the_papers_numbers_apart():
    figure, data = experiments.auc_against_r(bench(), THEIRS)
    theirs = data[data["source"] == "paper"]
    for panel in ("cv", "test"):
        part = theirs[theirs["panel"] == panel].set_index("method")["auc"]
        expected = {n: published.lookup(THEIRS, n, 10)[f"paper_auc_{panel}"].value for n in part.index}
        assert part.to_dict() == expected and len(part) == 9
    ours = data[(data["source"] == "ours") & (data["panel"] == "test")].set_index("method")
    assert "chowder_r5_j4" not in ours.index and ours.loc["chowder_r5", "auc"] == 0.85
    assert any(published.label(published.with_r(THEIRS)) in text for text in texts(figure))
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    drawn = sorted(np.concatenate([line.get_ydata() for line in hollow]))
    assert drawn == sorted(theirs.loc[theirs["panel"] == "test", "auc"])
    solid = [
        line
        for line in figure.axes[0].lines
        if line.get_color() == style.COLOURS["chowder"] and line.get_marker() == "o"
    ]
    assert list(solid[0].get_ydata()) == [0.8, 0.85]


def test_points_of_one_r_are_drawn_inside_its_band_and_bands_do_not_touch():
    figure, data = experiments.auc_against_r(bench(), THEIRS)
    known = data.dropna(subset="r")
    half = experiments.band_half_width(known["r"].unique())
    away = np.abs(np.log(known["drawn_at"] / known["r"]) / np.log(half))
    assert (away < 1).all() and (away > 0).all()
    for panel, axes in (("test", figure.axes[0]), ("cv", figure.axes[1])):
        part = known[known["panel"] == panel]
        dots = [line for line in axes.lines if line.get_marker() in ("o", "s") and len(line.get_xdata())]
        drawn = np.concatenate([line.get_xdata() for line in dots])
        assert sorted(drawn) == pytest.approx(sorted(part["drawn_at"]))
        spans = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
        assert len(spans) == part["r"].nunique()
        for point in part.itertuples():
            assert sum(span.x0 < point.drawn_at < span.x1 and span.x0 < point.r < span.x1 for span in spans) == 1
    assert experiments.band_half_width([4, 5]) ** 2 < 5 / 4
    assert experiments.band_half_width([5]) == 1.27


def test_auc_against_r_without_intervals_or_test_split():
    frame = bench().assign(auc_test=np.nan, auc_test_low=np.nan, auc_test_high=np.nan, auc_cv_sd=np.nan)
    figure, data = experiments.auc_against_r(frame)
    assert "not measured here" in texts(figure)
    assert set(data.loc[data["source"] == "ours", "panel"]) == {"cv"}


def sizes(name, count=5):
    members = np.arange(1, count + 1)
    auc = 0.8 - 0.05 / members + 0.02 * METHODS.index(name)
    return pd.DataFrame({"method": name, "members": members, "auc": auc, "low": auc - 0.05, "high": auc + 0.05})


def test_ensemble_csv_is_what_is_drawn():
    figure, data = experiments.ensemble(all_of(sizes).sample(frac=1, random_state=0))
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    for name, part in data.groupby("method"):
        line = lines[paper.parse(name).label]
        assert np.array_equal(line.get_xdata(), part["members"]) and np.array_equal(line.get_ydata(), part["auc"])


def bias():
    rows = [{"split": "competition", "repeat": 0, "auc": 0.7}]
    return pd.DataFrame(rows + [{"split": "random", "repeat": i, "auc": 0.5 + 0.01 * i} for i in range(6)])


def test_split_bias_csv_is_what_is_drawn():
    figure, data = experiments.split_bias(bias(), THEIRS)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata())]
    drawn = np.concatenate([line.get_ydata() for line in dots])
    assert np.array_equal(drawn, data.loc[data["source"] == "ours", "auc"])
    theirs = data[data["source"] == "paper"].set_index("split")["auc"]
    assert theirs.to_dict() == {"competition": 0.75, "random": 0.55}
    assert "paper, Camelyon-16, as remembered" in texts(figure)
    figure, data = experiments.split_bias(bias())
    assert set(data["source"]) == {"ours"} and not any("paper" in text for text in texts(figure))


def losses(name, members=4):
    rows = [
        {
            "method": name,
            "split": "competition",
            "epoch": epoch,
            "member": member,
            "loss": (1 + member) / epoch,
            "undertrained": int(member == 3),
        }
        for epoch in range(1, 6)
        for member in range(members)
    ]
    return pd.DataFrame(rows)


def test_the_band_of_the_best_method_can_be_seen():
    """In the picture: inside the band, away from every line, the colour is told from white; its edges are darker."""
    roc = roc_of("chowder_r5").assign(low=lambda t: t["tpr"] - 0.3, high=lambda t: t["tpr"] + 0.3)
    froc = froc_of("chowder_r5")
    rates = np.array([float(rate) for rate in RATES])
    at = np.interp(rates, froc["fps"][::-1], froc["sensitivity"][::-1])
    limits = pd.DataFrame({"method": "chowder_r5", "fps": rates, "low": at - 0.3, "high": at + 0.3})
    alone = pd.DataFrame(
        [
            {"method": "chowder_r5", "auc": 0.9, "froc": 0.5}
            | dict.fromkeys(["auc_low", "auc_high", "froc_low", "froc_high"], 0.5)
        ]
    )
    figure, data = curves.curves(roc, froc, alone, limits=limits)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    for axes, panel, x in ((figure.axes[0], "roc", 0.31), (figure.axes[1], "froc", 3.9)):
        drawn = data[(data["panel"] == panel) & data["low"].notna()]

        def darkest(y, spread, axes=axes, x=x):
            column, row = axes.transData.transform((x, y))
            row = picture.shape[0] - 1 - round(row)
            return picture[row - spread : row + spread + 1, round(column)].min(axis=1).min()

        low, middle = (np.interp(x, drawn["x"], drawn[column]) for column in ("low", "y"))
        background, inside, edge = darkest(low - 0.06, 0), darkest((low + middle) / 2, 0), darkest(low, 2)
        assert background == 255
        assert inside < 195
        assert edge < inside - 15


def test_a_band_of_no_width_is_said():
    perfect = pd.DataFrame({"method": "chowder_r5", "fpr": [0.0, 0, 1], "tpr": [0.0, 1, 1], "low": 1.0, "high": 1.0})
    figure, _ = curves.curves(perfect, None, values().tail(1))
    assert any("bootstrap interval has no width, CHOWDER R=5" in text for text in texts(figure))


def test_the_froc_band_is_the_interval_printed_at_each_rate(tmp_path):
    """Also where the curve has two corners far apart, between which interpolated limits would be wrong."""
    part = {"score": 0.9, "low": 0.8, "high": 1.0, "sens_at_low": {"0.25": 0.4, "1": 0.9, "8": 1.0, "2": None}}
    part["sens_at_high"] = {"0.25": 1.0, "1": 1.0, "8": 1.0, "2": 1.0}
    limits = pd.DataFrame(figure_curves.sensitivity_limits("chowder_r5", part))
    assert limits.to_numpy().tolist() == [
        ["chowder_r5", 0.25, 0.4, 1],
        ["chowder_r5", 1, 0.9, 1],
        ["chowder_r5", 8, 1, 1],
    ]
    froc = pd.DataFrame({"method": "chowder_r5", "fps": [115.0, 0.3, 0], "sensitivity": [1.0, 1, 0]})
    figure, data = curves.curves(roc_of("chowder_r5"), froc, values().tail(1), limits=limits)
    band = data[(data["panel"] == "froc") & data["low"].notna()]
    assert band[["x", "low", "high"]].to_numpy().tolist() == [[0.25, 0.4, 1], [1, 0.9, 1], [8, 1, 1]]
    edges = [line.get_ydata().tolist() for line in figure.axes[1].lines if len(line.get_xdata()) == 3]
    assert edges == [[0.4, 0.9, 1.0], [1.0, 1.0, 1.0]]


def test_training_csv_is_mean_and_range_of_the_members():
    figure, data = experiments.training(all_of(losses))
    row = data[(data["method"] == "chowder_r5") & (data["epoch"] == 2)].iloc[0]
    assert (row["mean"], row["low"], row["high"], row["members"]) == (1.25, 0.5, 2.0, 4)
    for axes, name in zip(figure.axes, METHODS, strict=False):
        part = data[data["method"] == name]
        assert (
            np.array_equal(axes.lines[0].get_ydata(), part["mean"])
            and axes.get_title("left") == f"{paper.parse(name).label}\n1 of 4 members on the plateau"
        )


# Heat maps, galleries, contact sheets


EXTENT, MPP = 460.9, 0.243  # 224 px of 0.5 µm


def tiles_of(columns=12, rows=8, score=None):
    grid = [(column, row) for row in range(rows) for column in range(columns)]
    x, y = (np.array([int(pair[i] * EXTENT) for pair in grid]) for i in (0, 1))
    score = np.linspace(-2, 2, len(grid)) if score is None else score
    return pd.DataFrame({"x": x, "y": y, "score": np.asarray(score, float)})


def view_of(columns=12, rows=8):
    width, height = int(columns * EXTENT), int(rows * EXTENT)
    pixels = np.full((round(height * MPP / 8), round(width * MPP / 8), 3), 150, np.uint8)
    return view.whole(pixels, width, height, MPP)


def lesion():
    return shapely.MultiPolygon([shapely.box(1000, 1000, 2000, 1800), shapely.box(4000, 500, 4200, 700)])


def test_heat_map_colours_every_scored_tile_by_its_score_and_no_other():
    view, red = view_of(), heatmap.white_red()
    tiles = tiles_of().iloc[:50]
    placed = tiles.assign(
        left=(tiles["x"] / EXTENT).round() * EXTENT * MPP, top=(tiles["y"] / EXTENT).round() * EXTENT * MPP
    )
    share = (tiles["score"] / 2).clip(0, 1).to_numpy()
    picture = heatmap.tint(view, placed, EXTENT * MPP, red(share)[:, :3])
    step = picture.shape[1] / 12
    for index in (0, 20, 49, 60, 95):
        pixel = picture[int((index // 12 + 0.5) * step), int((index % 12 + 0.5) * step)].astype(float) / 255
        if index < 50:
            wanted = np.array(red(share[index])[:3])
            assert np.allclose(pixel / pixel.max(), wanted / wanted.max(), atol=0.02)
        else:
            assert np.ptp(pixel) == 0 and pixel[0] < 0.8


def test_heat_map_leaves_no_seam_between_neighbours():
    view = view_of()
    figure, _ = heatmap.heatmap("s", "chowder_r5", view, tiles_of(score=[3.0] * 96), EXTENT, MPP)
    picture = figure.axes[1].images[0].get_array()
    height, width = picture.shape[:2]
    inner = picture[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4].astype(int)
    assert (inner[..., 0] > inner[..., 2] + 60).all()


def test_heat_map_csv_holds_the_scores_and_the_scale_is_stated():
    tiles = tiles_of()
    figure, data = heatmap.heatmap("test_001", "chowder_r5", view_of(), tiles, EXTENT, MPP, lesion())
    assert np.array_equal(data["score"], tiles["score"]) and np.array_equal(data["drawn"], tiles["score"])
    assert {"≥ 1.98", "≤ 0", "≤ −1.98", "tile score (change of the logit)"} <= set(texts(figure))
    ranked = heatmap.heatmap("s", "meanpool", view_of(), tiles, EXTENT, MPP, scale="rank")
    assert ranked[1]["drawn"].max() == 1 and "rank of the tile within the slide" in texts(ranked[0])


def test_heat_map_panels_have_the_right_aspect_and_lesions_in_place():
    figure, _ = heatmap.heatmap("s", "chowder_r5", view_of(), tiles_of(), EXTENT, MPP, lesion())
    for axes in figure.axes[:3]:
        box = axes.get_position()
        drawn = box.width * figure.get_figwidth() / (box.height * figure.get_figheight())
        assert drawn == pytest.approx(abs(np.diff(axes.get_xlim())[0] / np.diff(axes.get_ylim())[0]), rel=0.02)
    outlines = [collection for collection in figure.axes[1].collections if len(collection.get_segments())]
    assert np.allclose(np.vstack(outlines[0].get_segments()).max(axis=0), np.array([4200, 1800]) * MPP)


def test_heat_map_hatches_exclusions_and_says_so():
    hole = shapely.box(1600, 900, 2500, 1400)  # cuts a corner out of the larger lesion
    area = shapely.difference(lesion(), hole)
    figure, _ = heatmap.heatmap("s", "chowder_r5", view_of(), tiles_of(), EXTENT, MPP, area, excluded=hole)
    for axes in figure.axes[1:3]:
        by_style = {}
        for collection in axes.collections:
            dashed = collection.get_linestyle()[0][1] is not None
            by_style[dashed] = shapely.MultiLineString(list(collection.get_segments()))
            assert to_hex(collection.get_color()[0]) == (style.EXCLUSION_COLOUR.lower() if dashed else "#000000")
        patches = [patch for patch in axes.patches if patch.get_hatch()]
        assert shapely.Polygon(patches[0].get_path().vertices).area == pytest.approx(hole.area * MPP**2)
        assert by_style[True].length == pytest.approx(hole.length * MPP)
        # the lesion's line stops where the exclusion begins: its cut edges are the exclusion's
        cut = (400 + 400) * MPP
        assert by_style[False].length == pytest.approx(area.length * MPP - cut, abs=4 * MPP)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [heatmap.LESION_LABEL, heatmap.EXCLUSION_LABEL]
    plain, _ = heatmap.heatmap("s", "chowder_r5", view_of(), tiles_of(), EXTENT, MPP, lesion())
    assert [text.get_text() for text in plain.legends[0].get_texts()] == [heatmap.LESION_LABEL]
    empty, _ = heatmap.heatmap("s", "chowder_r5", view_of(), tiles_of(), EXTENT, MPP)
    assert not empty.legends and any("no lesion annotated" in text for text in texts(empty))


def test_heat_map_says_label_and_predicted_probability(tmp_path):
    drawn = heatmap.heatmap("s", "chowder_r5", view_of(), tiles_of(), EXTENT, MPP, label=0, probability=0.0421)
    assert "labelled normal, predicted probability of tumour 0.042" in texts(drawn[0])
    path = tmp_path / "p.csv"
    path.write_text("slide,label,probability,member_1\n001,0,0.25,0.25\n1,1,0.75,0.75\n")
    assert figure_heatmap.prediction(path, "1") == (1, 0.75), "names are texts, also where they look like numbers"
    assert figure_heatmap.prediction(path, "001") == (0, 0.25)
    with pytest.raises(UserError, match=r"p\.csv: 0 rows for slide s"):
        figure_heatmap.prediction(path, "s")


def test_a_crop_takes_the_pixels_of_its_box_also_where_they_are_not_square():
    pixels = np.zeros((50, 100, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(100), np.arange(50)[:, None]
    seen = view.View(pixels, (1000.0, 500.0, 1200.0, 700.0))  # 2 µm per px across, 4 µm down
    part = seen.crop((1040.0, 540.0, 1100.0, 620.0))
    assert part.box == (1040.0, 540.0, 1100.0, 620.0) and part.pixels.shape == (20, 30, 3)
    assert part.pixels[0, 0, :2].tolist() == [20, 10] and part.pixels[-1, -1, :2].tolist() == [49, 29]
    assert seen.crop((0.0, 0.0, 9e9, 9e9)).box == seen.box


def test_detail_is_around_the_largest_lesion_or_the_highest_tile():
    tiles = tiles_of().assign(left=lambda t: t["x"] * MPP, top=lambda t: t["y"] * MPP)
    slide = (12 * EXTENT * MPP, 8 * EXTENT * MPP)
    box = heatmap.detail_box(lesion(), tiles, EXTENT * MPP, MPP, slide, least=300)
    assert ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) == pytest.approx((1500 * MPP, 1400 * MPP))
    assert box[2] - box[0] == pytest.approx(1.6 * 1000 * MPP)
    highest = heatmap.detail_box(None, tiles, EXTENT * MPP, MPP, slide, least=300)
    assert highest[2:] == pytest.approx(slide)


def test_heat_map_refuses_a_slide_without_scores_and_an_unknown_scale():
    with pytest.raises(UserError, match="no tile has a score"):
        heatmap.heatmap("s", "chowder_r5", view_of(), tiles_of().iloc[:0], EXTENT, MPP)
    with pytest.raises(UserError, match="unknown; use score or rank"):
        heatmap.heatmap("s", "chowder_r5", view_of(), tiles_of(), EXTENT, MPP, scale="log")


@pytest.mark.parametrize(("width", "length"), [(1000, 200), (900, 200), (4100, 1000), (23000, 5000), (112, 20)])
def test_scale_bars_are_round_and_at_most_a_quarter(width, length):
    assert view.scale_length(width) == length


def test_extremes_are_the_highest_and_lowest_in_order_with_ties_by_place():
    scores = pd.DataFrame({"x": [5, 1, 2, 3], "y": [0, 0, 0, 0], "score": [1.0, 1.0, 3.0, -1.0]})
    found = gallery.extremes(scores, 2)
    assert list(found["x"]) == [2, 1, 3, 5] and list(found["rank"]) == [1, 2, 1, 2]
    assert list(gallery.extremes(scores, 9)["group"]) == ["top"] * 4 + ["bottom"] * 4


def test_gallery_prints_score_and_place_under_every_tile():
    tiles = gallery.in_lesion(gallery.extremes(tiles_of(), 3), lesion(), EXTENT)
    pictures = [np.full((224, 224, 3), 10 * i, np.uint8) for i in range(6)]
    figure, data = gallery.gallery("s", "chowder_r5", tiles, pictures, 5, 112.0)
    for i, row in enumerate(data.itertuples()):
        label = figure.axes[i].get_xlabel()
        assert f"{row.score:.2f}".replace("-", "−") in label and f"({row.x}, {row.y})" in label
        assert (figure.axes[i].images[0].get_array() == 10 * i).all()
    assert any("3 of the R = 5 highest" in text for text in texts(figure))


def test_a_tile_is_in_a_lesion_by_the_place_of_its_detection():
    """Its centre, as the FROC takes it; touching the outline is not enough, and an exclusion is no lesion."""
    area = shapely.difference(lesion(), shapely.box(1600, 1000, 2000, 1800))
    x = np.array([0, 700, 769, 770, 900, 1300, 1369, 1370, 1500, 3000])
    tiles = pd.DataFrame({"x": x, "y": np.full(len(x), 1000), "score": 0.0})
    grid = {"extent": EXTENT, "mpp0": MPP, "size": 224}
    _, centres = localisation.detections(tiles["score"].to_numpy(), tiles[["x", "y"]].to_numpy(), grid)
    by_hand = [int(1000 <= cx <= 1600 and 1000 <= cy <= 1800) for cx, cy in centres.tolist()]
    assert by_hand == [0, 0, 0, 1, 1, 1, 1, 1, 0, 0] or by_hand == [0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    assert list(gallery.in_lesion(tiles, area, EXTENT)["in_lesion"]) == by_hand


def test_thumbnail_outlines_the_mask_and_keeps_the_aspect():
    mask = np.zeros((100, 200), np.uint8)
    mask[20:80, 40:160] = 255
    picture = view.thumbnail(np.full((100, 200, 3), 200, np.uint8), mask, 100)
    blue = (picture == (0, 90, 255)).all(axis=2)
    rows, columns = np.nonzero(blue)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (35, 64, 20, 79)
    assert (picture[:25] == 255).all() and (picture[26:34] == 200).all()


def test_many_slides_get_pages_of_a_readable_size():
    names = [f"slide_{number:03d}" for number in range(80)]
    sheet = pd.DataFrame({"slide": names, "area_mm2": 1.0, "warnings": [""] * 79 + ["pen"]})
    pages = list(contact_sheet.pages(sheet, [np.zeros((30, 30, 3), np.uint8)] * 80))
    assert len(pages) == 3
    shown = [[text for text in texts(page) if text.split("\n")[0].removeprefix("! ") in names] for page in pages]
    assert [len(part) for part in shown] == [36, 36, 8] and "! slide_079" in shown[2][-1]
    assert "slides 73 to 80 of 80" in " ".join(texts(pages[2])) and "slide_079: pen" in " ".join(texts(pages[2]))
    for page in pages[:2]:
        picture = page.axes[0]
        inches = page.get_figwidth() * picture.get_position().width / 6
        assert inches > 1.2  # 30 mm
    whole, _ = contact_sheet.contact_sheet(sheet, [np.zeros((30, 30, 3), np.uint8)] * 80)
    assert whole.get_figwidth() / 10 > 0.7


def test_contact_sheet_marks_warnings():
    sheet = pd.DataFrame({"slide": ["a", "b"], "area_mm2": [1.0, 0.0], "warnings": ["", "no tissue found"]})
    figure, data = contact_sheet.contact_sheet(sheet, [np.zeros((50, 50, 3), np.uint8)] * 2)
    assert (
        data is sheet
        and "b: no tissue found" in texts(figure)
        and any(text.startswith("! b") for text in texts(figure))
    )


# Files


def plots(data, stem):
    """Every script of a plot once, on small files."""
    files = {key: [] for key in ("auc", "froc", "roc-curves", "froc-curves", "sizes", "curves")}

    def put(key, folder, name, text):
        path = data / "e" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        files[key].append(str(path))

    for name in METHODS:
        test = {"auc": 0.8, "low": 0.7, "high": 0.9, "slides": 4, "positives": 2, "by_center": {}}
        put(
            "auc",
            name,
            "auc.json",
            json.dumps({"competition": test, "cv": {"auc_mean": 0.7, "auc_sd": 0.1, "folds": []}}),
        )
        part = {"score": 0.5, "low": 0.4, "high": 0.6, "sens_at": {}}
        put("froc", name, "froc.json", json.dumps({"available": True, "official": part, "lesions": 3, "slides": 4}))
        put("roc-curves", name, "roc_curve.csv", roc_of(name).drop(columns="method").to_csv(index=False))
        put("froc-curves", name, "froc_curve.csv", froc_of(name).drop(columns="method").to_csv(index=False))
        put("sizes", name, "sizes.csv", sizes(name).drop(columns="method").to_csv(index=False))
        put(
            "curves",
            name,
            "competition.csv",
            losses(name)[["epoch", "member", "loss", "undertrained"]].to_csv(index=False),
        )
    (data / "bias.csv").write_text(bias().to_csv(index=False))

    def with_files(*keys):
        return [text for key in keys for text in (f"--{key}", *files[key])]

    methods = ["--methods", *METHODS]
    more = ["--bands-stem", stem("bands")[1], "--layout-stem", stem("layout")[1], "--main", "chowder_r5"]
    more += ["--published", str(PUBLISHED)]
    figure_curves.main([*methods, *with_files("auc", "froc", "roc-curves", "froc-curves"), *stem("curves"), *more])
    figure_auc_r.main([*methods, *with_files("auc"), "--published", str(PUBLISHED), *stem("auc_r")])
    figure_ensemble.main([*methods, *with_files("sizes"), *stem("ensemble")])
    figure_training.main([*methods, *with_files("curves"), *stem("training")])
    figure_split_bias.main(["--bias", str(data / "bias.csv"), "--published", str(PUBLISHED), *stem("split_bias")])


def slide_figures(data, stem):
    """Every script of a picture of slides once."""
    from chowder.slides import describe, tile_table
    from chowder.slides import grid as tiling

    # A plain striped TIFF: what is read must not matter for the figure's layout.
    pyvips = pytest.importorskip("pyvips")
    pixels = np.random.default_rng(0).integers(80, 200, (600, 1000, 3), dtype=np.uint8)
    image = pyvips.Image.new_from_memory(pixels.tobytes(), 1000, 600, 3, "uchar")
    path = data / "s.tif"
    image.tiffsave(
        str(path), tile=True, pyramid=True, compression="jpeg", xres=1000 / 0.25, yres=1000 / 0.25, resunit="cm"
    )
    info = describe.describe(path, 0.25)
    grid = tiling.grid(info)
    table = tiling.tissue_tiles(np.ones((19, 32), bool), (32.0, 32.0), grid)[0]
    tile_table.write(data / "tiles.parquet", table, grid, "s")
    scores = table.to_pandas()[["x", "y"]]
    scores.assign(score=np.linspace(-1, 1, len(scores))).to_parquet(data / "scores.parquet")
    Image.fromarray(pixels[::32, ::32]).save(data / "s.jpg")
    Image.fromarray(np.full((19, 32), 255, np.uint8)).save(data / "s.png")
    record = {
        "slide": "s",
        "width": 1600,
        "height": 1200,
        "mpp": 0.25,
        "area_mm2": 0.12,
        "warnings": ["pen mark left out"],
    }
    (data / "s.json").write_text(json.dumps(record))
    common = ["--slide", "s", "--method", "chowder_r5", "--tiles", str(data / "tiles.parquet")]
    common += ["--scores", str(data / "scores.parquet"), "--annotation"]
    thumb = ["--preview", str(data / "s.jpg"), "--record", str(data / "s.json")]
    (data / "p.csv").write_text("slide,label,probability\ns,1,0.5\n")
    figure_heatmap.main([*common, *thumb, "--predictions", str(data / "p.csv"), *stem("heatmap")])
    figure_gallery.main([*common, "--image", str(path), "--mpp=0.25", *stem("gallery")])
    files = ["--previews", str(data / "s.jpg"), "--masks", str(data / "s.png"), "--records", str(data / "s.json")]
    figure_tissue.main([*files, *stem("tissue"), "--pdf", f"{stem('tissue')[1]}.pdf"])


@pytest.mark.parametrize(("scripts", "count"), [(plots, 7), (slide_figures, 3)])
def test_two_runs_give_the_same_bytes_and_three_files_each(tmp_path, scripts, count):
    data, settings = tmp_path / "data", json.dumps({"dataset": "demo", "simulated": True, "gallery": 2})
    data.mkdir()
    for run in ("one", "two"):
        scripts(data, lambda name, run=run: ["--output-stem", str(tmp_path / run / name), "--settings", settings])
    one, two = (sorted(path.with_suffix("") for path in (tmp_path / run).glob("*.png")) for run in ("one", "two"))
    assert len(one) == count
    for first, second in zip(one, two, strict=True):
        for suffix in (".png", ".svg", ".csv"):
            assert first.with_suffix(suffix).read_bytes() == second.with_suffix(suffix).read_bytes(), (
                first.name + suffix
            )
        if first.with_suffix(".pdf").exists():
            assert first.with_suffix(".pdf").read_bytes() == second.with_suffix(".pdf").read_bytes()
        svg = first.with_suffix(".svg").read_text()
        assert "<dc:date>" not in svg and not re.search(r"xlink:href=\"http", svg)
        assert not pd.read_csv(first.with_suffix(".csv")).empty


def test_pictures_are_200_dpi_and_marked_when_simulated(tmp_path):
    for simulated in (True, False):
        figure, data = experiments.split_bias(bias(), THEIRS)
        stem = tmp_path / f"figure.{simulated}"  # a dot in the name must not be taken for a suffix
        style.save(figure, data, stem, style.About("demo", simulated))
        assert ("simulated slides" in " ".join(texts(figure))) == simulated
        with Image.open(f"{stem}.png") as picture:
            assert picture.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"figure.{simulated}.{suffix}" for simulated in (False, True) for suffix in ("csv", "png", "svg")
    ]


def test_a_users_matplotlib_settings_change_nothing(tmp_path):
    import matplotlib

    written = []
    for size in (8, 20):
        with matplotlib.rc_context({"font.size": size, "axes.facecolor": "red"}):
            style.save(*experiments.split_bias(bias(), THEIRS), tmp_path / f"f{size}", ABOUT)
        written.append((tmp_path / f"f{size}.png").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize(
    "drawing",
    [
        lambda: experiments.auc_against_r(bench(), THEIRS),
        lambda: experiments.ensemble(all_of(sizes)),
        lambda: experiments.split_bias(bias(), THEIRS),
        lambda: experiments.training(all_of(losses)),
    ],
)
def test_legends_outside_the_panels_cover_nothing(tmp_path, drawing):
    figure, data = drawing()
    style.save(figure, data, tmp_path / "f", ABOUT)
    legend = figure.legends[0].get_window_extent()
    for axes in figure.axes:
        assert not legend.overlaps(axes.get_tightbbox())


def test_full_red_is_the_same_for_all_slides_of_a_method():
    scores = np.concatenate([np.zeros(990), np.full(10, 2.5)])
    assert heatmap.full_red(scores) == 2.5
    assert heatmap.full_red(np.r_[scores, np.nan]) == 2.5
    assert heatmap.full_red(-np.ones(5)) == 3.0, "no tile above the mean: nothing is drawn red"
    assert heatmap.full_red(np.array([np.nan])) == 3.0


def test_a_detail_of_a_broken_slide_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"gone\.tif: a detail cannot be read"):
        view.close_up(tmp_path / "gone.tif", 0.5)((0, 0, 100, 100))
