"""Simulated whole slides of lymph nodes under H&E, with annotated metastases (the ``demo`` dataset).

A slide is laid out coarsely (capsule, sinuses, follicles, stroma, fat, lesions; one cell of 8 x 8 pixels at 20x), then
drawn at 20x as two optical-density canvases (haematoxylin and eosin), turned into colour by Beer-Lambert's law with the
stains of its centre, enlarged by 2 and written like a Camelyon-16 slide. docs/simulation.md holds the calibration.
"""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chowder import files
from chowder.annotations import Outline, write_asap
from chowder.files import UserError
from chowder.seeds import generator

CLASSES = ("negative", "itc", "micro", "macro")

#: Coarse cells are this many 20x pixels wide (32 pixels at level 0 would be level 5; these are level 4).
CELL = 8


@dataclass(frozen=True)
class Center:
    """A hospital's scanner and stains. Optical densities are measured on real slides (docs/simulation.md)."""

    mpp: float  # um per pixel at level 0
    background: tuple[float, float, float]  # RGB of empty glass
    haematoxylin: tuple[float, float, float]  # unit optical density per RGB channel
    eosin: tuple[float, float, float]
    strength: tuple[float, float]  # of haematoxylin and eosin
    tint: float  # how much haematoxylin the cytoplasm and stroma take up
    packing: float  # relative density of lymphocytes (section thickness)


CENTERS = {
    "centre_a": Center(0.243, (243, 242, 243), (0.54, 0.69, 0.48), (0.15, 0.93, 0.33), (1.0, 0.9), 0.05, 0.95),
    "centre_b": Center(0.226, (242, 243, 245), (0.57, 0.78, 0.26), (0.10, 0.95, 0.28), (1.1, 1.1), 0.16, 1.12),
}

#: Colours of the annotation groups in ASAP.
COLOURS = {"Tumor": "#F4FA58", "_0": "#F4FA58", "Exclusion": "#64FE2E", "_2": "#64FE2E"}

#: Settings of :func:`simulate_slide` that config.yaml may change.
DEFAULTS: dict[str, Any] = {
    "area_mm2": 1.6,  # mean tissue area of a slide
    "variation": 1.0,  # spread of stain and composition between slides
    "pen": 0.12,  # probability of a pen mark
    "quality": 82,  # JPEG quality
}

# Kinds of tissue a coarse cell can be.
GLASS, FAT, STROMA, SINUS, CORTEX, PARACORTEX, MANTLE, GERMINAL, TUMOUR, VESSEL, HISTIOCYTES = range(11)
KINDS = 11


# ---------------------------------------------------------------------------------------------- cohort
def cohort(n_train: int = 30, n_test: int = 24, seed: int = 1802) -> list[dict[str, Any]]:
    """The slides table of the simulated dataset: balanced over labels and centres in both splits.

    Parameters
    ----------
    n_train, n_test
        Number of slides; each a multiple of 2, at least 4.
    seed
        Decides which tumour slides carry which lesions.

    Returns
    -------
    One dict a slide: ``slide, label, split, center, class`` (the class is that of the largest lesion).
    """
    rows = []
    for split, count in (("train", n_train), ("test", n_test)):
        if count < 4 or count % 2:
            raise UserError(f"simulated cohort: {count} {split} slides: give an even number of at least 4")
        half = count // 2
        rng = generator(seed, "cohort", split)
        # ITC alone hardly shows in a bag: one slide, and only where it is not scored.
        kinds = ["itc"] * (split == "train" and half >= 8)
        kinds += ["macro"] * max(1, round(0.4 * half))
        kinds += ["micro"] * (half - len(kinds))
        kinds = [str(kind) for kind in rng.permutation(kinds)]
        order = [0] * half + [1] * half
        if split == "test":
            order = [int(label) for label in rng.permutation(order)]
        seen = [0, 0]
        for number, label in enumerate(order, start=1):
            seen[label] += 1
            stem = f"test_{number:03d}" if split == "test" else f"{('normal', 'tumor')[label]}_{seen[label]:03d}"
            center = ("centre_a", "centre_b")[(seen[label] + label) % 2]
            kind = kinds.pop() if label else "negative"
            rows.append({"slide": stem, "label": label, "split": split, "center": center, "class": kind})
    return rows


# ---------------------------------------------------------------------------------------------- layout
@dataclass
class Layout:
    """Where things are, in coarse cells (``CELL`` pixels at 20x).

    Attributes
    ----------
    kinds : (h, w) uint8, one of GLASS ... HISTIOCYTES
    lesions : (h, w) uint8, 0 outside, otherwise the lesion's number from 1
    depth : (h, w) float32, distance to the outside of the tissue, um
    cell_um : edge of a coarse cell, um
    """

    kinds: np.ndarray
    lesions: np.ndarray
    depth: np.ndarray
    cell_um: float
    center: Center
    look: dict[str, float] = field(default_factory=dict)


