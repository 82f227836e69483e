"""Simulated whole slides of lymph nodes under H&E, with annotated metastases (the ``demo`` dataset).

A slide is laid out coarsely (capsule, sinuses, follicles, stroma, fat, lesions; one cell of 8 x 8 pixels at 20x), then
drawn at 20x as two optical-density canvases (haematoxylin and eosin), turned into colour by Beer-Lambert's law with the
stains of its centre, enlarged by 2 and written like a Camelyon-16 slide. docs/simulation.md holds the calibration.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from chowder import files
from chowder.data.annotations import Outline, write_asap
from chowder.data.simulation import layout
from chowder.data.simulation.cells import GROUND, colour_table, draw_fat, enlarge, mottle, stamp_cells
from chowder.seeds import generator

#: Colours of the annotation groups in ASAP.
COLOURS = {"Tumor": "#F4FA58", "_0": "#F4FA58", "Exclusion": "#64FE2E", "_2": "#64FE2E"}


def draw(spots: layout.Layout, slide: str, seed: int, pen: float = 0.0) -> np.ndarray:
    """Draw a layout at 20x: (h, w, 3) uint8."""
    from scipy import ndimage

    rng = generator(seed, "simulate", slide, "cells")
    site = spots.center
    um = 2 * site.mpp  # of a 20x pixel
    kinds = spots.kinds
    width = kinds.shape[1] * layout.CELL

    ground = [
        ndimage.gaussian_filter(colour_table(column, GROUND)[kinds], 0.55).clip(0, 255).astype(np.uint8)
        for column in range(4)
    ]
    tint = (255 * site.tint * np.where(kinds > layout.FAT, 1, 0)).astype(np.uint8)
    dark, pink = np.array(enlarge(ground[0] + tint // 3, layout.CELL)), np.array(enlarge(ground[1], layout.CELL))

    # Fibres: isolines of a warped slope, so that bundles run and wave together.
    coarse = kinds.shape
    lean = rng.uniform(0, np.pi)
    yy, xx = np.mgrid[: coarse[0], : coarse[1]].astype(np.float32)
    phase = (
        (yy * np.cos(lean) + xx * np.sin(lean)) * 1.3
        + 7 * layout.smooth_noise(rng, coarse, 22)
        + 1.6 * layout.smooth_noise(rng, coarse, 7)
    )
    profile = ndimage.gaussian_filter1d(rng.standard_normal(4096), 2.2, mode="wrap")
    profile = np.clip(profile / profile.std() * 26 + 4, -52, 60).astype(np.int16)
    texture = np.roll(mottle(), tuple(rng.integers(0, 1024, 2)), (0, 1))
    texture = np.tile(texture, (1, width // 1024 + 1))[:, :width]
    rows = 32
    for top in range(0, coarse[0], rows):
        part = slice(top, min(top + rows, coarse[0]))
        fine = slice(part.start * layout.CELL, part.stop * layout.CELL)
        if not kinds[part].any():
            continue
        amount = enlarge(ground[2][part], layout.CELL).astype(np.int16)
        local = np.take(texture, np.arange(fine.start, fine.stop) % 1024, axis=0).astype(np.int16) * amount >> 5
        fibres = enlarge(ground[3][part], layout.CELL)
        if fibres.any():
            index = np.flatnonzero(fibres)
            wave = enlarge(phase[part], layout.CELL).ravel()[index]
            grain = profile[(wave * 8).astype(np.int32) & 4095]
            local.reshape(-1)[index] += (grain * fibres.ravel()[index].astype(np.int16)) >> 8
        pink[fine] = np.clip(pink[fine] + local, 0, 255)
        dark[fine] = np.clip(dark[fine] + (local >> 2), 0, 255)

    if (kinds == layout.FAT).any():
        draw_fat(rng, kinds, pink, dark, um)
    stamp_cells(rng, spots, dark, pink, phase, um)
    return _colour(rng, spots, dark, pink, pen)


def _colour(
    rng: np.random.Generator, spots: layout.Layout, dark: np.ndarray, pink: np.ndarray, pen: float
) -> np.ndarray:
    """Beer-Lambert: stain canvases to RGB through a table of all (haematoxylin, eosin) pairs; then optics and dirt."""
    import pyvips

    look, site = spots.look, spots.center
    turn = look["angle"]
    blue = np.array(site.haematoxylin) + turn * np.array([0.6, 0.0, -0.6])
    rose = np.array(site.eosin) + turn * np.array([0.8, 0.0, -0.6])
    level = np.arange(256) / 255
    h = 3.0 * site.strength[0] * look["haematoxylin"] * level[:, None, None] * (blue / np.linalg.norm(blue))
    e = 1.5 * site.strength[1] * look["eosin"] * level[None, :, None] * (rose / np.linalg.norm(rose))
    glass = np.array(site.background) + rng.uniform(-2.5, 1.5) + rng.uniform(-0.8, 0.8, 3)
    table = np.rint(glass * np.exp(-(h + e))).astype(np.uint8).reshape(-1, 3)
    image = np.empty((*dark.shape, 3), np.uint8)
    for top in range(0, len(dark), 256):
        part = slice(top, top + 256)
        np.take(table, (dark[part].astype(np.uint16) << 8) | pink[part], axis=0, out=image[part])
    image = pyvips.Image.new_from_array(image).gaussblur(look["blur"], precision="integer").numpy()
    _dirt(rng, spots, image, pen)
    return image


def _dirt(rng: np.random.Generator, spots: layout.Layout, image: np.ndarray, pen: float) -> None:
    """Draw a patch out of focus, dust, and perhaps a pen mark (in place)."""
    import pyvips

    height, width = image.shape[:2]
    if rng.random() < 0.35:
        size = int(rng.uniform(300, 620))
        row, column = int(rng.uniform(0, height - size)), int(rng.uniform(0, width - size))
        view = image[row : row + size, column : column + size]
        soft = pyvips.Image.new_from_array(np.ascontiguousarray(view)).gaussblur(rng.uniform(1.5, 3)).numpy()
        y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
        blend = np.clip(2.5 * (1 - np.hypot(x, y)), 0, 1)[..., None]
        view[:] = (view * (1 - blend) + soft * blend).astype(np.uint8)
    for _ in range(int(rng.poisson(5))):
        row, column, size = rng.integers(40, height - 40), rng.integers(40, width - 40), rng.uniform(3, 12)
        y, x = np.mgrid[-30:31, -30:31]
        shade = 0.65 * np.clip(size - np.hypot(x, y * rng.uniform(0.6, 1.6)), 0, 3)[..., None] / 3
        view = image[row - 30 : row + 31, column - 30 : column + 31]
        view[:] = (view * (1 - shade)).astype(np.uint8)
    if rng.random() < pen:
        ink = np.array([[0.90, 0.15, 0.70], [0.85, 0.55, 0.10], [0.9, 0.9, 0.8]][int(rng.integers(3))])
        ink = ink * 2.2
        size = min(700, height // 3, width // 3)
        row, column = int(rng.choice([0, height - size])), int(rng.choice([0, width - size]))
        y, x = np.mgrid[:size, :size].astype(np.float32)
        across = np.abs(y - size * 0.5 - (0.25 * size) * np.sin(x / size * rng.uniform(2, 5) + rng.uniform(0, 6)))
        ends = np.minimum(x - 40, size - 40 - x)
        cover = np.clip(np.minimum(55 - across, ends) / 4, 0, 1) * (0.75 + 0.06 * layout.smooth_noise(rng, y.shape, 25))
        view = image[row : row + size, column : column + size]
        view[:] = (view * np.exp(-cover[..., None] * ink)).clip(0, 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------- slides


def simulate_slide(
    slide: str,
    kind: str,
    center: str,
    seed: int,
    image_path: str | os.PathLike,
    annotation_path: str | os.PathLike,
    **settings: Any,
) -> dict[str, Any]:
    """Write one simulated slide and its annotation. Depends on the arguments only, never on other slides.

    Parameters
    ----------
    slide, kind, center
        Name, class (negative, itc, micro, macro: the largest lesion) and centre (a key of ``CENTERS``).
    seed
        The dataset's seed; the slide's own is derived from it and the name.
    image_path, annotation_path
        Pyramidal tiled JPEG TIFF (512 px tiles, level 0 at 0.243 or 0.226 um/px) and ASAP XML (empty for a normal one).
    **settings
        Any of ``DEFAULTS``.

    Returns
    -------
    dict: slide, width, height (level 0), mpp, area_mm2, lesions_um (largest diameters).
    """
    spots = layout.layout(slide, kind, center, seed, **settings)
    options = layout.with_defaults(settings)
    picture = draw(spots, slide, seed, float(options["pen"]))
    write_slide(picture, spots.center.mpp, slide, seed, image_path, int(options["quality"]))
    rings = [
        Outline(f"Annotation {number}", group, np.round(points, 2))
        for number, (group, points) in enumerate(layout.polygons(spots))
    ]
    write_asap(annotation_path, rings, {group: COLOURS[group] for group in dict.fromkeys(ring.group for ring in rings)})
    numbers = range(1, int(spots.lesions.max(initial=0)) + 1)
    return {
        "slide": slide,
        "width": 2 * picture.shape[1],
        "height": 2 * picture.shape[0],
        "mpp": spots.center.mpp,
        "area_mm2": round(float((spots.kinds != layout.GLASS).sum()) * spots.cell_um**2 / 1e6, 3),
        "lesions_um": [round(layout.diameter(spots.lesions == number, spots.cell_um), 1) for number in numbers],
    }


def write_slide(
    picture: np.ndarray, mpp: float, slide: str, seed: int, path: str | os.PathLike, quality: int = 82
) -> None:
    """Enlarge a 20x picture (h, w, 3, uint8) to level 0, add camera noise, write the pyramid like Camelyon's."""
    os.environ.setdefault("VIPS_CONCURRENCY", "1")
    import pyvips

    rng = generator(seed, "simulate", slide, "noise")
    grain = np.rint(rng.normal(0, 2.0, (256, 256, 3))).astype(np.int16)
    image = pyvips.Image.new_from_array(picture).zoom(2, 2)
    smooth = pyvips.Image.new_from_array([[1, 2, 1]], scale=4)
    image = image.convsep(smooth, precision="integer")
    noise = pyvips.Image.new_from_array(grain)
    noise = noise.replicate(image.width // 256 + 1, image.height // 256 + 1).crop(0, 0, image.width, image.height)
    image = (image + noise).cast("uchar").copy(interpretation="srgb", xres=1000 / mpp, yres=1000 / mpp)
    note = f"Simulated lymph node, H&E, not a patient's slide. slide={slide} seed={seed} mpp={mpp}"
    image.set_type(pyvips.GValue.gstr_type, "image-description", note)
    with files.atomic(Path(path)) as scratch:
        image.tiffsave(
            str(scratch),
            tile=True,
            tile_width=512,
            tile_height=512,
            pyramid=True,
            compression="jpeg",
            Q=quality,
            resunit="cm",
        )
