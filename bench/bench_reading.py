"""Reading 224-px tiles of a Camelyon-like TIFF on one core: this reader beside what a user would write instead.

    python bench/bench_reading.py [--rounds 5] [--rows 16] [--width 32768] [--slide FILE]

Without --slide the file is made: a slide of the real material (SHARED_DATA, or ../shared/data) laid out many times, or
noise where that is not at hand; 512-px JPEG tiles, level 0 at 0.243 um/px, as wide as many of Camelyon-16. (Width
matters: OpenSlide caches 32 MB of decoded tiles, which is a row of 16,384 px.) Rounds are interleaved, so that other
work on the machine hits all alike. Tiles per second: median (lowest to highest); and by processor time, which other
work on the machine disturbs less. Before anything is measured, pixels are compared with OpenSlide's, and a spoilt tile
must be an error.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["VIPS_CONCURRENCY"] = "1"
HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1] / "workflow" / "scripts"), str(HERE.parents[1] / "tests")]

import numpy as np  # noqa: E402
import openslide  # noqa: E402
import pyvips  # noqa: E402
from PIL import Image  # noqa: E402

from chowder.slides import describe  # noqa: E402
from chowder.slides import grid as tiling  # noqa: E402
from chowder.slides.reader import Reader  # noqa: E402
from shared_data import SHARED  # noqa: E402

SIZE = 224


def make(path: Path, width: int) -> None:
    """A pyramidal TIFF of ``width`` x 8,192 px like Camelyon's."""
    if SHARED is not None:
        image = pyvips.Image.tiffload(str(SHARED / "real_slides" / "images" / "tumor_001.tif"))
        image = image.crop(900, 900, 2900, 2900).replicate(-(-width // 2900), 3).crop(0, 0, width, 8192)
    else:
        noise = np.random.default_rng(0).integers(0, 255, (2048, 2048, 3), dtype=np.uint8)
        image = pyvips.Image.new_from_array(noise).resize(4).replicate(-(-width // 8192), 1).crop(0, 0, width, 8192)
    options = {"tile": True, "tile_width": 512, "tile_height": 512, "compression": "jpeg", "Q": 80, "pyramid": True}
    image.tiffsave(str(path), xres=1000 / 0.243, yres=1000 / 0.243, bigtiff=True, **options)


def ours(path: str, grid: tiling.Grid, places: list[tuple[int, int]]) -> None:
    xy = np.rint(np.array(places) * grid.extent).astype(int)
    with Reader(path, grid.mpp0) as reader:
        for tile in reader.tiles(xy, grid):
            assert tile.shape == (SIZE, SIZE, 3)


def _side(grid: tiling.Grid) -> int:
    """Edge in px of the level of what is resampled to a tile of exactly ``grid.mpp``; as it is for resample: level."""
    return SIZE if grid.resample == "level" else round(SIZE * grid.mpp / grid.mpp_read)


def check(path: str) -> None:
    """Hold the reader's pixels against OpenSlide's, and show that a spoilt tile is an error."""
    grid = tiling.grid(describe.describe(path), SIZE, 0.486, "level")
    places = np.array([(column, row) for row in range(1, 6) for column in range(1, 12)])
    slide = openslide.OpenSlide(path)
    with Reader(path) as reader:
        for (column, row), tile in zip(places, reader.tiles(np.rint(places * grid.extent), grid), strict=True):
            corner = (round(column * grid.extent), round(row * grid.extent))
            truth = np.asarray(slide.read_region(corner, grid.level, (SIZE, SIZE)).convert("RGB"))
            if not np.array_equal(tile, truth):
                sys.exit(f"error: pixels differ from OpenSlide's in column {column}, row {row}")
    print(f"{len(places)} tiles compared with OpenSlide: largest difference 0", file=sys.stderr)


def check_strict(path: str) -> None:
    """Zero 20 kB inside a stored tile of a copy and read it."""
    import shutil

    from chowder.files import UserError
    from chowder.slides.stored import tiff_directories

    grid = tiling.grid(describe.describe(path), SIZE, 0.486, "level")
    stored = tiff_directories(path)[grid.level]
    number = stored.sparse.shape[1] + 1
    with tempfile.NamedTemporaryFile(suffix=".tif") as copy:
        shutil.copyfile(path, copy.name)
        copy.seek(int(stored.starts[number]) + 2000)
        copy.write(bytes(min(20_000, int(stored.lengths[number]) - 3000)))
        copy.flush()
        try:
            ours(copy.name, grid, [(column, row) for row in range(2, 5) for column in range(2, 5)])
        except UserError as error:
            print(f"a spoilt copy: {str(error).partition('level')[2]}", file=sys.stderr)
        else:
            sys.exit("error: a spoilt tile was read without an error")


def by_openslide(path: str, grid: tiling.Grid, places: list[tuple[int, int]]) -> None:
    slide = openslide.OpenSlide(path)
    side = _side(grid)
    for column, row in places:
        corner = (round(column * grid.extent), round(row * grid.extent))
        tile = slide.read_region(corner, grid.level, (side, side)).convert("RGB")
        if side != SIZE:
            tile = tile.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        assert np.asarray(tile).shape == (SIZE, SIZE, 3)


def by_crop(path: str, grid: tiling.Grid, places: list[tuple[int, int]]) -> None:
    image = pyvips.Image.tiffload(path, page=grid.level)
    side = _side(grid)
    for column, row in places:
        tile = image.crop(round(column * SIZE * grid.scale), round(row * SIZE * grid.scale), side, side)
        if side != SIZE:
            tile = tile.resize(SIZE / side)
        assert tile.numpy().shape == (SIZE, SIZE, 3)


def by_tiffslide(path: str, grid: tiling.Grid, places: list[tuple[int, int]]) -> None:
    import tiffslide

    slide = tiffslide.TiffSlide(path)
    side = _side(grid)
    for column, row in places:
        corner = (round(column * grid.extent), round(row * grid.extent))
        tile = slide.read_region(corner, grid.level, (side, side), as_array=True)
        if side != SIZE:
            tile = np.asarray(Image.fromarray(tile).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
        assert tile.shape == (SIZE, SIZE, 3)


def decoding(path: str, grid: tiling.Grid) -> float:
    """Tiles per second of decoding alone: JPEGs of 512 px in memory, each of which serves several tiles."""
    import simplejpeg

    image = pyvips.Image.tiffload(path, page=grid.level)
    stored = [image.crop(512 * i, 512, 512, 512).jpegsave_buffer(Q=80) for i in range(1, 9)]
    seconds = []
    for _ in range(5):
        start = time.process_time()
        for data in stored:
            simplejpeg.decode_jpeg(data)
        seconds.append((time.process_time() - start) / len(stored))
    return (512 / (SIZE * grid.mpp / grid.mpp_read if grid.resample != "level" else SIZE)) ** 2 / min(seconds)


METHODS = {
    "this workflow (stored tiles, strict)": ours,
    "OpenSlide read_region per tile": by_openslide,
    "pyvips crop per tile": by_crop,
    "tiffslide": by_tiffslide,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved repeats")
    parser.add_argument("--rows", type=int, default=16, help="rows of tiles a round")
    parser.add_argument("--width", type=int, default=32768, help="px of level 0 of the slide that is made")
    parser.add_argument("--slide", help="a slide to read instead of the one that is made")
    args = parser.parse_args()
    try:
        import tiffslide  # noqa: F401
    except ImportError:
        METHODS.pop("tiffslide")
    with tempfile.TemporaryDirectory() as folder:
        path = args.slide or str(Path(folder) / "slide.tif")
        if not args.slide:
            make(Path(path), args.width)
        check(path)
        check_strict(path)
        print("| reading 224-px tiles | tiles/s | range | tiles/s of processor time | times OpenSlide |")
        print("|---|---|---|---|---|")
        for title, resample, mpp0 in (
            ("as the level is", "level", 0.243),
            ("to 0.5 um/px", "target", 0.243),
            ("to 0.5 um/px", "target", 0.252),  # taken as it is here, resampled by the others
        ):
            grid = tiling.grid(describe.describe(path, mpp0), SIZE, 0.5, resample)
            places = [(column, row) for row in range(1, args.rows + 1) for column in range(1, grid.columns - 2)]
            wall: dict[str, list[float]] = {name: [] for name in METHODS}
            work: dict[str, list[float]] = {name: [] for name in METHODS}
            for round_ in range(args.rounds + 1):
                for name, method in METHODS.items():
                    start, used = time.perf_counter(), time.process_time()
                    method(path, grid, places)
                    if round_:  # the first warms up
                        wall[name].append(len(places) / (time.perf_counter() - start))
                        work[name].append(len(places) / (time.process_time() - used))
            base = statistics.median(work["OpenSlide read_region per tile"])
            for name in METHODS:
                low, high = min(wall[name]), max(wall[name])
                rate = statistics.median(work[name])
                print(
                    f"| {title} ({grid.mpp_read:.3f} um/px): {name} | {statistics.median(wall[name]):,.0f} | "
                    f"{low:,.0f}-{high:,.0f} | {rate:,.0f} | {rate / base:.1f} |",
                    flush=True,
                )
            bound = decoding(path, grid)
            print(f"| bound: decoding the JPEGs alone | | | {bound:,.0f} | {bound / base:.1f} |", flush=True)


if __name__ == "__main__":
    main()
