"""Detections: tile centres, smoothing, non-maximum suppression, the challenge's files."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chowder.evaluation import detections, froc, localisation
from chowder.files import UserError

GRID = {"extent": 460.9, "mpp0": 0.243}


def tiles(columns: int, rows: int, extent: float = 460.9) -> np.ndarray:
    """Upper left corners of a full grid, rounded to whole pixels as in tiles/<slide>.parquet."""
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)
    return np.rint(np.column_stack([x, y]) * extent).astype(np.int32)


def slow_nms(xy, scores, radius):
    """Plain greedy suppression."""
    left = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if math.dist(xy[i], xy[best]) > radius]
    return kept


def slow_smooth(scores, columns, rows, sigma):
    """Plain normalised Gaussian mean over the tiles within 4 sigma in both directions."""
    reach = int(4 * sigma + 0.5)
    out = []
    for c, r in zip(columns, rows, strict=True):
        total = weight = 0.0
        for score, c2, r2 in zip(scores, columns, rows, strict=True):
            if abs(c - c2) <= reach and abs(r - r2) <= reach:
                w = math.exp(-((c - c2) ** 2 + (r - r2) ** 2) / (2 * sigma**2))
                total, weight = total + w * score, weight + w
        out.append(total / weight)
    return out


# -------------------------------------------------------------------------------------------------------- detections


def test_a_detection_lies_in_the_middle_of_its_tile():
    scores, centres = localisation.detections(np.array([0.0, 3.0]), np.array([[0, 0], [461, 922]]), GRID)
    assert centres.tolist() == [[230, 230], [691, 1152]]
    assert scores.tolist() == [0.5, 0.875]


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=50, unique=True))
@settings(max_examples=100, deadline=None)
def test_confidence_keeps_the_order_and_stays_between_0_and_1(scores):
    scores = np.sort(np.array(scores, dtype=np.float32))
    confidence = localisation.confidence_of(scores)
    assert ((confidence > 0) & (confidence < 1)).all()
    apart = np.diff(scores.astype(float)) > 1e-6
    assert (np.diff(confidence)[apart] > 0).all()
    assert (np.diff(confidence) >= 0).all()


def test_raw_scores_are_given_when_asked_for():
    scores, _ = localisation.detections(np.array([-2.5, 7.0]), np.array([[0, 0], [461, 0]]), GRID, confidence=False)
    assert scores.tolist() == [-2.5, 7.0]


def test_smoothing_and_suppression_are_given_in_um():
    rng = np.random.default_rng(0)
    xy, scores = tiles(12, 9), rng.normal(size=108)
    tile_um = GRID["extent"] * GRID["mpp0"]
    smoothed, centres = localisation.detections(scores, xy, GRID, smoothing_um=tile_um, confidence=False)
    columns, rows = localisation.grid_of(xy, GRID["extent"])
    assert smoothed == pytest.approx(slow_smooth(scores, columns, rows, 1.0), abs=1e-9)
    kept, where = localisation.detections(scores, xy, GRID, nms_um=1.5 * tile_um, confidence=False)
    expected = slow_nms(centres, scores, 1.5 * GRID["extent"])
    assert kept.tolist() == scores[expected].tolist()
    assert where.tolist() == centres[expected].tolist()


def test_no_tile_gives_no_detection(tmp_path):
    none = np.zeros((0, 2), np.int32)
    scores, centres = localisation.detections(np.zeros(0), none, GRID, smoothing_um=100, nms_um=100)
    assert (scores.shape, centres.shape) == ((0,), (0, 2))
    detections.write_detections(tmp_path / "a.csv", scores, centres)
    assert (tmp_path / "a.csv").read_bytes() == b""
    assert detections.read_detections(tmp_path / "a.csv").shape == (0, 3)


@pytest.mark.parametrize(
    ("scores", "grid", "more", "words"),
    [
        ([1.0], GRID, {}, "2 tiles with scores"),
        ([1.0, np.nan], GRID, {}, "NaN"),
        ([1.0, 2.0], {}, {}, "extent"),
        ([1.0, 2.0], {"extent": 461}, {"nms_um": 5}, "mpp0"),
        ([1.0, 2.0], GRID, {"nms_um": -5}, "nms_um is -5"),
    ],
)
def test_bad_input_is_refused(scores, grid, more, words):
    with pytest.raises(UserError, match=words):
        localisation.detections(np.array(scores), np.array([[0, 0], [461, 0]]), grid, **more)


# --------------------------------------------------------------------------------------------------------- smoothing


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.3])
def test_smoothing_equals_the_plain_version_on_ragged_tissue(sigma):
    rng = np.random.default_rng(3)
    chosen = rng.random(15 * 20) < 0.5
    rows, columns = (axis.ravel()[chosen] + 7 for axis in np.mgrid[:15, :20])
    scores = rng.normal(size=len(rows))
    expected = slow_smooth(scores, columns, rows, sigma)
    assert localisation.smooth(scores, columns, rows, sigma) == pytest.approx(expected, abs=1e-12)


def test_smoothing_keeps_a_constant_and_a_lonely_tile():
    columns, rows = np.array([0, 1, 2, 50]), np.array([0, 0, 0, 50])
    assert localisation.smooth(np.full(4, 0.7), columns, rows, 2.0) == pytest.approx([0.7] * 4)
    assert localisation.smooth(np.array([0, 0, 0, 1.0]), columns, rows, 2.0)[3] == pytest.approx(1)
    assert localisation.smooth(np.array([1.0, 2, 3, 4]), columns, rows, 0).tolist() == [1, 2, 3, 4]


# ------------------------------------------------------------------------------------------------------- suppression


@pytest.mark.parametrize("seed", range(10))
def test_suppression_equals_the_plain_version(seed):
    rng = np.random.default_rng(seed)
    xy = rng.integers(0, 40, (150, 2)) if seed % 2 else rng.random((150, 2)) * 40
    scores = np.round(rng.random(150), 1)  # ties
    radius = float(rng.choice([0.5, 3.0, 5.0, 100.0]))
    assert localisation.non_maximum_suppression(xy, scores, radius).tolist() == slow_nms(xy, scores, radius)


def test_suppression_leaves_no_two_within_the_radius_and_is_fast():
    rng = np.random.default_rng(0)
    xy, scores = tiles(200, 150), rng.random(30_000)
    started = time.process_time()
    kept = localisation.non_maximum_suppression(xy, scores, 1000.0)
    assert time.process_time() - started < 5
    from scipy.spatial import KDTree

    assert not KDTree(xy[kept]).query_pairs(1000.0)
    assert (np.diff(scores[kept]) <= 0).all()


def test_no_radius_keeps_all_best_first():
    order = localisation.non_maximum_suppression(np.zeros((3, 2)), np.array([0.1, 0.9, 0.5]), 0)
    assert order.tolist() == [1, 2, 0]


# ------------------------------------------------------------------------------------------------------------- files


def test_files_keep_every_digit_and_have_no_header(tmp_path):
    rng = np.random.default_rng(0)
    scores, xy = rng.random(500), rng.integers(0, 200_000, (500, 2))
    detections.write_detections(tmp_path / "a.csv", scores, xy)
    back = detections.read_detections(tmp_path / "a.csv")
    assert np.array_equal(back, np.column_stack([scores, xy]))
    first = (tmp_path / "a.csv").read_text().splitlines()[0].split(",")
    assert [float(first[0]), int(first[1]), int(first[2])] == [scores[0], *xy[0]]


@pytest.mark.parametrize(
    "text", ["0.5,10,20\n0.25,30,40", "\ufeff0.5,10,20\r\n0.25,30,40\r\n", "0.5, 10, 20\n\n0.25,30.0,40\n\n"]
)
def test_usual_variants_are_read(tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert detections.read_detections(tmp_path / "a.csv").tolist() == [[0.5, 10, 20], [0.25, 30, 40]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("score,x,y\n0.5,1,2\n", "line 1: 'score,x,y' is not three numbers .a header"),
        ("0.5,1,2\n0.5,1\n", "line 2: 2 columns"),
        ("0.5,1,2\n0.5,1,2,3\n", "line 2: 4 columns"),
        ("0.5;1;2\n", "line 1: 1 columns"),
        ("0.5,1,2\n\nnan,1,2\n", "line 3: .* NaN"),
        ("0.5,inf,2\n", "line 1: .* infinite"),
        ("0.5,1,2\n0.5,-1,2\n", "line 2: negative coordinate"),
        ("0.5,1,\n", "line 1: .* not three numbers"),
    ],
)
def test_bad_files_are_refused_with_file_and_line(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=words) as error:
        detections.read_detections(tmp_path / "a.csv")
    assert "a.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        detections.read_detections(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("scores", "xy"), [([np.nan], [[1, 1]]), ([0.5], [[-1, 1]]), ([np.inf], [[1, 1]]), ([0.5, 0.6], [[1, 1]])]
)
def test_bad_detections_are_not_written(tmp_path, scores, xy):
    with pytest.raises(UserError, match=r"a\.csv"):
        detections.write_detections(tmp_path / "a.csv", np.array(scores), np.array(xy))
    assert not list(tmp_path.iterdir())


FIELD = st.floats().map(str) | st.integers().map(str) | st.text("0123456789eE+-._x \t\"'", max_size=8)


@given(
    st.lists(st.lists(FIELD, max_size=4).map(",".join), max_size=6).map("\n".join).map(str.encode)
    | st.binary(max_size=60)
)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path, content):
    path = tmp_path / "fuzz.csv"
    path.write_bytes(content)
    try:
        table = detections.read_detections(path)
    except UserError as error:
        assert "fuzz.csv" in str(error)
        assert "\n" not in str(error)
        return
    assert np.isfinite(table).all()
    assert froc.hits(None, table, "fuzz").detections == len(table)
