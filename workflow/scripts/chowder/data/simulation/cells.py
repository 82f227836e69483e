"""Cells of a simulated slide: a bank of drawn nuclei, where they lie, and fat."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from chowder.data.simulation import layout
from chowder.seeds import generator


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


@functools.lru_cache(maxsize=1)
def mottle() -> np.ndarray:
    """Return a periodic 1024 x 1024 texture (int8): the fine unevenness of cytoplasm and ground substance."""
    from scipy import ndimage

    rng = generator("simulate", "mottle")
    white = rng.standard_normal((1024, 1024)).astype(np.float32)
    texture = sum(
        weight * (layer := ndimage.gaussian_filter(white, sigma, mode="wrap")) / layer.std()
        for sigma, weight in ((0.7, 0.6), (1.8, 0.6), (6.0, 0.45))
    )
    return np.clip(texture / texture.std() * 40, -127, 127).astype(np.int8)


def enlarge(coarse: np.ndarray, factor: int) -> np.ndarray:
    """Enlarge a texture (h, w) by a whole factor, bilinearly."""
    from PIL import Image

    size = coarse.shape[1] * factor, coarse.shape[0] * factor
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR))


# kind: (haematoxylin, eosin, mottle, fibres) of the ground, 0-255 of full scale (optical density 3.0 and 1.5)
GROUND = {
    layout.GLASS: (0, 0, 0, 0),
    layout.FAT: (0, 3, 0, 0),
    layout.STROMA: (10, 78, 10, 200),
    layout.SINUS: (3, 18, 14, 20),
    layout.CORTEX: (12, 42, 26, 0),
    layout.PARACORTEX: (9, 42, 26, 12),
    layout.MANTLE: (14, 46, 22, 0),
    layout.GERMINAL: (16, 52, 22, 0),
    layout.TUMOUR: (6, 38, 34, 0),
    layout.VESSEL: (2, 60, 10, 0),
    layout.HISTIOCYTES: (6, 44, 34, 0),
    layout.GLAND: (8, 40, 24, 0),
    layout.LUMEN: (1, 8, 6, 0),
}
# share of the grid's sites that hold a cell: lymphocyte, centroblast, histiocyte
_SITES = {
    layout.FAT: (0.0, 0.0, 0.0),
    layout.STROMA: (0.05, 0.0, 0.02),
    layout.SINUS: (0.20, 0.0, 0.35),
    layout.CORTEX: (1.0, 0.03, 0.05),
    layout.PARACORTEX: (0.80, 0.06, 0.12),
    layout.MANTLE: (1.2, 0.0, 0.0),
    layout.GERMINAL: (0.24, 0.80, 0.08),
    layout.TUMOUR: (0.0, 0.0, 0.0),
    layout.HISTIOCYTES: (0.13, 0.0, 0.05),
    layout.VESSEL: (0.02, 0.0, 0.10),
    layout.GLAND: (0.03, 0.0, 0.0),
    layout.LUMEN: (0.0, 0.0, 0.01),
}


def colour_table(column: int, rows: dict[int, tuple]) -> np.ndarray:
    """Return one column of a table of colours by kind of tissue, (kinds,) float32; kinds without a row get 0."""
    return np.array([rows.get(kind, (0,) * 4)[column] for kind in range(layout.KINDS)], np.float32)


def draw_fat(rng: np.random.Generator, kinds: np.ndarray, pink: np.ndarray, dark: np.ndarray, um: float) -> None:
    """Membranes of fat cells: the borders of a Voronoi diagram."""
    from scipy.spatial import cKDTree

    y, x = _positions(rng, pink.shape, 60 / um)
    step = 4
    block = np.argwhere(np.kron(kinds == layout.FAT, np.ones((layout.CELL // step, layout.CELL // step), bool)))
    near = cKDTree(np.stack([y, x], 1)).query(block * step, k=2)[0]
    wall = np.zeros(tuple(size * layout.CELL // step for size in kinds.shape), np.float32)
    wall[tuple(block.T)] = 90 * np.exp(-(((near[:, 1] - near[:, 0]) / 4.5) ** 2))
    low, high = block.min(0), block.max(0) + 1
    window = tuple(slice(a * step, b * step) for a, b in zip(low, high, strict=True))
    drawn = enlarge(wall[low[0] : high[0], low[1] : high[1]].astype(np.uint8), step)
    pink[window] = np.maximum(pink[window], drawn)
    dark[window] = np.maximum(dark[window], drawn // 8)


def stamp_cells(
    rng: np.random.Generator, spots: layout.Layout, dark: np.ndarray, pink: np.ndarray, phase: np.ndarray, um: float
) -> None:
    """Stamp every cell, large pale ones first so that lymphocytes lie over them."""
    kinds, look = spots.kinds, spots.look
    px = 1 / um
    tint = 255 * spots.center.tint

    def sites(step_um: float, share: np.ndarray, uneven: np.ndarray | None = None):
        y, x = _positions(rng, dark.shape, step_um * px)
        row = np.clip((y / layout.CELL).astype(np.int32), 0, kinds.shape[0] - 1)
        column = np.clip((x / layout.CELL).astype(np.int32), 0, kinds.shape[1] - 1)
        kind = kinds[row, column]
        wanted = share[kind] if uneven is None else share[kind] * uneven[row, column]
        kept = rng.random(len(y), dtype=np.float32) < wanted
        return y[kept], x[kept], kind[kept]

    def put(step_um: float, share: np.ndarray, bank: Bank, uneven: np.ndarray | None = None) -> None:
        y, x, _ = sites(step_um, share, uneven)
        _stamp(dark, pink, y, x, bank, rng.integers(0, len(bank.count), len(y)))

    only = np.eye(layout.KINDS, dtype=np.float32)
    grade = look["grade"]
    # Histiocytes and endothelium; macrophages of the germinal centres (pale, with debris).
    put(
        10.0, colour_table(2, _SITES), _bank(rng, 32, (3.2 * px, 4.6 * px), (0.5, 0.9), (62, 95), (40, 60), 0.2, rim=25)
    )
    put(
        44.0,
        only[layout.GERMINAL] * 0.6,
        _bank(rng, 12, (7 * px, 10 * px), (0.7, 1), (2, 10), (14, 26), 0.6, 2.0, rough=0.1),
    )
    blast = _bank(rng, 64, (3.6 * px, 5.4 * px), (0.7, 0.98), (58, 100), (42, 60), 0.24, 1.3, 34, (1, 3))
    put(10.2, colour_table(1, _SITES), blast)
    # Red cells in vessels.
    put(6.0, only[layout.VESSEL] * 0.85, _bank(rng, 16, (2.6 * px, 3.2 * px), (0.75, 1), (0, 6), (150, 205), 0.1))
    # Fibroblasts lie along the fibres: the drawing is chosen by the local direction.
    turns = np.linspace(0, np.pi, 24, endpoint=False)
    bank = _bank(rng, 24, (5 * px, 8 * px), (0.16, 0.32), (90, 140), (60, 80), 0.15, turn=turns)
    y, x, _ = sites(19.0, only[layout.STROMA] * 0.55)
    down, right = np.gradient(phase)
    at = (
        np.clip((y / layout.CELL).astype(int), 0, kinds.shape[0] - 1),
        np.clip((x / layout.CELL).astype(int), 0, kinds.shape[1] - 1),
    )
    angle = np.arctan2(down[at], right[at]) + np.pi / 2
    _stamp(dark, pink, y, x, bank, np.rint(angle / np.pi * 24).astype(int) % 24)
    # Histiocytes in sheets: ample pink cytoplasm, small pale nuclei without nucleoli.
    if (kinds == layout.HISTIOCYTES).any():
        y, x, _ = sites(12.0, only[layout.HISTIOCYTES])
        body = _bank(
            rng, 24, (5.8 * px, 8.0 * px), (0.7, 1), (8 + tint * 0.4, 18 + tint * 0.6), (46, 76), 0.25, 1.2, seam=0.5
        )
        _stamp(dark, pink, y, x, body, rng.integers(0, 24, len(y)))
        nucleus = _bank(
            rng, 48, (3.3 * px, 4.6 * px), (0.5, 0.9), (52, 92), (40, 58), 0.22, 1.2, 30, (0, 1), rough=0.08
        )
        _stamp(dark, pink, y, x, nucleus, rng.integers(0, 48, len(y)))
    # Glands: columnar cells with ovoid, even nuclei without nucleoli.
    if (kinds == layout.GLAND).any():
        y, x, _ = sites(8.6, only[layout.GLAND])
        h = 10 + tint * 0.5, 20 + tint * 0.7
        body = _bank(rng, 24, (5.0 * px, 6.6 * px), (0.6, 0.9), h, (48, 78), 0.2, 1.2, seam=0.4)
        _stamp(dark, pink, y, x, body, rng.integers(0, 24, len(y)))
        nucleus = _bank(rng, 48, (3.2 * px, 4.4 * px), (0.5, 0.75), (66, 108), (42, 60), 0.2, 1.2, 26)
        _stamp(dark, pink, y, x, nucleus, rng.integers(0, 48, len(y)))
    # Metastasis: cells that abut, with ample pale cytoplasm, and large pale ovoid nuclei with nucleoli. A subtle one
    # has smaller cells, more like histiocytes.
    if (kinds == layout.TUMOUR).any():
        s = look["subtlety"]

        def between(clear: tuple[float, float], histiocyte: tuple[float, float]) -> tuple[float, float]:
            return tuple((1 - s) * a + s * b for a, b in zip(clear, histiocyte, strict=True))

        y, x, _ = sites((1 - s) * (11.6 + 2.4 * grade) + s * 12.0, only[layout.TUMOUR])
        size = 6.6 + 1.6 * grade
        eosin = 50 + look["cytoplasm"] / 2, 86 + look["cytoplasm"] / 2
        radius = between((size, 1.28 * size), (5.8, 8.0))
        h = between((4 + tint * 0.4, 14 + tint * 0.6), (8 + tint * 0.4, 18 + tint * 0.6))
        body = _bank(
            rng, 24, (radius[0] * px, radius[1] * px), (0.72, 1), h, between(eosin, (46, 76)), 0.25, 1.2, seam=0.5
        )
        _stamp(dark, pink, y, x, body, rng.integers(0, 24, len(y)))
        low = 52 + 40 * look["chromatin"]
        radius = between((4.3 + 0.8 * grade, 5.6 + 0.8 * grade), (3.3, 4.6))
        nucleus = _bank(
            rng,
            64,
            (radius[0] * px, radius[1] * px),
            between((0.6, 0.95), (0.5, 0.9)),
            between((low, low + 34), (52, 92)),
            (42, 60),
            0.23,
            1.2,
            36,
            (int(grade * (1 - s) > 0.25), 1 + int(s < 0.6)),
            rough=0.08,
        )
        near = rng.normal(0, 1.0 - s, (2, len(y)))
        there = rng.random(len(y)) < 0.96
        _stamp(dark, pink, (y + near[0])[there], (x + near[1])[there], nucleus, rng.integers(0, 64, int(there.sum())))
    # Lymphocytes: small, round, dark, chromatin in clumps.
    small = _bank(rng, 96, (2.2 * px, 2.95 * px), (0.8, 1.0), (135, 188), (36, 58), 0.17, 1.0, 14)
    share = colour_table(0, _SITES) * min(1.0, look["density"] * spots.center.packing)
    share[layout.TUMOUR] = look["infiltrate"]
    uneven = np.clip(1 + look["patchiness"] * layout.smooth_noise(rng, kinds.shape, 18), 0.35, 1.25)
    nests = kinds == layout.TUMOUR  # lymphocytes lie in groups, so that the cells about them abut
    uneven[nests] = np.clip(1 + 1.4 * layout.smooth_noise(rng, kinds.shape, 7), 0, 3)[nests]
    uneven[nests & (spots.lesions > 1)] *= 2.3  # the smaller a deposit, the more of the node's own cells
    put(6.3, np.clip(share, 0, 0.97), small, uneven)