def _noise(rng: np.random.Generator, shape: tuple[int, int], step: float) -> np.ndarray:
    """Smooth noise (float32, mean 0, standard deviation about 1) whose features are about ``step`` cells wide."""
    from PIL import Image

    rows, columns = (int(size / step) + 4 for size in shape)
    grid = Image.fromarray(rng.standard_normal((rows, columns)).astype(np.float32))
    box = (1.0, 1.0, 1.0 + shape[1] / step, 1.0 + shape[0] / step)
    return np.asarray(grid.resize(shape[::-1], Image.Resampling.BICUBIC, box=box)) * 1.5


def _spine(rng: np.random.Generator, kind: str, half: tuple[float, float], side: int) -> tuple[np.ndarray, float]:
    """Centre line (n, 2: x, y in um about the slide's centre) and half width (um) of one lesion."""
    along, across = half
    if kind == "macro":  # follows the capsule, as a metastasis of the subcapsular sinus does
        length = rng.uniform(2120, 2260)
        x = np.linspace(-length / 2, length / 2, 200) + rng.uniform(-0.3, 0.3) * max(0.0, 2 * along - 330 - length)
        y = side * across * (np.sqrt(1 - np.clip(x / (along + 150), -0.99, 0.99) ** 2) - 0.36)
        return np.stack([x, y], 1), rng.uniform(40, 54)
    length, width = (rng.uniform(300, 640), rng.uniform(60, 105)) if kind == "micro" else (60, rng.uniform(26, 44))
    length = max(10.0, length - 2 * width) if kind == "micro" else rng.uniform(5, 50)
    where = rng.uniform(-0.55, 0.55) * along
    reach = across * np.sqrt(1 - (where / along) ** 2)
    middle = np.array([where, side * rng.uniform(0.1, 0.55) * reach])
    angle = rng.normal(0, 0.4)
    t = np.linspace(-length / 2, length / 2, 60)
    bend = rng.uniform(-1, 1) * length * 0.15
    line = np.stack([t, bend * np.cos(np.pi * t / length)], 1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return middle + line @ turn, width


def _options(settings: dict[str, Any]) -> dict[str, Any]:
    """``DEFAULTS`` with the caller's settings, checked."""
    limits = {"area_mm2": (0.1, 20), "variation": (0, 3), "pen": (0, 1), "quality": (30, 100)}
    for key, value in settings.items():
        if key not in DEFAULTS:
            raise UserError(f"simulation: setting {key!r} is unknown: use {', '.join(DEFAULTS)}")
        low, high = limits[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UserError(f"simulation.{key}: {value!r} is not a number from {low} to {high}: mend the config")
    return {**DEFAULTS, **settings}


def layout(slide: str, kind: str, center: str, seed: int, **settings: Any) -> Layout:
    """Lay out a slide: tissue outline, compartments, lesions. Deterministic in all its arguments.

    Raises :class:`UserError` for a class, centre or setting that nobody knows.
    """
    from scipy import ndimage

    if kind not in CLASSES:
        raise UserError(f"{slide}: class {kind!r} is none of {', '.join(CLASSES)}: mend the slides table")
    if center not in CENTERS:
        raise UserError(f"{slide}: center {center!r} is none of {', '.join(CENTERS)}: mend the slides table")
    options = _options(settings)
    site = CENTERS[center]
    um = 2 * CELL * site.mpp
    rng = generator(seed, "simulate", slide, "layout")
    spread = float(options["variation"])

    # Composition of this node: what varies most between real slides, and what MeanPool sees.
    look = {
        "follicles": float(np.clip(rng.normal(0.5, 0.35 * spread), 0, 1.2)),
        "stroma": float(np.clip(rng.normal(0.5, 0.35 * spread), 0, 1.2)),
        "sinus": float(np.clip(rng.normal(0.5, 0.35 * spread), 0, 1.2)),
        "density": float(np.clip(rng.normal(0.78, 0.09 * spread), 0.5, 0.98)),
        "haematoxylin": float(np.exp(rng.normal(0, 0.10 * spread))),
        "eosin": float(np.exp(rng.normal(0, 0.14 * spread))),
        "angle": float(rng.normal(0, 0.035 * spread)),
        "histiocytes": float(np.clip(rng.normal(0.5, 0.4 * spread), 0, 1.3)),
        "patchiness": float(rng.uniform(0.05, 0.30)),
        "blur": float(rng.uniform(0.32, 0.6)),
        "grade": float(rng.uniform(0, 1)),  # of the metastasis: size of nuclei, nucleoli
        "cytoplasm": float(rng.uniform(-26, 0)),  # of the metastasis: eosin
        "chromatin": float(rng.uniform(0, 1)),  # of the metastasis: how dark its nuclei are
        "infiltrate": float(rng.uniform(0.06, 0.36)),  # lymphocytes among tumour cells
    }

    area = float(options["area_mm2"]) * 1e6 * np.exp(rng.normal(0, 0.10))
    scale = np.sqrt(float(options["area_mm2"]) / DEFAULTS["area_mm2"])
    length = rng.uniform(2580, 2720) if kind == "macro" else rng.uniform(2000, 2650) * scale
    along, across = length / 2, 2 * area / (np.pi * length)
    if kind == "macro":
        across = max(across, 400.0)
    margin = 130.0
    shape = tuple(int(np.ceil((2 * size * 1.08 + 2 * margin) / um)) for size in (across, along))
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    x = (x - shape[1] / 2 + 0.5) * um
    y = (y - shape[0] / 2 + 0.5) * um

    theta = np.arctan2(y / across, x / along)
    radius = np.hypot(x / along, y / across)
    edge = 1.0 + sum(
        amount * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
        for k, amount in ((2, 0.02), (3, 0.03), (4, 0.02), (7, 0.012))
    )
    tissue = radius + 0.012 * _noise(rng, shape, 60 / um) < edge
    tissue[[0, -1]] = tissue[:, [0, -1]] = False
    depth = ndimage.distance_transform_edt(tissue).astype(np.float32) * um

    kinds = np.full(shape, PARACORTEX, np.uint8)
    broad, fine = _noise(rng, shape, 260 / um), _noise(rng, shape, 70 / um)
    kinds[depth + 90 * broad < 330] = CORTEX
    # Sinuses: bands along the zero lines of smooth noise, in the medulla, and under the capsule.
    band = np.abs(_noise(rng, shape, 110 / um) + 0.3 * fine)
    kinds[(band < 0.26 * look["sinus"]) & (depth + 80 * broad > 200)] = SINUS
    kinds[(depth > 24) & (depth + 10 * fine < 24 + 30 * look["sinus"])] = SINUS
    # Sheets of histiocytes, as in a reactive sinus: large, pale and pink, yet no tumour.
    for _ in range(int(rng.poisson(14 * look["histiocytes"]))):
        spot = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        if depth[spot] < 50:
            continue
        turn, size, squash = rng.uniform(0, np.pi), rng.uniform(45, 120), rng.uniform(0.35, 0.9)
        dx, dy = x - x[spot], y - y[spot]
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        kinds[np.hypot(u, v / squash) + 22 * fine < size] = HISTIOCYTES
    # Follicles in the cortex, each a mantle of small cells about a germinal centre.
    for _ in range(int(rng.poisson(26 * look["follicles"]))):
        spot = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        if not 130 < depth[spot] < 420:
            continue
        size, squash, turn = rng.uniform(70, 170), rng.uniform(0.65, 1.0), rng.uniform(0, np.pi)
        dx, dy = x - x[spot], y - y[spot]
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        away = np.hypot(u, v / squash) + 14 * fine
        kinds[(away < size + rng.uniform(20, 45)) & (kinds != STROMA)] = MANTLE
        kinds[away < size] = GERMINAL
    # Stroma: capsule, trabeculae, and a hilum with fat.
    kinds[depth + 5 * fine < 16 + 14 * look["stroma"]] = STROMA
    beam = np.abs(_noise(rng, shape, 330 / um) + 0.2 * fine)
    kinds[beam < 0.10 * look["stroma"]] = STROMA
    hilum = np.hypot(x - rng.uniform(-0.6, 0.6) * along, y - rng.choice([-1, 1]) * across) + 35 * fine
    kinds[hilum < 330 * look["stroma"]] = STROMA
    if rng.random() < 0.75:
        kinds[(hilum < 250 * look["stroma"]) & (broad > -0.6)] = FAT
    vessel = _noise(rng, shape, 26 / um)
    kinds[(vessel > 2.7) & (kinds != FAT) & (depth > 20)] = VESSEL
    # Tears: the thin zero lines of smooth noise, here and there.
    tear = np.abs(_noise(rng, shape, 420 / um) + 0.12 * fine)
    tears = (tear < 0.022) & (broad > 0.5)

    lesions = np.zeros(shape, np.uint8)
    wanted = {"negative": [], "itc": ["itc"] * 2, "micro": ["micro"], "macro": ["macro"]}[kind].copy()
    if kind == "micro":
        wanted += [str(rng.choice(["micro", "itc"]))] * int(rng.random() < 0.6)
    if kind == "macro":
        wanted += [str(rng.choice(["micro", "itc"]))] * int(rng.random() < 0.45)
    first = int(rng.choice([-1, 1]))
    for number, size in enumerate(wanted, start=1):
        side = first if number == 1 else -first
        clear = ndimage.binary_dilation(lesions > 0, iterations=int(np.ceil(180 / um))) if number > 1 else lesions > 0
        for _ in range(100):
            line, width = _spine(rng, size, (along, across), side)
            blob = _along(line, shape, um)
            rough = 0.30 if size != "macro" else 0.22
            inside = blob < width * (1 + rough * fine + 0.25 * broad).clip(0.62, 1.6)
            hole = None
            if size == "macro" and rng.random() < 0.5:  # an island of lymphoid tissue, annotated as an exclusion
                spot = line[rng.integers(60, 140)]
                away = np.hypot(x - spot[0], y - spot[1]) + 6 * fine
                inside |= away < 125
                hole = away < 62
            inside &= depth > 12
            numbers, count = ndimage.label(inside)
            if not count:
                continue
            inside = numbers == np.bincount(numbers.ravel())[1:].argmax() + 1
            inside = ndimage.binary_fill_holes(inside) & (depth > 0)
            if hole is not None:
                inside &= ~hole
            if (inside & clear).any() or not _right_size(inside, size, um):
                continue
            lesions[inside] = number
            break
        else:
            if number == 1:
                raise UserError(f"{slide}: no room for a {size} lesion: give simulation.area_mm2 a larger value")
    nests = (lesions > 0) & (_noise(rng, shape, 24 / um) > -1.5) & (np.abs(_noise(rng, shape, 75 / um)) > 0.13)
    kinds[(lesions > 0) & ~nests] = np.where(rng.random() < 0.5, STROMA, CORTEX)
    kinds[nests] = TUMOUR
    kinds[~tissue | (tears & (lesions == 0))] = GLASS
    return Layout(kinds, lesions, depth, um, site, look)


def _along(line: np.ndarray, shape: tuple[int, int], um: float) -> np.ndarray:
    """Distance (um) of every cell to a polyline given in um about the middle."""
    from scipy import ndimage

    fine = np.linspace(0, len(line) - 1, 1200)
    column, row = (np.interp(fine, np.arange(len(line)), line[:, axis]) / um for axis in (0, 1))
    off = np.ones(shape, bool)
    inside = (abs(row) < shape[0] / 2 - 1) & (abs(column) < shape[1] / 2 - 1)
    off[(row[inside] + shape[0] / 2).astype(int), (column[inside] + shape[1] / 2).astype(int)] = False
    return ndimage.distance_transform_edt(off).astype(np.float32) * um


def diameter(mask: np.ndarray, cell_um: float) -> float:
    """Largest distance (um) between two cells of ``mask``, outer edges included; 0 for an empty mask."""
    from scipy.spatial import ConvexHull, QhullError
    from scipy.spatial.distance import pdist

    points = np.argwhere(mask)
    if len(points) == 0:
        return 0.0
    points = (points[:, None] + np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])[None]).reshape(-1, 2)
    with contextlib.suppress(QhullError):  # cells in one line: every one of them is kept
        points = points[ConvexHull(points).vertices]
    return float(pdist(points).max() * cell_um)


