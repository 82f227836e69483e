"""The coarse plan of a simulated lymph node: capsule, sinuses, follicles, stroma, fat, lesions."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
#: Settings of ``render.simulate_slide`` that config.yaml may change.
DEFAULTS: dict[str, Any] = {
    "area_mm2": 1.6,  # mean tissue area of a slide
    "variation": 1.0,  # spread of stain and composition between slides
    "pen": 0.12,  # probability of a pen mark
    "quality": 82,  # JPEG quality
}

# Kinds of tissue a coarse cell can be.
GLASS, FAT, STROMA, SINUS, CORTEX, PARACORTEX, MANTLE, GERMINAL, TUMOUR, VESSEL, HISTIOCYTES, GLAND, LUMEN = range(13)
KINDS = 13


def cohort(n_train: int = 30, n_test: int = 24, seed: int = 1802) -> list[dict[str, Any]]:
    """Return the slides table of the simulated dataset: balanced over labels and centres in both splits.

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
        # ITC alone hardly shows in a bag: one slide of each split.
        kinds = ["itc"] * int(half >= 8)
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


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], step: float) -> np.ndarray:
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
    if kind == "itc":
        length, width = rng.uniform(5, 50), rng.uniform(26, 44)
    else:
        low, high, thin, thick = (300, 640, 60, 105) if kind == "micro" else (250, 380, 26, 48)
        length, width = rng.uniform(low, high), rng.uniform(thin, thick)
        length = max(10.0, length - 2 * width)
    where = rng.uniform(-0.55, 0.55) * along
    reach = across * np.sqrt(1 - (where / along) ** 2)
    middle = np.array([where, side * rng.uniform(0.1, 0.55) * reach])
    angle = rng.normal(0, 0.4)
    t = np.linspace(-length / 2, length / 2, 60)
    bend = rng.uniform(-1, 1) * length * 0.15
    line = np.stack([t, bend * np.cos(np.pi * t / length)], 1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return middle + line @ turn, width


def with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
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
    options = with_defaults(settings)
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
        "infiltrate": float(rng.uniform(0.06, 0.32)),  # lymphocytes among tumour cells
        "nesting": float(rng.uniform(0.10, 0.30)),  # of the metastasis: how much stroma parts its nests
        "subtlety": float(rng.uniform(0, 0.5)),  # of the metastasis: 0 large cells, 1 hardly more than histiocytes
        "glands": float(np.clip(rng.normal(0.5, 0.4 * spread), 0, 1.3)),
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
    tissue = radius + 0.012 * smooth_noise(rng, shape, 60 / um) < edge
    tissue[[0, -1]] = tissue[:, [0, -1]] = False
    depth = ndimage.distance_transform_edt(tissue).astype(np.float32) * um

    kinds = np.full(shape, PARACORTEX, np.uint8)
    broad, fine = smooth_noise(rng, shape, 260 / um), smooth_noise(rng, shape, 70 / um)
    kinds[depth + 90 * broad < 330] = CORTEX
    # Sinuses: bands along the zero lines of smooth noise, in the medulla, and under the capsule.
    band = np.abs(smooth_noise(rng, shape, 110 / um) + 0.3 * fine)
    kinds[(band < 0.26 * look["sinus"]) & (depth + 80 * broad > 200)] = SINUS
    kinds[(depth > 24) & (depth + 10 * fine < 24 + 30 * look["sinus"])] = SINUS
    # Sheets of histiocytes, as in a reactive sinus: large, pale and pink, yet no tumour.
    for _ in range(int(rng.poisson(14 * look["histiocytes"]))):
        spot = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        if depth[spot] < 50:
            continue
        turn, size, squash = rng.uniform(0, np.pi), rng.uniform(45, 120), rng.uniform(0.35, 0.9)
        kinds[_elliptic(x - x[spot], y - y[spot], turn, squash) + 22 * fine < size] = HISTIOCYTES
    # Benign glands: a ring of epithelium about a lumen, alone or a few together, with a little stroma.
    for _ in range(int(rng.poisson(4 * look["glands"]))):
        spot = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        if depth[spot] < 60:
            continue
        for _ in range(int(rng.integers(1, 5))):
            middle = y[spot] + rng.normal(0, 55), x[spot] + rng.normal(0, 55)
            turn, size, squash = rng.uniform(0, np.pi), rng.uniform(24, 52), rng.uniform(0.5, 0.95)
            away = _elliptic(x - middle[1], y - middle[0], turn, squash) + 4 * fine
            kinds[away < size + 12] = STROMA
            kinds[away < size] = GLAND
            kinds[away < size - 17] = LUMEN
    # Follicles in the cortex, each a mantle of small cells about a germinal centre.
    for _ in range(int(rng.poisson(26 * look["follicles"]))):
        spot = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        if not 130 < depth[spot] < 420:
            continue
        size, squash, turn = rng.uniform(70, 170), rng.uniform(0.65, 1.0), rng.uniform(0, np.pi)
        away = _elliptic(x - x[spot], y - y[spot], turn, squash) + 14 * fine
        kinds[(away < size + rng.uniform(20, 45)) & (kinds != STROMA)] = MANTLE
        kinds[away < size] = GERMINAL
    # Stroma: capsule, trabeculae, and a hilum with fat.
    kinds[depth + 5 * fine < 16 + 14 * look["stroma"]] = STROMA
    beam = np.abs(smooth_noise(rng, shape, 330 / um) + 0.2 * fine)
    kinds[beam < 0.10 * look["stroma"]] = STROMA
    hilum = np.hypot(x - rng.uniform(-0.6, 0.6) * along, y - rng.choice([-1, 1]) * across) + 35 * fine
    kinds[hilum < 330 * look["stroma"]] = STROMA
    if rng.random() < 0.75:
        kinds[(hilum < 250 * look["stroma"]) & (broad > -0.6)] = FAT
    vessel = smooth_noise(rng, shape, 26 / um)
    kinds[(vessel > 2.7) & (kinds != FAT) & (depth > 20)] = VESSEL
    # Tears: the thin zero lines of smooth noise, here and there.
    tear = np.abs(smooth_noise(rng, shape, 420 / um) + 0.12 * fine)
    tears = (tear < 0.022) & (broad > 0.5)

    lesions = np.zeros(shape, np.uint8)
    wanted = {"negative": [], "itc": ["itc"] * 2, "micro": ["micro"], "macro": ["macro"]}[kind].copy()
    if kind in ("micro", "macro"):  # as on real slides, small ones lie beside the largest
        wanted += [str(size) for size in rng.choice(["small", "itc"], rng.poisson(3), p=(0.8, 0.2))]
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
    nests = (
        (lesions > 0)
        & (smooth_noise(rng, shape, 24 / um) > -1.4)
        & (np.abs(smooth_noise(rng, shape, 75 / um)) > look["nesting"])
    )
    kinds[(lesions > 0) & ~nests] = np.where(rng.random() < 0.5, STROMA, CORTEX)
    kinds[nests] = TUMOUR
    kinds[~tissue | (tears & (lesions == 0))] = GLASS
    return Layout(kinds, lesions, depth, um, site, look)


def _elliptic(dx: np.ndarray, dy: np.ndarray, turn: float, squash: float) -> np.ndarray:
    """Distance (um) along the axis at ``turn`` (radians); across it, it counts 1 / ``squash`` times as much."""
    u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    return np.hypot(u, v / squash)


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
    low, high = {"itc": (40, 180), "small": (240, 600), "micro": (240, 1900), "macro": (2040, 1e9)}[kind]
    return low < diameter(mask, um) < high


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
