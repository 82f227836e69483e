"""Simulated slides: other readers understand them, lesions lie where the annotation says, same bytes every time."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openslide
import pytest
from scipy import ndimage
from skimage.measure import regionprops

import simulate as script
from chowder.data.simulation import cells, layout, render
from chowder.files import UserError

ROOT = Path(__file__).resolve().parents[3]
SMALL = {"area_mm2": 0.3}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    facts = {}
    for name, kind, center in (("tumor_1", "micro", "centre_a"), ("normal_1", "negative", "centre_b")):
        files = folder / f"{name}.tif", folder / f"{name}.xml"
        facts[name] = render.simulate_slide(name, kind, center, 7, *files, pen=0.0, **SMALL), *files
    return facts


def rings(path):
    return [
        (
            part.get("PartOfGroup"),
            np.array([(float(at.get("X")), float(at.get("Y"))) for at in part.iter("Coordinate")]),
        )
        for part in ElementTree.parse(path).iter("Annotation")
    ]


def test_same_arguments_give_the_same_bytes_and_another_seed_does_not(made, tmp_path):
    _, image, annotation = made["tumor_1"]
    again = tmp_path / "a.tif", tmp_path / "a.xml"
    render.simulate_slide("tumor_1", "micro", "centre_a", 7, *again, pen=0.0, **SMALL)
    for old, new in zip((image, annotation), again, strict=True):
        assert hashlib.sha256(old.read_bytes()).digest() == hashlib.sha256(new.read_bytes()).digest()
    render.simulate_slide("tumor_1", "micro", "centre_a", 8, *again, pen=0.0, **SMALL)
    assert image.read_bytes() != again[0].read_bytes()


def test_every_slide_has_a_layout_of_its_own():
    keys = [("a", 1), ("a", 1), ("b", 1), ("a", 2)]
    first, again, renamed, reseeded = (layout.layout(name, "micro", "centre_a", seed, **SMALL) for name, seed in keys)
    assert again.look == first.look and np.array_equal(again.kinds, first.kinds)
    for other in (renamed, reseeded):
        assert not set(other.look.values()) & set(first.look.values())
        assert other.kinds.shape != first.kinds.shape or not np.array_equal(other.kinds, first.kinds)


@pytest.mark.parametrize("name, mpp", [("tumor_1", 0.243), ("normal_1", 0.226)])
def test_openslide_reads_spacing_levels_and_tiles(made, name, mpp):
    facts, image, _ = made[name]
    slide = openslide.OpenSlide(image)
    assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(mpp, rel=1e-5)
    assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(mpp, rel=1e-5)
    assert slide.properties["openslide.vendor"] == "generic-tiff"
    assert slide.properties["tiff.ResolutionUnit"] == "centimeter"
    assert slide.properties["openslide.level[0].tile-width"] == "512"
    assert slide.dimensions == (facts["width"], facts["height"])
    assert max(slide.level_dimensions[-1]) < 600
    assert slide.level_downsamples == pytest.approx([2.0**level for level in range(slide.level_count)], rel=0.02)
    assert "imulated" in slide.properties["tiff.ImageDescription"]


def test_background_is_neither_pure_white_nor_flat(made):
    corner = np.asarray(openslide.OpenSlide(made["normal_1"][1]).read_region((4, 4), 0, (200, 200)))[..., :3]
    assert 230 < corner.mean() < 252
    assert corner.std((0, 1)).min() > 0.5


def test_a_normal_slide_has_an_annotation_file_without_annotations(made):
    assert ElementTree.parse(made["normal_1"][2]).getroot().tag == "ASAP_Annotations"
    assert rings(made["normal_1"][2]) == []


def test_the_outline_covers_the_tumour_cells():
    # Independent rasteriser: every cell's centre against the polygons.
    from matplotlib.path import Path as Outline

    spots = layout.layout("tumor_1", "micro", "centre_a", 7, **SMALL)
    row, column = np.indices(spots.kinds.shape)
    centres = np.stack([column.ravel() + 0.5, row.ravel() + 0.5], 1) * 2 * layout.CELL
    drawn = np.zeros(len(centres), bool)
    for group, points in layout.polygons(spots):
        inside = Outline(points).contains_points(centres)
        drawn = drawn | inside if group in ("Tumor", "_0") else drawn & ~inside
    drawn = drawn.reshape(spots.kinds.shape)
    tumour = spots.kinds == layout.TUMOUR
    assert tumour.sum() > 300
    assert (tumour & drawn).sum() / tumour.sum() > 0.97
    assert (drawn & (spots.lesions > 0)).sum() / drawn.sum() > 0.93


def test_nuclei_within_the_files_own_outline_are_larger_than_lymphocytes(made):
    # Inner radii of the dark blobs of the file's pixels at level 1, inside and outside the file's own polygon.
    from matplotlib.path import Path as Outline
    from scipy import ndimage

    _, image, annotation = made["tumor_1"]
    slide = openslide.OpenSlide(image)
    green = np.asarray(slide.read_region((0, 0), 1, slide.level_dimensions[1]).convert("RGB"))[..., 1]
    inner = ndimage.distance_transform_edt(green < 140)
    row, column = np.nonzero((ndimage.maximum_filter(inner, 9) == inner) & (inner > 2))
    inside = Outline(rings(annotation)[0][1]).contains_points(np.stack([column, row], 1) * 2.0)
    spots = layout.layout("tumor_1", "micro", "centre_a", 7, **SMALL)
    kinds = spots.kinds[row // layout.CELL, column // layout.CELL]
    lymphoid = np.isin(kinds, [layout.CORTEX, layout.MANTLE, layout.PARACORTEX]) & ~inside
    assert min(inside.sum(), lymphoid.sum()) > 100
    assert inner[row, column][inside].mean() > 1.12 * inner[row, column][lymphoid].mean()


def test_diameter_is_the_largest_distance():
    mask = np.zeros((40, 60), bool)
    mask[5:15, 10:50] = True
    assert layout.diameter(mask, 2.0) == pytest.approx(2.0 * np.hypot(10, 40))
    assert layout.diameter(mask & False, 2.0) == 0
    mask[:] = False
    mask[3, 4] = True
    assert layout.diameter(mask, 1.0) == pytest.approx(np.sqrt(2))


def test_slides_of_the_cohort_have_lesions_of_their_class_and_their_share_of_tissue():
    limits = {"itc": (0, 200), "micro": (200, 2000), "macro": (2000, np.inf)}
    areas, holes = [], 0
    rows = layout.cohort()
    # All of a class that is rare or hard to place, a few of the others: a layout takes 0.15 s.
    chosen = [row for row in rows if row["class"] in ("macro", "itc")] + rows[:3] + rows[-16::3]
    for row in chosen:
        spots = layout.layout(row["slide"], row["class"], row["center"], 1802)
        numbers = range(1, int(spots.lesions.max()) + 1)
        sizes = [layout.diameter(spots.lesions == number, spots.cell_um) for number in numbers]
        areas.append((spots.kinds != layout.GLASS).sum() * spots.cell_um**2 / 1e6)
        if row["label"] == 0:
            assert sizes == []
            continue
        low, high = limits[row["class"]]
        assert low < max(sizes) < high, row
        outlines = layout.polygons(spots)
        holes += any(group in ("Exclusion", "_2") for group, _ in outlines)
        longest = max(np.ptp(points, 0).max() for _, points in outlines) * spots.center.mpp
        assert low / 1.5 < longest < high, row
    assert 1.3 < np.mean(areas) < 1.9
    assert holes >= 1


def test_cohort_is_balanced_and_named_as_in_camelyon():
    rows = layout.cohort()
    assert len({row["slide"] for row in rows}) == len(rows)
    for split, least in (("train", 24), ("test", 16)):
        part = [row for row in rows if row["split"] == split]
        assert len(part) >= least
        assert sum(row["label"] for row in part) * 2 == len(part)
        for label in (0, 1):
            centers = [row["center"] for row in part if row["label"] == label]
            assert abs(centers.count("centre_a") - centers.count("centre_b")) <= 1
        classes = [row["class"] for row in part if row["label"]]
        assert classes.count("macro") >= 3
        assert classes.count("micro") >= 3
        assert classes.count("itc") == 1
        assert all((row["class"] == "negative") == (row["label"] == 0) for row in rows)
    assert {"normal_001", "tumor_001", "test_001"} <= {row["slide"] for row in rows}


def test_the_demo_table_in_the_repository_is_the_cohort(tmp_path):
    script.main(["--cohort", str(tmp_path / "demo.csv")])
    assert (tmp_path / "demo.csv").read_bytes() == (ROOT / "config" / "demo.csv").read_bytes()
    with open(ROOT / "config" / "demo.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["slide"] for row in rows] == [row["slide"] for row in layout.cohort()]


def test_script_writes_both_files(tmp_path, capsys):
    files = tmp_path / "x.tif", tmp_path / "x.xml"
    names = f"--slide x --center centre_b --class itc --image {files[0]} --annotation {files[1]}".split()
    script.main([*names, "--settings", '{"seed": 3, "area_mm2": 0.3}'])
    assert all(path.stat().st_size > 100 for path in files)
    assert "simulated" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, word",
    [
        ({"kind": "huge"}, "huge"),
        ({"center": "centre_z"}, "centre_z"),
        ({"pens": 1}, "pens"),
        ({"area_mm2": -1}, "area_mm2"),
        ({"kind": "macro", "area_mm2": "wide"}, "area_mm2"),
    ],
)
def test_bad_arguments_are_named_in_one_line(change, word, tmp_path):
    arguments = {"kind": "micro", "center": "centre_a", **change}
    with pytest.raises(UserError, match=word) as caught:
        render.simulate_slide(
            "s", seed=1, image_path=tmp_path / "s.tif", annotation_path=tmp_path / "s.xml", **arguments
        )
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("counts", [(3, 4), (4, 2), (4, 5)])
def test_a_cohort_that_cannot_be_balanced_is_refused(counts):
    with pytest.raises(UserError, match="even number"):
        layout.cohort(*counts)


def test_glands_are_rings_of_epithelium_about_a_lumen_and_never_in_a_lesion():
    rings = lumens = 0
    for name in "abcdefghij":
        spots = layout.layout(name, "micro", "centre_a", 5)
        lumen = spots.kinds == layout.LUMEN
        edge = ndimage.binary_dilation(lumen) & ~lumen
        rings += int((spots.kinds[edge] == layout.GLAND).sum())
        lumens += int(edge.sum())
        inside = spots.lesions > 0
        assert not np.isin(spots.kinds[inside], (layout.GLAND, layout.LUMEN)).any()
    assert lumens > 80, "some of ten slides have glands"
    assert rings > 0.7 * lumens, "the rest is cut by a trabecula, a follicle, a vessel"


def test_small_lesions_lie_beside_the_largest_and_are_smaller():
    more = 0
    for number in range(8):
        spots = layout.layout(f"s{number}", "macro", "centre_b", 3)
        count = int(spots.lesions.max())
        sizes = [layout.diameter(spots.lesions == which, spots.cell_um) for which in range(1, count + 1)]
        assert sizes[0] > 2000 and all(size < 620 for size in sizes[1:])
        more += count - 1
    assert 12 <= more <= 40, "3 a slide on the average: 24 of 8 slides, less those without room"


def nuclei(subtlety: float) -> np.ndarray:
    """Areas (px) of the nuclei that lie alone in a field of tumour without lymphocytes."""
    size = 80
    kinds = np.full((size, size), layout.TUMOUR, np.uint8)
    look = layout.layout("a", "micro", "centre_a", 5).look
    look |= {"subtlety": subtlety, "grade": 0.5, "chromatin": 1.0, "infiltrate": 0.0}
    flat = np.zeros((size, size), np.float32)
    spots = layout.Layout(kinds, np.ones_like(kinds), flat, 3.9, layout.CENTERS["centre_a"], look)
    dark, pink = (np.zeros((size * layout.CELL,) * 2, np.uint8) for _ in range(2))
    cells.stamp_cells(np.random.default_rng(0), spots, dark, pink, flat, 0.486)
    found = regionprops(ndimage.label(dark > 45)[0])
    return np.array([one.area for one in found if one.area > 60 and one.solidity > 0.93])


def test_a_subtle_tumour_has_the_nuclei_of_histiocytes_and_a_clear_one_larger_ones():
    """The drawing's mean radii, long and short over long: 5.35 um and 0.775 when clear, 3.95 um and 0.7 when subtle."""
    for subtlety, radius, aspect in ((0.0, 5.35, 0.775), (1.0, 3.95, 0.7)):
        wanted = np.pi * (radius / 0.486) ** 2 * aspect
        assert np.median(nuclei(subtlety)) == pytest.approx(wanted, rel=0.12)