def _right_size(mask: np.ndarray, kind: str, um: float) -> bool:
    # The challenge's classes, with a margin so that smoothing the outline changes none.
    low, high = {"itc": (40, 180), "micro": (240, 1900), "macro": (2040, 1e9)}[kind]
    return low < diameter(mask, um) < high


# ---------------------------------------------------------------------------------------------- annotations
def polygons(spots: Layout) -> list[tuple[str, np.ndarray]]:
    """Outlines of the lesions as a pathologist would draw them.

    Returns
    -------
    ``(group, points)`` pairs: group "Tumor" or "_0" for outer rings, "Exclusion" or "_2" for holes; points (n, 2) x, y
    in level-0 pixels, not closed.
    """
    import shapely
    from scipy import ndimage
    from skimage.measure import find_contours

    scale = 2 * CELL
    found = []
    for number in range(1, int(spots.lesions.max(initial=0)) + 1):
        outer_name, hole_name = ("Tumor", "Exclusion") if number % 2 else ("_0", "_2")
        mask = np.pad((spots.lesions == number).astype(np.float32), 1)
        rings = find_contours(ndimage.gaussian_filter(mask, 0.8), 0.5)
        rings = sorted(rings, key=lambda ring: -abs(_signed_area(ring)))
        rings = [ring for ring in rings if abs(_signed_area(ring)) > 12]
        for ring in rings:
            hole = np.sign(_signed_area(ring)) != np.sign(_signed_area(rings[0]))
            # by shapely: skimage's approximate_polygon imports scipy.signal, which costs more than the slide's outlines
            points = shapely.get_coordinates(shapely.simplify(shapely.LineString(ring), 0.6, preserve_topology=False))
            points = points[:-1, ::-1]
            found.append((hole_name if hole else outer_name, (points - 1 + 0.5) * scale))
    return found


