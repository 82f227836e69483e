"""Tissue: the thresholds of the paper on pictures whose answer is known, and what real slides do to them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from slide_fixtures import write_tiff

from chowder.files import UserError
from chowder.slides import tissue
from shared_data import REASON, SHARED

MPP = 8.0
PIXEL = (MPP / 1000) ** 2  # mm2
PURPLE, PINK, GLASS = (110, 60, 150), (225, 150, 190), (242, 241, 243)


def scene(height: int = 300, width: int = 300, glass=GLASS, noise: float = 2.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(np.array(glass) + rng.normal(0, noise, (height, width, 3)), 0, 255).astype(np.uint8)


def stain(image: np.ndarray, where: np.ndarray, seed: int = 1) -> np.ndarray:
    """Purple and pink patches of 8 px with noise, where asked."""
    rng = np.random.default_rng(seed)
    height, width = where.shape
    patch = rng.random((height // 8 + 1, width // 8 + 1)) < 0.5
    patch = patch.repeat(8, 0).repeat(8, 1)[:height, :width, None]
    colour = np.where(patch, PURPLE, PINK) + rng.normal(0, 12, (height, width, 3))
    return np.where(where[..., None], np.clip(colour, 0, 255), image).astype(np.uint8)


def disc(height: int, width: int, y: int, x: int, radius: float) -> np.ndarray:
    grid = np.mgrid[:height, :width]
    return (grid[0] - y) ** 2 + (grid[1] - x) ** 2 <= radius**2


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("combine", ["and", "or"])
def test_a_stained_disc_on_glass_is_found(combine):
    where = disc(300, 300, 150, 140, 80)
    found = tissue.segment(stain(scene(), where), MPP, combine)
    assert overlap(found.mask, where) > 0.98
    assert found.warnings == [] and found.rule == f"hue {combine} saturation"


def test_the_saturation_threshold_is_otsus_on_the_plain_channel():
    image = stain(scene(), disc(300, 300, 150, 140, 80))
    whole = image.astype(float)
    saturation = (whole.max(-1) - whole.min(-1)) / whole.max(-1)
    expected = threshold_otsu(saturation.astype(np.float32))
    assert tissue.segment(image, MPP).thresholds["saturation"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("degrees", [245, 270, 300, 330, 350, 365, 378])
def test_every_hue_of_haematoxylin_and_eosin_counts_as_stain(degrees):
    from colorsys import hsv_to_rgb

    colour = np.array(hsv_to_rgb((degrees % 360) / 360, 0.45, 0.7)) * 255
    where = disc(200, 200, 100, 100, 50)
    image = scene(200, 200)
    image[where] = np.clip(colour + np.random.default_rng(0).normal(0, 3, (where.sum(), 3)), 0, 255)
    assert overlap(tissue.segment(image, MPP).mask, where) > 0.97


def test_hue_noise_of_grey_glass_does_not_matter():
    where = disc(300, 300, 150, 140, 80)
    for glass in ((243, 240, 242), (240, 243, 240), (236, 236, 244)):
        assert overlap(tissue.segment(stain(scene(glass=glass, noise=3), where), MPP).mask, where) > 0.97


def test_and_is_stricter_than_or():
    image = stain(scene(), disc(300, 300, 150, 90, 60))
    image[100:160, 200:260] = (150, 190, 60)  # yellow-green: saturated, and of no stain's hue
    both = tissue.segment(image, MPP, "and", exclude_pen=False).mask
    either = tissue.segment(image, MPP, "or", exclude_pen=False).mask
    assert not both[110:150, 210:250].any() and either[110:150, 210:250].all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255)])
def test_padding_changes_neither_thresholds_nor_mask(colour):
    where = disc(300, 300, 150, 140, 80)
    image = stain(scene(), where)
    plain = tissue.segment(image, MPP)
    padded = np.full((900, 700, 3), colour, np.uint8)
    padded[200:500, 300:600] = image
    found = tissue.segment(padded, MPP)
    assert found.thresholds["saturation"] == pytest.approx(plain.thresholds["saturation"], abs=1e-6)
    assert np.array_equal(found.mask[200:500, 300:600], plain.mask) and found.mask.sum() == plain.mask.sum()


def test_pure_white_glass_is_glass_and_not_padding():
    where = disc(300, 300, 150, 140, 80)
    found = tissue.segment(stain(np.full((300, 300, 3), 255, np.uint8), where), MPP)
    assert overlap(found.mask, where) > 0.98


@pytest.mark.parametrize("ink", [(20, 120, 60), (30, 90, 200), (25, 25, 30), (225, 20, 30)])
def test_pen_marks_are_reported_and_excluded_on_demand(ink):
    where = disc(300, 300, 150, 100, 70)
    image = stain(scene(), where)
    pen = np.zeros((300, 300), bool)
    pen[40:260, 220:236] = True
    image[pen] = ink
    found = tissue.segment(image, MPP, exclude_pen=True)
    assert found.pen_area_mm2 == pytest.approx(pen.sum() * PIXEL, rel=0.1)
    assert not (found.mask & pen).any() and overlap(found.mask, where) > 0.97
    assert any("pen marks" in warning and "excluded" in warning for warning in found.warnings)
    kept = tissue.segment(image, MPP, exclude_pen=False)
    assert kept.pen_area_mm2 == found.pen_area_mm2
    assert any("kept" in warning for warning in kept.warnings)


def test_nothing_but_glass_gives_no_tissue_and_says_so():
    found = tissue.segment(scene(), MPP)
    assert not found.mask.any()
    assert any("no tissue found" in warning for warning in found.warnings)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255)])
def test_one_colour_everywhere_gives_no_tissue_and_no_crash(colour):
    found = tissue.segment(np.full((50, 60, 3), colour, np.uint8), MPP)
    assert not found.mask.any() and found.warnings


def test_nothing_but_tissue_is_all_tissue():
    found = tissue.segment(stain(scene(), np.ones((300, 300), bool)), MPP)
    assert found.mask.mean() > 0.99
    assert any("no glass" in warning for warning in found.warnings)


def test_a_trace_of_tissue_is_found_by_the_fallback_and_warned_of():
    # like normal_027: 30 um of pale pink on a whole slide; too small for the speck filter
    image = scene(400, 400)
    image[200:204, 100:104] = (232, 205, 220)
    found = tissue.segment(image, MPP)
    assert found.mask[201, 101] and found.mask.sum() <= 40
    assert found.warnings


def test_a_pale_section_is_found():
    where = disc(300, 300, 150, 140, 80)
    image = scene()
    image[where] = np.clip(np.array((235, 214, 226)) + np.random.default_rng(2).normal(0, 2, (where.sum(), 3)), 0, 255)
    assert overlap(tissue.segment(image, MPP).mask, where) > 0.95


@pytest.mark.parametrize(("area", "kept"), [(0.010, False), (0.015, False), (0.025, True), (0.04, True)])
@pytest.mark.parametrize("mpp", [4.0, 8.0])
def test_specks_and_holes_go_by_physical_area(area, kept, mpp):
    side = round(area**0.5 * 1000 / mpp)
    mask = np.zeros((200, 200), bool)
    mask[20:120, 20:120] = True
    mask[150 : 150 + side, 150 : 150 + side] = True  # a speck
    mask[50 : 50 + side, 50 : 50 + side] = False  # a hole
    cleaned = tissue.clean(mask, mpp, 0.02, 0.02, np.ones_like(mask))
    assert cleaned[152, 152] == kept
    assert cleaned[52, 52] != kept


def test_a_speck_or_hole_of_exactly_the_area_given_counts_as_large_enough_and_small_enough():
    mpp, pixel = 1000 / 64, 2.0**-12  # a pixel is 1/4096 mm2, exactly
    mask = np.zeros((60, 60), bool)
    mask[2:6, 2:6] = mask[2:6, 10:14] = True  # specks of 16 pixels and of 15
    mask[5, 13] = False
    mask[20:50, 20:50] = True
    mask[24:28, 24:28] = mask[34:38, 34:38] = False  # holes of 16 pixels and of 17
    mask[38, 37] = False
    cleaned = tissue.clean(mask, mpp, 16 * pixel, 16 * pixel, np.ones_like(mask))
    assert cleaned[2:6, 2:6].all() and not cleaned[2:6, 10:14].any()
    assert cleaned[24:28, 24:28].all() and not cleaned[34:38, 34:38].any()


def test_a_gap_at_the_border_is_no_hole():
    mask = np.ones((100, 100), bool)
    mask[:5, :5] = False
    assert not tissue.clean(mask, 8.0, 0.0, 1.0, np.ones_like(mask))[:5, :5].any()


@pytest.mark.parametrize(
    ("image", "combine", "message"),
    [
        (np.zeros((9, 9), np.uint8), "and", "RGB uint8"),
        (np.zeros((9, 9, 3)), "and", "RGB uint8"),
        (np.zeros((9, 9, 3), np.uint8), "xor", "tissue.combine"),
    ],
)
def test_bad_input_is_named(image, combine, message):
    with pytest.raises(UserError, match=message):
        tissue.segment(image, 8.0, combine)


@pytest.mark.skipif(SHARED is None, reason=REASON)
@pytest.mark.parametrize("name", ["normal_001", "normal_002", "tumor_001", "tumor_006"])
def test_real_slides_give_one_whole_section(name):
    from chowder.slides.reader import Reader

    with Reader(SHARED / "real_slides" / "images" / f"{name}.tif") as reader:
        image = reader.thumbnail(8.0)
    found = tissue.segment(image, 8.0)
    assert found.warnings == []
    # the background of these slides is one constant grey: whatever differs from it clearly is the section
    grey = np.median(image[:8].reshape(-1, 3), 0)
    truth = ndimage.binary_fill_holes(ndimage.binary_closing(np.abs(image - grey).max(-1) > 20, np.ones((5, 5))))
    truth = ndimage.binary_opening(truth, np.ones((3, 3)))
    assert overlap(found.mask, truth) > 0.96
    assert ndimage.label(found.mask)[1] == 1


def test_the_script_writes_mask_record_and_preview_that_fit_together(tmp_path):
    import importlib

    path = write_tiff(tmp_path / "s.tif", [stain(scene(400, 600), disc(400, 600, 200, 300, 150))], mpp=4.0)
    out = [tmp_path / f"s.{kind}" for kind in ("png", "json", "jpg")]
    settings = {"mpp": 8.0, "combine": "and", "min_area_mm2": 0.02, "max_hole_mm2": 0.02, "exclude_pen": True}
    arguments = ["--slide", "s", "--image", path, "--settings", json.dumps(settings)]
    arguments += ["--mask", out[0], "--record", out[1], "--preview", out[2], "--mpp", ""]
    script = importlib.util.spec_from_file_location("tissue_script", tissue.__file__.replace("chowder/slides/", ""))
    module = importlib.util.module_from_spec(script)
    script.loader.exec_module(module)
    module.main([str(argument) for argument in arguments])
    mask, preview = np.asarray(Image.open(out[0])), np.asarray(Image.open(out[2]))
    record = json.loads(out[1].read_text())
    assert mask.shape == preview.shape[:2] == (200, 300) and set(np.unique(mask)) == {0, 255}
    assert (record["width"], record["height"], record["mask_scale"]) == (600, 400, [2.0, 2.0])
    assert record["area_mm2"] == pytest.approx(np.pi * 0.6**2, rel=0.02)
    assert record["mpp_source"] == "file" and record["warnings"] == []
