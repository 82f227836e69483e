"""Tissue on a slide overview: Otsu thresholds on hue and saturation, made safe for real slides.

Source: specification, section 1.

Hue is a circle and means nothing on grey glass, where it is noise. So hue is counted from yellow (60 degrees), which
puts the H&E colours (250 to 380 degrees: blue-violet, pink, red) at the upper end of the scale, green and blue below
them and the cut where no stain lies; and a pixel with less than half the saturation threshold has no hue: it counts
as 0, the lower end of the scale. Otsu then parts stained pixels from unstained ones, as the paper wants of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from chowder.files import UserError

BLACK = 12  # grey level up to which a pixel is black padding (JPEG blurs 0)
GLASS_OD = 0.12  # mean optical density (log10) below which a pixel can be glass
STAIN_STEP = 0.05  # least difference in saturation between tissue and glass for Otsu's answer to be believed
STAIN_HUE = 0.528  # where H&E begins on the scale from yellow (250 degrees)
LOW_HUE = 0.467  # hue threshold used instead: 228 degrees, bluer than haematoxylin
FALLBACK_SATURATION = 0.07
FALLBACK_OD = 0.06  # above the glass
PEN_AREA_MM2 = 0.01  # smaller marks are not reported
PEN_REACH_UM = 24.0  # a mark's smeared border


@dataclass
class Tissue:
    """A tissue mask (height, width) bool and how it came about; thresholds are None where a rule was not used."""

    mask: np.ndarray
    thresholds: dict[str, float | None]
    rule: str
    pen_area_mm2: float
    warnings: list[str] = field(default_factory=list)


def segment(
    rgb: np.ndarray,
    mpp: float,
    combine: str = "and",
    min_area_mm2: float = 0.02,
    max_hole_mm2: float = 0.02,
    exclude_pen: bool = True,
) -> Tissue:
    """Find the tissue on an overview ``rgb`` (height, width, 3) uint8 at ``mpp`` um/px.

    Foreground is saturation above its Otsu threshold ``combine`` ("and", "or") hue above its own. Padding (black, or
    pure white beside real glass) takes no part in the histograms. Holes up to ``max_hole_mm2`` are filled, then specks
    below ``min_area_mm2`` dropped. Pen marks are reported, and excluded if ``exclude_pen``.

    When Otsu's classes are not glass and stain, or nothing remains, the rules below are tried in this order, each with
    a warning: saturation alone; saturation >= 0.07 or optical density >= glass + 0.06; the same with every speck kept.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise UserError(f"tissue: expected an RGB uint8 image, got shape {rgb.shape} and type {rgb.dtype}")
    if combine not in {"and", "or"}:
        raise UserError(f"tissue.combine: {combine!r} is neither 'and' nor 'or'")
    from scipy import ndimage

    hue, saturation, value = hsv(rgb)
    density = -np.log10((rgb.astype(np.float32) + 1) / 256).mean(-1)
    valid = ~padding(rgb, saturation, value)
    pen = pen_marks(hue, saturation, value, mpp) & valid
    result = Tissue(
        np.zeros(valid.shape, bool), {"hue": None, "saturation": None}, "none", float(pen.sum()) * (mpp / 1000) ** 2
    )
    if result.pen_area_mm2 > 0:
        result.warnings.append(
            f"pen marks, {result.pen_area_mm2:.2f} mm2{', excluded' if exclude_pen else ', kept as they are'}"
        )
    if exclude_pen and pen.any():
        pen = ndimage.binary_dilation(pen, _disc(PEN_REACH_UM / mpp))
        valid &= ~pen
    if not valid.any():
        result.warnings.append("nothing but padding and pen")
        return result

    def cleaned(mask: np.ndarray, specks: bool = True) -> np.ndarray:
        return clean(mask & valid, mpp, min_area_mm2 if specks else 0.0, max_hole_mm2, valid)

    by_saturation, step = _saturation(saturation, density, valid, result)
    if step is not None:
        by_hue = _hue(hue, saturation, step, valid, result)
        both = by_saturation & by_hue if combine == "and" else by_saturation | by_hue
        for rule, mask in ((f"hue {combine} saturation", both), ("saturation", by_saturation)):
            result.mask, result.rule = cleaned(mask), rule
            if result.mask.any():
                return result
            result.warnings.append(f"no tissue by the rule '{rule}'")
    glass = np.median(density[valid & (density < GLASS_OD)]) if (valid & (density < GLASS_OD)).any() else 0.0
    mask = (saturation >= FALLBACK_SATURATION) | (density >= glass + FALLBACK_OD)
    for rule, specks in (("absolute", True), ("absolute, specks kept", False)):
        result.mask, result.rule = cleaned(mask, specks), rule
        if result.mask.any():
            result.warnings.append(f"the rule '{rule}' was used: look at the preview")
            return result
    result.rule = "none"
    result.warnings.append("no tissue found by any rule")
    return result