def _signed_area(ring: np.ndarray) -> float:
    y, x = ring[:, 0], ring[:, 1]
    return 0.5 * float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))


# ---------------------------------------------------------------------------------------------- cells
@dataclass(frozen=True)
class Bank:
    """Many drawings of one kind of cell as flat pixel lists, so that thousands are stamped in one assignment.

    ``start`` and ``count`` (n,) delimit each drawing in ``dy, dx`` (offsets), ``h, e`` (haematoxylin, eosin, 0-255)
    and ``alpha`` (opacity 0-255).
    """

    start: np.ndarray
    count: np.ndarray
    dy: np.ndarray
    dx: np.ndarray
    h: np.ndarray
    e: np.ndarray
    alpha: np.ndarray
    reach: int


def _bank(
    rng: np.random.Generator,
    n: int,
    radius: tuple[float, float],
    aspect: tuple[float, float],
    h: tuple[float, float],
    e: tuple[float, float],
    clumps: float = 0.2,
    grain: float = 1.0,
    rim: float = 0.0,
    nucleoli: tuple[int, int] = (0, 0),
    rough: float = 0.06,
    opacity: float = 1.0,
    turn: np.ndarray | None = None,
    seam: float = 0.0,
) -> Bank:
    """Draw ``n`` cells: radius (px), aspect (short over long), stain ranges, chromatin clumps, rim and nucleoli.

    ``seam`` is the share of eosin lost at the cell's border (the pale line between two cells).
    """
    from scipy import ndimage

    reach = int(np.ceil(radius[1] * 1.25)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)[:, None]
    shape = (n, 1, 1)
    a = rng.uniform(*radius, shape).astype(np.float32)
    b = a * rng.uniform(*aspect, shape).astype(np.float32)
    phi = rng.uniform(0, np.pi, shape).astype(np.float32) if turn is None else turn.reshape(shape).astype(np.float32)
    u, v = x * np.cos(phi) + y * np.sin(phi), y * np.cos(phi) - x * np.sin(phi)
    bumps = 1.0
    for k in (2, 3, 5):
        bumps = bumps + rough * rng.standard_normal(shape) * np.cos(k * np.arctan2(v, u) + rng.uniform(0, 6.3, shape))
    r = np.hypot(u / a, v / b) / bumps
    alpha = np.clip((1.06 - r) * b / 1.3, 0, 1) * opacity
    chromatin = ndimage.gaussian_filter(rng.standard_normal((n, *x.shape[1:])).astype(np.float32), (0, grain, grain))
    chromatin /= chromatin.std() + 1e-6
    dark = rng.uniform(*h, shape) * (1 + clumps * chromatin) + rim * np.exp(-(((r - 0.88) / 0.13) ** 2))
    for index in range(nucleoli[1]):
        there = (rng.integers(nucleoli[0], nucleoli[1] + 1, shape) > index) * rng.uniform(45, 100, shape)
        far, at = rng.uniform(0, 0.55, shape) * b, rng.uniform(0, 6.3, shape)
        spot = ((u - far * np.cos(at)) ** 2 + (v - far * np.sin(at)) ** 2) / rng.uniform(1.0, 2.0, shape) ** 2
        dark = dark + there * np.exp(-0.5 * spot)
    pink = rng.uniform(*e, shape) * (1 + 0.12 * chromatin) * (1 - seam * np.exp(-(((r - 1.0) / 0.12) ** 2)))
    keep = alpha > 0.04
    which, row, column = np.nonzero(keep)
    count = np.bincount(which, minlength=n)
    return Bank(
        (np.cumsum(count) - count).astype(np.int32),
        count.astype(np.int32),
        (row - reach).astype(np.int32),
        (column - reach).astype(np.int32),
        np.clip(dark[keep], 0, 255).astype(np.int16),
        np.clip(pink[keep], 0, 255).astype(np.int16),
        (alpha[keep] * 255).astype(np.int16),
        reach,
    )


