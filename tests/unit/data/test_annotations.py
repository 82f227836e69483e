"""Annotations: groups, repaired outlines, clipping, refusals, the level-5 mask, and what is written for viewers."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chowder.data import polygons
from chowder.data.annotations import Outline, read_asap, tumor_mask, write_asap
from chowder.files import UserError
from chowder.report import export
from shared_data import REASON, SHARED

REAL = sorted(SHARED.glob("*/annotations/*.xml")) if SHARED else []
needs_shared = pytest.mark.skipif(SHARED is None, reason=REASON)
SQUARE = np.array([[0, 0], [100, 0], [100, 100], [0, 100]], dtype=float)
BOW_TIE = np.array([[0, 0], [100, 100], [100, 0], [0, 100]], dtype=float)


def written(path, *outlines: tuple[str, np.ndarray]):
    """An ASAP file with one outline per (group, points)."""
    write_asap(path, [Outline(f"p{i}", group, points) for i, (group, points) in enumerate(outlines)])
    return path


def inside_by_loops(points: np.ndarray, x: float, y: float) -> bool:
    """Even-odd rule, one edge at a time."""
    odd = False
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) > x:
            odd = not odd
    return odd


# ------------------------------------------------------------------------------------------------------------ groups


@pytest.mark.parametrize("group", ["_0", "_1", "Tumor", "tumor", "TUMOR", "Metastases"])
def test_tumour_groups_count_whatever_their_case(tmp_path, group):
    assert read_asap(written(tmp_path / "a.xml", (group, SQUARE))).tumor.area == 10_000


@pytest.mark.parametrize("group", ["_2", "Exclusion", "exclusion", "None"])
def test_exclusions_are_cut_out(tmp_path, group):
    result = read_asap(written(tmp_path / "a.xml", (group, SQUARE * 0.5 + 10), ("Tumor", SQUARE)))
    assert result.tumor.area == 10_000 - 2_500
    assert [(outline.name, outline.group) for outline in result.polygons] == [("p0", group), ("p1", "Tumor")]
    assert result.warnings == []


def test_an_unknown_group_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.xml: polygon 'p1' is in the unknown group 'Stroma'"):
        read_asap(written(tmp_path / "a.xml", ("Tumor", SQUARE), ("Stroma", SQUARE)))


def test_overlapping_tumour_outlines_count_once(tmp_path):
    result = read_asap(written(tmp_path / "a.xml", ("_0", SQUARE), ("_1", SQUARE + np.array([50, 0]))))
    assert result.tumor.area == 15_000


def test_a_tumour_wholly_inside_an_exclusion_is_warned_of(tmp_path):
    result = read_asap(written(tmp_path / "a.xml", ("Tumor", SQUARE), ("_2", SQUARE * 2)))
    assert result.tumor.is_empty
    assert "'p0' lies wholly inside an exclusion" in result.warnings[0]


def test_a_file_with_exclusions_only_is_warned_of(tmp_path):
    """ASAP calls an outline without a group None: a whole annotation may be lost that way."""
    result = read_asap(written(tmp_path / "a.xml", ("None", SQUARE)))
    assert result.tumor.is_empty
    assert "no polygon in a tumour group" in result.warnings[0]


# ------------------------------------------------------------------------------------------------------------ repair


def test_a_bow_tie_keeps_both_wings(tmp_path):
    """A buffer of 0, the usual repair, would drop one."""
    result = read_asap(written(tmp_path / "a.xml", ("Tumor", BOW_TIE)))
    assert result.tumor.is_valid
    assert result.tumor.area == pytest.approx(5_000)
    assert result.repaired == ["p0"]
    assert result.warnings == []


def test_an_area_enclosed_twice_is_outside_by_the_even_odd_rule():
    twice = np.concatenate([SQUARE, SQUARE * 0.5 + 25])  # a square, then a smaller one inside, same direction
    shape, error, mended = polygons.even_odd(twice)
    assert mended
    assert error < 0.01
    assert not shape.contains(shapely.Point(60, 40))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=14))
@settings(max_examples=80, deadline=None)
def test_repaired_area_is_the_even_odd_area_for_any_outline(points):
    points = np.array(points, dtype=float)
    if len(np.unique(points, axis=0)) < 3:
        return
    shape, error, _ = polygons.even_odd(points)
    assert shape.is_valid
    assert error < 0.01
    x, y = (axis.ravel() for axis in np.mgrid[0:20:1.0, 0:20:1.0])
    x, y = x + 0.4371, y + 0.6113  # clear of nearly all edges between whole numbers
    mine = shapely.contains_xy(shape, x, y)
    theirs = np.array([inside_by_loops(points, *point) for point in zip(x, y, strict=True)])
    assert (mine != theirs).sum() <= 1


def even_odd_face_by_face(points: np.ndarray):
    """The same area the slow way: every face of the noded outline asked on its own, then one union."""
    faces = shapely.get_parts(shapely.polygonize([shapely.union_all([shapely.LinearRing(points)])]))
    places = [shapely.get_coordinates(face.point_on_surface())[0] for face in faces]
    return shapely.union_all(
        [face for face, place in zip(faces, places, strict=True) if inside_by_loops(points, *place)]
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", ["anywhere", "on a grid", "twice round", "curls"])
def test_repair_gives_the_same_shape_as_face_by_face(seed, kind):
    rng = np.random.default_rng(seed)
    if kind == "on a grid":  # edges that overlap, vertices on other edges
        points = rng.integers(0, 7, (int(rng.integers(4, 30)), 2)).astype(float)
    elif kind == "curls":  # loops inside loops: cells that touch themselves
        t = np.linspace(0, 2 * np.pi, 200, endpoint=False)
        waves = 1 + rng.uniform(1.2, 3) * np.cos(int(rng.integers(1, 9)) * t)
        points = 1000 * waves[:, None] * np.column_stack([np.cos(t), np.sin(t)]) + 5000
    else:
        points = rng.uniform(0, 10_000, (int(rng.integers(4, 50)), 2))
        points = np.concatenate([points, points[:-2]]) if kind == "twice round" else points
    shape, error, _ = polygons.even_odd(points)
    slow = even_odd_face_by_face(points)
    assert shape.is_valid
    assert error < 0.01
    assert shape.area == pytest.approx(slow.area, rel=1e-9, abs=1e-6)
    assert shapely.symmetric_difference(shape, slow).area <= 1e-9 * max(slow.area, 1)


def test_an_outline_of_400_random_points_costs_little_more_than_its_crossings(tmp_path):
    """0.4 s on one quiet core, of which 0.12 s to find 18,000 crossings; face by face it took 50 times the latter."""
    points = np.random.default_rng(0).uniform(0, 10_000, (400, 2))
    path = written(tmp_path / "a.xml", ("Tumor", points))
    ratios = []
    for _ in range(3):
        started = time.process_time()
        shapely.union_all([shapely.LinearRing(points)])
        crossings = time.process_time() - started
        result = read_asap(path)
        ratios.append((time.process_time() - started - crossings) / crossings)
    assert result.repaired == ["p0"]
    assert result.tumor.area == pytest.approx(polygons.even_odd_area(points, 20_000), rel=1e-4)
    assert min(ratios) < 10


def test_outlines_united_by_pairs_are_the_union_of_all():
    rng = np.random.default_rng(1)
    for count in (0, 1, 2, 3, 7, 20):
        shapes = [polygons.even_odd(rng.uniform(0, 1000, (6, 2)) + rng.uniform(0, 3000, 2))[0] for _ in range(count)]
        mine, theirs = polygons.union(shapes), shapely.union_all(shapes)
        assert mine.area == pytest.approx(theirs.area, rel=1e-12)
        assert shapely.symmetric_difference(mine, theirs).area == pytest.approx(0, abs=1e-6)


def test_even_odd_area_of_known_shapes():
    assert polygons.even_odd_area(SQUARE) == pytest.approx(10_000)
    assert polygons.even_odd_area(BOW_TIE) == pytest.approx(5_000, rel=1e-6)
    assert polygons.even_odd_area(np.array([[0, 0], [5, 0], [9, 0]], float)) == 0


def test_a_repair_that_misses_the_area_is_warned_of(tmp_path, monkeypatch):
    monkeypatch.setattr(polygons, "even_odd_area", lambda points: 6_000.0)
    result = read_asap(written(tmp_path / "a.xml", ("Tumor", BOW_TIE)))
    assert "polygon 'p0' crosses itself and its repaired area is 16.7 % off" in result.warnings[0]


@pytest.mark.parametrize("points", [np.zeros((0, 2)), SQUARE[:2], SQUARE[[0, 1, 0, 1]]])
def test_fewer_than_three_points_are_ignored_with_a_warning(tmp_path, points):
    result = read_asap(written(tmp_path / "a.xml", ("Tumor", points), ("Tumor", SQUARE)))
    assert result.tumor.area == 10_000
    assert "polygon 'p0' has fewer than 3 points" in result.warnings[0]


def test_points_on_a_line_enclose_nothing(tmp_path):
    flat = np.array([[0, 0], [5, 5], [9, 9]], dtype=float)
    result = read_asap(written(tmp_path / "b.xml", ("Tumor", flat)))
    assert result.tumor.is_empty
    assert "encloses no area" in result.warnings[0]


def test_what_lies_outside_the_slide_is_clipped_with_a_warning(tmp_path):
    path = written(tmp_path / "a.xml", ("Tumor", SQUARE - [20, 0]))
    assert read_asap(path).tumor.area == 10_000
    result = read_asap(path, size=(70, 50))
    assert result.tumor.bounds == (0, 0, 70, 50)
    assert "leaves the slide (70 x 50): 65.0 % of its area clipped" in result.warnings[0]
    assert read_asap(written(tmp_path / "b.xml", ("Tumor", SQUARE)), size=(100, 100)).warnings == []


# ---------------------------------------------------------------------------------------------------------- refusals

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]>'
    "<ASAP_Annotations>&y;</ASAP_Annotations>"
)
EXTERNAL = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><ASAP_Annotations>&x;</ASAP_Annotations>'
DTD = '<!DOCTYPE ASAP_Annotations SYSTEM "http://localhost/a.dtd"><ASAP_Annotations/>'


@pytest.mark.parametrize("text", [BOMB, EXTERNAL, DTD])
def test_bombs_external_entities_and_dtds_are_refused(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(UserError, match=r"a\.xml: refused") as error:
        read_asap(tmp_path / "a.xml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an XML file"),
        (b"slide,label\n", "not an XML file"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not an XML file"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "not an XML file"),
        (b"<ASAP_Annotations><Annotations>", "not an XML file"),
        (b"<html/>", "root element is <html>"),
    ],
)
def test_what_is_no_asap_xml_is_named(tmp_path, content, words):
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_asap(tmp_path / "a.xml")
    assert "a.xml" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.xml: no such file"):
        read_asap(tmp_path / "none.xml")


def document(*coordinates: str) -> str:
    inner = "".join(f"<Coordinate {text} />" for text in coordinates)
    shape = (
        f'<Annotation Name="lesion" Type="Polygon" PartOfGroup="Tumor"><Coordinates>{inner}</Coordinates></Annotation>'
    )
    return f"<ASAP_Annotations><Annotations>{shape}</Annotations></ASAP_Annotations>"


@pytest.mark.parametrize("bad", ['X="nan" Y="1"', 'X="inf" Y="1"', 'X="a" Y="1"', 'Y="1"', 'X="1e300" Y="1"'])
def test_a_coordinate_that_is_no_position_is_named(tmp_path, bad):
    (tmp_path / "a.xml").write_text(document('X="0" Y="0"', bad, 'X="5" Y="5"'))
    with pytest.raises(UserError, match="polygon 'lesion', coordinate 1"):
        read_asap(tmp_path / "a.xml")


def test_points_are_taken_in_their_order_and_decimal_commas_are_read(tmp_path):
    corners = [
        'Order="2" X="10,5" Y="10"',
        'Order="0" X="0" Y="0"',
        'Order="3" X="0" Y="10"',
        'Order="1" X="10,5" Y="0"',
    ]
    (tmp_path / "a.xml").write_text(document(*corners))
    result = read_asap(tmp_path / "a.xml")
    assert result.tumor.area == 105
    assert result.repaired == []


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_make_the_reader_fail_otherwise_than_in_one_line(tmp_path, content):
    path = tmp_path / "fuzz.xml"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_asap(path)
    assert "fuzz.xml" in str(error.value)


NUMBER = st.floats(width=32).map(str) | st.integers(-(10**6), 10**6).map(str) | st.text("0123456789.,-e", max_size=6)


@given(st.lists(st.tuples(NUMBER, NUMBER, st.none() | NUMBER), max_size=8), st.sampled_from(["Tumor", "_2", "x", ""]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_coordinates_make_the_reader_fail_otherwise_than_in_one_line(tmp_path, points, group):
    inner = "".join(
        f'<Coordinate X="{x}" Y="{y}"' + ("" if order is None else f' Order="{order}"') + "/>" for x, y, order in points
    )
    path = tmp_path / "fuzz.xml"
    path.write_text(f'<ASAP_Annotations><Annotation PartOfGroup="{group}">{inner}</Annotation></ASAP_Annotations>')
    try:
        result = read_asap(path, size=(1000, 1000))
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert result.tumor.is_valid
    assert tumor_mask(result, 1000, 1000).shape == (32, 32)


# -------------------------------------------------------------------------------------------------------------- mask


def test_mask_follows_the_pixel_centre_rule_on_random_shapes():
    rng = np.random.default_rng(0)
    for _ in range(25):
        shape, _, _ = polygons.even_odd(rng.uniform(-100, 1200, (int(rng.integers(3, 12)), 2)))
        hole, _, _ = polygons.even_odd(rng.uniform(0, 1000, (4, 2)))
        shape = polygons.polygonal(shapely.difference(shape, hole))
        mask = tumor_mask(shape, 1000, 900, 32)
        assert mask.shape == (29, 32)
        y, x = (np.mgrid[:29, :32] + 0.5) * 32
        assert np.array_equal(mask, shapely.contains_xy(shape, x, y))


def test_an_edge_through_pixel_centres_belongs_to_the_left_and_upper_side():
    mask = tumor_mask(shapely.MultiPolygon([shapely.box(16, 16, 80, 80)]), 128, 128, 32)
    assert np.argwhere(mask).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_no_tumour_gives_an_empty_mask_of_the_right_size():
    assert tumor_mask(shapely.MultiPolygon(), 65, 33).shape == (2, 3)
    assert not tumor_mask(shapely.MultiPolygon([shapely.box(500, 500, 600, 600)]), 64, 64).any()


# ----------------------------------------------------------------------------------------------------- real outlines


@needs_shared
@pytest.mark.parametrize(
    "path", sorted((SHARED or ".").glob("*/annotations/*.xml")) if SHARED else [], ids=lambda p: p.stem
)
def test_real_outlines_are_read_without_loss(path):
    result = read_asap(path)
    assert result.tumor.is_valid
    assert result.warnings == []
    right, bottom = result.tumor.bounds[2:]
    downsample = 32 if path.parents[1].name == "camelyon16" else 4
    mask = tumor_mask(result, right + 100, bottom + 100, downsample)
    assert mask.sum() * downsample**2 == pytest.approx(result.tumor.area, rel=0.005)
    area_mm2 = result.tumor.area * 0.243e-3**2
    assert 0.01 < area_mm2 < 10
    for outline in result.polygons:
        shape, error, _ = polygons.even_odd(outline.points)
        assert error < 0.001
        assert shape.area == pytest.approx(polygons.even_odd_area(outline.points), rel=0.001)
        if not shapely.Polygon(outline.points).is_valid:
            assert shape.area == pytest.approx(even_odd_face_by_face(outline.points).area, rel=1e-9)


@needs_shared
@pytest.mark.parametrize(
    ("name", "outlines", "excluded", "area_mm2"),
    [("tumor_064", 35, 24, 7.902), ("tumor_091", 7, 1, 2.828), ("tumor_073", 1, 0, 0.535)],
)
def test_real_outlines_have_their_known_numbers(name, outlines, excluded, area_mm2):
    result = read_asap(SHARED / "camelyon16" / "annotations" / f"{name}.xml")
    assert len(result.polygons) == outlines
    assert sum(outline.group == "Exclusion" for outline in result.polygons) == excluded
    assert result.tumor.area * 0.243e-3**2 == pytest.approx(area_mm2, abs=0.001)


@needs_shared
def test_the_largest_real_annotation_becomes_a_mask_in_less_than_two_seconds():
    started = time.process_time()
    result = read_asap(SHARED / "camelyon16" / "annotations" / "tumor_064.xml", size=(97_792, 221_184))
    mask = tumor_mask(result, 97_792, 221_184)
    assert time.process_time() - started < 2
    assert mask.shape == (6912, 3056)
    assert mask.sum() * 32**2 == pytest.approx(result.tumor.area, rel=0.001)


# ----------------------------------------------------------------------------------------------------------- writing


def test_outlines_come_back_as_written(tmp_path):
    outline = Outline('a "<&> ü', "Tumor", SQUARE + 0.123456789)
    write_asap(tmp_path / "a.xml", [outline], {"Tumor": "#123456"})
    (back,) = read_asap(tmp_path / "a.xml").polygons
    assert (back.name, back.group) == (outline.name, outline.group)
    assert np.array_equal(back.points, outline.points)
    assert "#123456" in (tmp_path / "a.xml").read_text()


def test_control_characters_in_a_name_do_not_break_the_file(tmp_path):
    write_asap(tmp_path / "a.xml", [Outline("a\x00\x0bb", "Tumor", SQUARE)])
    assert read_asap(tmp_path / "a.xml").polygons[0].name == "a??b"


def test_geojson_of_the_tumour_keeps_holes(tmp_path):
    result = read_asap(written(tmp_path / "a.xml", ("Tumor", SQUARE), ("_2", SQUARE * 0.5 + 10)))
    collection = export.to_geojson(result)
    export.write_geojson(tmp_path / "a.geojson", collection)
    back = shapely.from_geojson((tmp_path / "a.geojson").read_text())
    assert back.area == result.tumor.area
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert feature["properties"]["objectType"] == "annotation"
    assert feature["properties"]["classification"] == {"name": "Tumor", "color": [200, 30, 30]}


def test_geojson_of_tiles_has_their_squares_and_scores(tmp_path):
    collection = export.tiles_geojson(np.array([[0, 0], [461, 922]]), np.array([0.25, -1.5], np.float32), 460.9)
    export.write_geojson(tmp_path / "t.geojson", collection)
    tiles = json.loads((tmp_path / "t.geojson").read_text())["features"]
    assert [tile["properties"]["measurements"]["score"] for tile in tiles] == [0.25, -1.5]
    assert shapely.from_geojson(json.dumps(tiles[1]["geometry"])).bounds == (461, 922, 921.9, 1382.9)
    with pytest.raises(UserError, match="NaN"):
        export.write_geojson(tmp_path / "n.geojson", export.tiles_geojson([[0, 0]], [np.nan], 5))