def hsv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hue counted from yellow, saturation and value, all 0 to 1, each (height, width) float32."""
    from skimage.color import rgb2hsv

    image = rgb2hsv(rgb).astype(np.float32)
    return (image[..., 0] - 1 / 6) % 1.0, image[..., 1], image[..., 2]


def padding(rgb: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Pixels that no camera saw: black; and pure white, if other glass (5 % of the rest) shows how glass looks."""
    black = rgb.max(-1) <= BLACK
    white = rgb.min(-1) == 255
    rest = ~black & ~white
    glass = rest & (saturation < 0.1) & (value > 0.75)
    return black | white if glass.sum() >= 0.05 * max(1, rest.sum()) else black


def _saturation(saturation, density, valid, result: Tissue):
    """Saturation mask and its threshold, or (None, None) when the classes are not stain and glass."""
    from skimage.filters import threshold_otsu

    values = saturation[valid]
    if values.max() - values.min() < STAIN_STEP:
        what = "stained evenly" if np.median(values) >= FALLBACK_SATURATION else "glass"
        result.warnings.append(f"saturation is the same everywhere ({what}): no Otsu threshold")
        return None, None
    threshold = float(threshold_otsu(values, nbins=256))
    upper = saturation > threshold
    low, high = valid & ~upper, valid & upper
    if np.median(saturation[high]) - np.median(saturation[low]) < STAIN_STEP:
        result.warnings.append(f"saturation's Otsu threshold {threshold:.3f} parts glass from glass")
        return None, None
    if np.median(density[low]) > GLASS_OD and np.median(saturation[low]) > FALLBACK_SATURATION:
        result.warnings.append(f"saturation's Otsu threshold {threshold:.3f} parts tissue from tissue: no glass")
        return None, None
    result.thresholds["saturation"] = threshold
    return upper, threshold


def _hue(hue, saturation, step, valid, result: Tissue) -> np.ndarray:
    """Hue mask; the hue of a pixel below half the saturation threshold is undefined and counts as 0."""
    from skimage.filters import threshold_otsu

    hue = np.where(saturation >= step / 2, hue, 0.0)
    values = hue[valid]
    threshold = float(threshold_otsu(values, nbins=256)) if values.max() > values.min() else LOW_HUE
    threshold += float(values.max() - values.min()) / 512  # the bin that it names belongs to the lower class
    if (values <= threshold).any() and (values > threshold).any():
        # every threshold in the gap between the classes is Otsu's: take its middle instead of its lower end
        threshold = float(values[values <= threshold].max() + values[values > threshold].min()) / 2
    if threshold >= STAIN_HUE:  # it parts stain from stain
        result.warnings.append(f"hue's Otsu threshold {threshold:.3f} parts stain from stain: {LOW_HUE} used")
        threshold = LOW_HUE
    result.thresholds["hue"] = threshold
    return hue > threshold


def pen_marks(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray, mpp: float) -> np.ndarray:
    """Solid areas in colours that H&E does not have: green, blue, vivid red, or neutral dark (black ink)."""
    green = (hue > 0.03) & (hue < 0.316) & (saturation > 0.2) & (value > 0.1)
    blue = (hue >= 0.316) & (hue < 0.486) & (saturation > 0.35)
    red = (hue > 0.797) & (hue < 0.867) & (saturation > 0.75) & (value > 0.55)
    black = ((value < 0.30) & (saturation < 0.35)) | ((value < 0.45) & (saturation < 0.16))
    result = np.zeros(hue.shape, bool)
    for ink in (green, blue, red, black):
        result |= _solid(ink, mpp)
    return result


def _solid(mask: np.ndarray, mpp: float) -> np.ndarray:
    """Return the parts of a mask that are wider than about 24 um and larger than PEN_AREA_MM2."""
    from scipy import ndimage

    if not mask.any():
        return mask
    core = ndimage.binary_opening(mask, _disc(8.0 / mpp))
    core = ndimage.binary_dilation(core, _disc(8.0 / mpp)) & mask
    return _larger(core, PEN_AREA_MM2 / (mpp / 1000) ** 2)


def clean(mask: np.ndarray, mpp: float, min_area_mm2: float, max_hole_mm2: float, valid: np.ndarray) -> np.ndarray:
    """Fill holes up to ``max_hole_mm2`` (not over invalid pixels), then drop parts below ``min_area_mm2``.

    Parts are 8-connected, holes 4-connected; a hole does not touch the image's border.
    """
    from scipy import ndimage

    pixel = (mpp / 1000) ** 2
    labels, count = ndimage.label(~mask)
    if count:
        area = np.bincount(labels.ravel())
        small = area * pixel <= max_hole_mm2
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        small[border] = False
        small[0] = False
        mask = (mask | small[labels]) & valid
    return _larger(mask, min_area_mm2 / pixel)


def _larger(mask: np.ndarray, pixels: float) -> np.ndarray:
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        return mask
    keep = np.bincount(labels.ravel()) >= pixels
    keep[0] = False
    return keep[labels]


def _disc(radius: float) -> np.ndarray:
    reach = max(1, round(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return x * x + y * y <= reach * reach + 0.5