def _stamp(dark: np.ndarray, pink: np.ndarray, y: np.ndarray, x: np.ndarray, bank: Bank, which: np.ndarray) -> None:
    """Blend drawing ``which`` of the bank at each position into both canvases (uint8, in place)."""
    height, width = dark.shape
    inside = (y >= bank.reach) & (y < height - bank.reach) & (x >= bank.reach) & (x < width - bank.reach)
    y, x, which = y[inside].astype(np.int32), x[inside].astype(np.int32), which[inside]
    offset = bank.dy * width + bank.dx
    flat_dark, flat_pink = dark.reshape(-1), pink.reshape(-1)
    for chunk in range(0, len(y), 4000):
        part = slice(chunk, chunk + 4000)
        count = bank.count[which[part]]
        ends = np.cumsum(count)
        pixel = np.arange(ends[-1], dtype=np.int32) + np.repeat(bank.start[which[part]] - (ends - count), count)
        target = np.repeat(y[part] * width + x[part], count) + offset[pixel]
        alpha = bank.alpha[pixel]
        for canvas, ink in ((flat_dark, bank.h), (flat_pink, bank.e)):
            old = canvas[target].astype(np.int16)
            canvas[target] = old + ((ink[pixel] - old) * alpha.astype(np.int32) // 255).astype(np.int16)


def _positions(rng: np.random.Generator, shape: tuple[int, int], step: float) -> tuple[np.ndarray, np.ndarray]:
    """Jittered hexagonal grid over a canvas: y, x (float32, px). It keeps cells apart as a Poisson disc does."""
    rows, columns = int(shape[0] / (step * 0.866)) + 1, int(shape[1] / step) + 1
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    x = (x + 0.5 * (y % 2)) * step
    y = y * (step * 0.866)
    wobble = (rng.random((2, rows, columns), dtype=np.float32) - 0.5) * (0.75 * step)
    return (y + wobble[0]).ravel(), (x + wobble[1]).ravel()


# ---------------------------------------------------------------------------------------------- drawing
@functools.lru_cache(maxsize=1)
def _mottle() -> np.ndarray:
    """A periodic 1024 x 1024 texture (int8): the fine unevenness of cytoplasm and ground substance."""
    from scipy import ndimage

    rng = generator("simulate", "mottle")
    white = rng.standard_normal((1024, 1024)).astype(np.float32)
    texture = sum(
        weight * (layer := ndimage.gaussian_filter(white, sigma, mode="wrap")) / layer.std()
        for sigma, weight in ((0.7, 0.6), (1.8, 0.6), (6.0, 0.45))
    )
    return np.clip(texture / texture.std() * 40, -127, 127).astype(np.int8)


def _enlarge(coarse: np.ndarray, factor: int) -> np.ndarray:
    from PIL import Image

    size = coarse.shape[1] * factor, coarse.shape[0] * factor
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR))


