"""Stain statistics against scikit-image's colour deconvolution and against colours mixed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from chowder.files import UserError
from chowder.slides import overview, stain


def test_amounts_equal_those_of_scikit_image():
    from skimage.color import rgb2hed

    rng = np.random.default_rng(1)
    amounts = rng.uniform(0.05, 0.6, (40, 50, 2))
    rgb = np.rint(255 * 10 ** -(amounts @ stain.VECTORS[:2])).astype(np.uint8)
    mask = rng.random((40, 50)) < 0.5
    known = 6 * rgb2hed(rgb)[mask]  # scikit-image counts in units of log10(1e-6)
    found = stain.statistics(rgb, mask)
    assert found["haematoxylin_mean"] == pytest.approx(known[:, 0].mean(), abs=1e-6)
    assert found["haematoxylin_sd"] == pytest.approx(known[:, 0].std(), abs=1e-6)
    assert found["eosin_mean"] == pytest.approx(known[:, 1].mean(), abs=1e-6)
    assert found["eosin_sd"] == pytest.approx(known[:, 1].std(), abs=1e-6)
    assert found["eosin_mean"] == pytest.approx(amounts[mask][:, 1].mean(), abs=0.01), "and what was mixed"


def test_only_tissue_counts_and_many_pixels_are_thinned(monkeypatch):
    rgb = np.full((30, 30, 3), 255, np.uint8)
    mask = np.zeros((30, 30), bool)
    mask[5:20, 3:9] = True
    rgb[mask] = np.rint(255 * 10 ** -(0.4 * stain.VECTORS[0]))
    found = stain.statistics(rgb, mask)
    assert found["haematoxylin_mean"] == pytest.approx(0.4, abs=0.01)
    assert found["haematoxylin_sd"] == pytest.approx(0, abs=1e-9)
    monkeypatch.setattr(stain, "MOST", 7)
    assert stain.statistics(rgb, mask) == pytest.approx(found)
    assert stain.statistics(rgb, np.zeros_like(mask)) == {}


def test_overview_and_mask_are_read_and_must_agree(tmp_path):
    rgb = np.full((12, 9, 3), (200, 120, 180), np.uint8)
    mask = np.zeros((12, 9), np.uint8)
    mask[3:5] = 255
    Image.fromarray(rgb).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(mask).save(tmp_path / "a.png")
    picture, tissue = overview.read(tmp_path / "a.jpg", tmp_path / "a.png")
    assert np.abs(picture.astype(int) - rgb).max() <= 3
    np.testing.assert_array_equal(tissue, mask == 255)
    Image.fromarray(mask[:-1]).save(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"b.png: is \(11, 9\)"):
        overview.read(tmp_path / "a.jpg", tmp_path / "b.png")
    (tmp_path / "c.png").write_text("text")
    with pytest.raises(UserError, match="cannot be read as a picture"):
        overview.read(tmp_path / "a.jpg", tmp_path / "c.png")