# kind: (haematoxylin, eosin, mottle, fibres) of the ground, 0-255 of full scale (optical density 3.0 and 1.5)
_GROUND = {
    GLASS: (0, 0, 0, 0),
    FAT: (0, 3, 0, 0),
    STROMA: (10, 78, 10, 200),
    SINUS: (3, 18, 14, 20),
    CORTEX: (12, 42, 26, 0),
    PARACORTEX: (9, 42, 26, 12),
    MANTLE: (14, 46, 22, 0),
    GERMINAL: (16, 52, 22, 0),
    TUMOUR: (5, 24, 34, 0),
    VESSEL: (2, 60, 10, 0),
    HISTIOCYTES: (6, 44, 34, 0),
}
# share of the grid's sites that hold a cell: lymphocyte, centroblast, histiocyte
_SITES = {
    FAT: (0.0, 0.0, 0.0),
    STROMA: (0.05, 0.0, 0.02),
    SINUS: (0.20, 0.0, 0.35),
    CORTEX: (1.0, 0.03, 0.05),
    PARACORTEX: (0.80, 0.06, 0.12),
    MANTLE: (1.2, 0.0, 0.0),
    GERMINAL: (0.24, 0.80, 0.08),
    TUMOUR: (0.0, 0.0, 0.0),
    HISTIOCYTES: (0.13, 0.0, 0.05),
    VESSEL: (0.02, 0.0, 0.10),
}


def _table(column: int, rows: dict[int, tuple]) -> np.ndarray:
    return np.array([rows.get(kind, (0,) * 4)[column] for kind in range(KINDS)], np.float32)


def draw(spots: Layout, slide: str, seed: int, pen: float = 0.0) -> np.ndarray:
    """Draw a layout at 20x: (h, w, 3) uint8."""
    from scipy import ndimage

    rng = generator(seed, "simulate", slide, "cells")
    site = spots.center
    um = 2 * site.mpp  # of a 20x pixel
    kinds = spots.kinds
    width = kinds.shape[1] * CELL

    ground = [
        ndimage.gaussian_filter(_table(column, _GROUND)[kinds], 0.55).clip(0, 255).astype(np.uint8)
        for column in range(4)
    ]
    tint = (255 * site.tint * np.where(kinds > FAT, 1, 0)).astype(np.uint8)
    dark, pink = np.array(_enlarge(ground[0] + tint // 3, CELL)), np.array(_enlarge(ground[1], CELL))

    # Fibres: isolines of a warped slope, so that bundles run and wave together.
    coarse = kinds.shape
    lean = rng.uniform(0, np.pi)
    yy, xx = np.mgrid[: coarse[0], : coarse[1]].astype(np.float32)
    phase = (yy * np.cos(lean) + xx * np.sin(lean)) * 1.3 + 7 * _noise(rng, coarse, 22) + 1.6 * _noise(rng, coarse, 7)
    profile = ndimage.gaussian_filter1d(rng.standard_normal(4096), 2.2, mode="wrap")
    profile = np.clip(profile / profile.std() * 26 + 4, -52, 60).astype(np.int16)
    texture = np.roll(_mottle(), tuple(rng.integers(0, 1024, 2)), (0, 1))
    texture = np.tile(texture, (1, width // 1024 + 1))[:, :width]
    rows = 32
    for top in range(0, coarse[0], rows):
        part = slice(top, min(top + rows, coarse[0]))
        fine = slice(part.start * CELL, part.stop * CELL)
        if not kinds[part].any():
            continue
        amount = _enlarge(ground[2][part], CELL).astype(np.int16)
        local = np.take(texture, np.arange(fine.start, fine.stop) % 1024, axis=0).astype(np.int16) * amount >> 5
        fibres = _enlarge(ground[3][part], CELL)
        if fibres.any():
            index = np.flatnonzero(fibres)
            wave = _enlarge(phase[part], CELL).ravel()[index]
            grain = profile[(wave * 8).astype(np.int32) & 4095]
            local.reshape(-1)[index] += (grain * fibres.ravel()[index].astype(np.int16)) >> 8
        pink[fine] = np.clip(pink[fine] + local, 0, 255)
        dark[fine] = np.clip(dark[fine] + (local >> 2), 0, 255)

    if (kinds == FAT).any():
        _fat(rng, kinds, pink, dark, um)
    _cells(rng, spots, dark, pink, phase, um)
    return _colour(rng, spots, dark, pink, pen)


def _fat(rng: np.random.Generator, kinds: np.ndarray, pink: np.ndarray, dark: np.ndarray, um: float) -> None:
    """Membranes of fat cells: the borders of a Voronoi diagram."""
    from scipy.spatial import cKDTree

    y, x = _positions(rng, pink.shape, 60 / um)
    step = 4
    block = np.argwhere(np.kron(kinds == FAT, np.ones((CELL // step, CELL // step), bool)))
    near = cKDTree(np.stack([y, x], 1)).query(block * step, k=2)[0]
    wall = np.zeros(tuple(size * CELL // step for size in kinds.shape), np.float32)
    wall[tuple(block.T)] = 90 * np.exp(-(((near[:, 1] - near[:, 0]) / 4.5) ** 2))
    low, high = block.min(0), block.max(0) + 1
    window = tuple(slice(a * step, b * step) for a, b in zip(low, high, strict=True))
    drawn = _enlarge(wall[low[0] : high[0], low[1] : high[1]].astype(np.uint8), step)
    pink[window] = np.maximum(pink[window], drawn)
    dark[window] = np.maximum(dark[window], drawn // 8)


def _cells(
    rng: np.random.Generator, spots: Layout, dark: np.ndarray, pink: np.ndarray, phase: np.ndarray, um: float
) -> None:
    """Stamp every cell, large pale ones first so that lymphocytes lie over them."""
    kinds, look = spots.kinds, spots.look
    px = 1 / um
    tint = 255 * spots.center.tint

    def sites(step_um: float, share: np.ndarray, uneven: np.ndarray | None = None):
        y, x = _positions(rng, dark.shape, step_um * px)
        row = np.clip((y / CELL).astype(np.int32), 0, kinds.shape[0] - 1)
        column = np.clip((x / CELL).astype(np.int32), 0, kinds.shape[1] - 1)
        kind = kinds[row, column]
        wanted = share[kind] if uneven is None else share[kind] * uneven[row, column]
        kept = rng.random(len(y), dtype=np.float32) < wanted
        return y[kept], x[kept], kind[kept]

    def put(step_um: float, share: np.ndarray, bank: Bank, uneven: np.ndarray | None = None) -> None:
        y, x, _ = sites(step_um, share, uneven)
        _stamp(dark, pink, y, x, bank, rng.integers(0, len(bank.count), len(y)))

    only = np.eye(KINDS, dtype=np.float32)
    grade = look["grade"]
    # Histiocytes and endothelium; macrophages of the germinal centres (pale, with debris).
    put(10.0, _table(2, _SITES), _bank(rng, 32, (3.2 * px, 4.6 * px), (0.5, 0.9), (62, 95), (40, 60), 0.2, rim=25))
    put(44.0, only[GERMINAL] * 0.6, _bank(rng, 12, (7 * px, 10 * px), (0.7, 1), (2, 10), (14, 26), 0.6, 2.0, rough=0.1))
    blast = _bank(rng, 64, (3.6 * px, 5.4 * px), (0.7, 0.98), (58, 100), (42, 60), 0.24, 1.3, 34, (1, 3))
    put(10.2, _table(1, _SITES), blast)
    # Red cells in vessels.
    put(6.0, only[VESSEL] * 0.85, _bank(rng, 16, (2.6 * px, 3.2 * px), (0.75, 1), (0, 6), (150, 205), 0.1))
    # Fibroblasts lie along the fibres: the drawing is chosen by the local direction.
    turns = np.linspace(0, np.pi, 24, endpoint=False)
    bank = _bank(rng, 24, (5 * px, 8 * px), (0.16, 0.32), (90, 140), (60, 80), 0.15, turn=turns)
    y, x, _ = sites(19.0, only[STROMA] * 0.55)
    down, right = np.gradient(phase)
    at = np.clip((y / CELL).astype(int), 0, kinds.shape[0] - 1), np.clip((x / CELL).astype(int), 0, kinds.shape[1] - 1)
    angle = np.arctan2(down[at], right[at]) + np.pi / 2
    _stamp(dark, pink, y, x, bank, np.rint(angle / np.pi * 24).astype(int) % 24)
    # Histiocytes in sheets: ample pink cytoplasm, small pale nuclei without nucleoli.
    if (kinds == HISTIOCYTES).any():
        y, x, _ = sites(12.0, only[HISTIOCYTES])
        body = _bank(
            rng, 24, (5.8 * px, 8.0 * px), (0.7, 1), (8 + tint * 0.4, 18 + tint * 0.6), (46, 76), 0.25, 1.2, seam=0.5
        )
        _stamp(dark, pink, y, x, body, rng.integers(0, 24, len(y)))
        nucleus = _bank(
            rng, 48, (3.3 * px, 4.6 * px), (0.5, 0.9), (52, 92), (40, 58), 0.22, 1.2, 30, (0, 1), rough=0.08
        )
        _stamp(dark, pink, y, x, nucleus, rng.integers(0, 48, len(y)))
    # Metastasis: cell bodies with visible borders, then large pale nuclei with nucleoli.
    if (kinds == TUMOUR).any():
        y, x, _ = sites(11.2 + 2.8 * grade, only[TUMOUR])
        eosin = 62 + look["cytoplasm"], 94 + look["cytoplasm"]
        h = 12 + tint * 0.5, 26 + tint * 0.7
        body = _bank(rng, 24, (6.2 * px, 8.4 * px), (0.75, 1), h, eosin, 0.3, 1.2, rough=0.09, opacity=0.85, seam=0.45)
        _stamp(dark, pink, y, x, body, rng.integers(0, 24, len(y)))
        low, size = 40 + 44 * look["chromatin"], 0.9 * grade
        nucleus = _bank(
            rng,
            64,
            ((3.7 + size) * px, (5.3 + size) * px),
            (0.68, 0.98),
            (low, low + 34),
            (44, 64),
            0.26,
            1.2,
            42,
            (int(grade > 0.3), 2),
        )
        near = rng.normal(0, 1.2, (2, len(y)))
        there = rng.random(len(y)) < 0.93
        _stamp(dark, pink, (y + near[0])[there], (x + near[1])[there], nucleus, rng.integers(0, 64, int(there.sum())))
    # Lymphocytes: small, round, dark, chromatin in clumps.
    small = _bank(rng, 96, (2.2 * px, 2.95 * px), (0.8, 1.0), (135, 188), (36, 58), 0.17, 1.0, 14)
    share = _table(0, _SITES) * min(1.0, look["density"] * spots.center.packing)
    share[TUMOUR] = look["infiltrate"]
    uneven = np.clip(1 + look["patchiness"] * _noise(rng, kinds.shape, 18), 0.35, 1.25)
    put(6.3, np.clip(share, 0, 0.97), small, uneven)


def _colour(rng: np.random.Generator, spots: Layout, dark: np.ndarray, pink: np.ndarray, pen: float) -> np.ndarray:
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


def _dirt(rng: np.random.Generator, spots: Layout, image: np.ndarray, pen: float) -> None:
    """A patch out of focus, dust, and perhaps a pen mark (in place)."""
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
        cover = np.clip(np.minimum(55 - across, ends) / 4, 0, 1) * (0.75 + 0.06 * _noise(rng, y.shape, 25))
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
    spots = layout(slide, kind, center, seed, **settings)
    options = _options(settings)
    picture = draw(spots, slide, seed, float(options["pen"]))
    write_slide(picture, spots.center.mpp, slide, seed, image_path, int(options["quality"]))
    rings = [
        Outline(f"Annotation {number}", group, np.round(points, 2))
        for number, (group, points) in enumerate(polygons(spots))
    ]
    write_asap(annotation_path, rings, {group: COLOURS[group] for group in dict.fromkeys(ring.group for ring in rings)})
    numbers = range(1, int(spots.lesions.max(initial=0)) + 1)
    return {
        "slide": slide,
        "width": 2 * picture.shape[1],
        "height": 2 * picture.shape[0],
        "mpp": spots.center.mpp,
        "area_mm2": round(float((spots.kinds != GLASS).sum()) * spots.cell_um**2 / 1e6, 3),
        "lesions_um": [round(diameter(spots.lesions == number, spots.cell_um), 1) for number in numbers],
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
