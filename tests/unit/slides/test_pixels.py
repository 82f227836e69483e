"""Stored JPEG tiles: damage is an error with a place, colours are right or refused, pixels are those of ever."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image
from slide_fixtures import DEFLATE, generic, philips, tissue_like

from chowder.features import identity
from chowder.files import UserError
from chowder.slides import describe
from chowder.slides import grid as tiling
from chowder.slides.reader import Reader
from chowder.slides.resampling import _filler


def corners(grid: tiling.Grid) -> np.ndarray:
    rows, columns = np.divmod(np.arange(grid.rows * grid.columns), grid.columns)
    return np.rint(np.stack([columns, rows], 1) * grid.extent).astype(np.int32)


def all_tiles(path, grid) -> np.ndarray:
    with Reader(path) as reader:
        return np.stack(list(reader.tiles(corners(grid), grid)))


def like_camelyon(path, image: np.ndarray, **options):
    """A pyramid as libvips writes it: shared JPEG tables, colours at half resolution, 512-px tiles; 0.25 um/px."""
    options = {"tile_width": 512, "tile_height": 512, "compression": "jpeg", "Q": 80, "pyramid": True} | options
    pyvips.Image.new_from_array(image).tiffsave(str(path), tile=True, xres=4000, yres=4000, **options)
    return path


def one_stored_tile(path, page: int, column: int, row: int) -> tuple[int, int]:
    """Offset and length of a stored tile."""
    with tifffile.TiffFile(path) as file:
        stored = file.pages[page]
        number = row * -(-stored.imagewidth // stored.tilewidth) + column
        return stored.dataoffsets[number], stored.databytecounts[number]


def spoilt(path, page: int, column: int, row: int, first: int, length: int):
    """Set ``length`` bytes to 0 from byte ``first`` of a stored tile on (which must have so many)."""
    start, total = one_stored_tile(path, page, column, row)
    assert first + length <= total
    with path.open("r+b") as file:
        file.seek(start + first)
        file.write(bytes(length))
    return path


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    """Noise on structure (2048, 2560, 3): a JPEG tile of it takes more than 20 kB."""
    image = tissue_like(2560, 2048).astype(int)
    return np.clip(image + np.random.default_rng(1).integers(-40, 40, image.shape), 0, 255).astype(np.uint8)


# ---- damage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "mpp"), [(0, 0.25), (1, 0.5), (0, 0.3), (1, 0.55)])
def test_20_kb_of_zeros_in_a_jpeg_tile_are_an_error_that_names_slide_level_and_tile(tmp_path, sharp, page, mpp):
    whole = like_camelyon(tmp_path / "slide.tif", sharp)
    grid = tiling.grid(describe.describe(whole), 224, mpp)
    assert (grid.level, grid.scale == 1) == (page, mpp in {0.25, 0.5})
    assert all_tiles(whole, grid).any()
    spoilt(whole, page, 1, 1, 9000, 20_000)
    with pytest.raises(UserError) as error:
        all_tiles(whole, grid)
    assert f"slide.tif: level {page}: the stored tile in column 1, row 1 is damaged (" in str(error.value)
    assert "\n" not in str(error.value) and str(error.value).endswith("leave it out of the slides table")


def test_damage_where_no_tile_is_read_is_no_error(tmp_path, sharp):
    path = spoilt(like_camelyon(tmp_path / "slide.tif", sharp), 0, 4, 3, 9000, 20_000)
    grid = tiling.grid(describe.describe(path), 224, 0.25)
    with Reader(path) as reader:
        assert len(list(reader.tiles(corners(grid)[:3], grid))) == 3


def test_an_overview_is_strict_too(tmp_path, sharp):
    path = spoilt(like_camelyon(tmp_path / "slide.tif", sharp), 2, 0, 0, 9000, 20_000)
    with (
        Reader(path) as reader,
        pytest.raises(UserError, match=r"slide\.tif: level 2: the stored tile in column 0, row 0 is damaged"),
    ):
        reader.thumbnail(1.0)


@pytest.mark.parametrize("first", [0, 40, 400])
def test_a_spoilt_head_is_damage_and_one_line(tmp_path, first):
    path = spoilt(generic(tmp_path / "a.tif"), 0, 1, 1, first, 200)
    grid = tiling.grid(describe.describe(path), 100, 0.25, "level")
    with pytest.raises(UserError, match=r"a\.tif: level 0: the stored tile in column 1, row 1 is damaged") as error:
        all_tiles(path, grid)
    assert "\n" not in str(error.value)


def test_a_jpeg_of_another_size_is_damage(tmp_path):
    path = generic(tmp_path / "a.tif")
    start, length = one_stored_tile(path, 0, 1, 1)
    small = tmp_path / "small.jpg"
    Image.fromarray(tissue_like(64, 64)).save(small, quality=50)
    data = small.read_bytes()
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data.ljust(length, b"\0"))
    grid = tiling.grid(describe.describe(path), 100, 0.25, "level")
    with pytest.raises(UserError, match=r"column 1, row 1 is damaged \(holds 64 x 64 px, not 128 x 128\)"):
        all_tiles(path, grid)


def test_a_deflate_tile_that_holds_more_than_its_px_is_damage(tmp_path):
    path = generic(tmp_path / "a.tif", compression=DEFLATE)
    start, length = one_stored_tile(path, 0, 1, 1)
    longer = zlib.compress(bytes(128 * 128 * 3 + 500))
    assert len(longer) < length
    with path.open("r+b") as file:
        file.seek(start)
        file.write(longer)
    grid = tiling.grid(describe.describe(path), 100, 0.25, "level")
    with pytest.raises(
        UserError, match=r"column 1, row 1 is damaged \(its deflate stream does not end with the tile\)"
    ):
        all_tiles(path, grid)


# ---- colours ------------------------------------------------------------------------------------------------------

COLOURS = tissue_like(700, 500)
GREY = COLOURS.mean(-1).astype(np.uint8)
WITH_FOURTH = np.concatenate([COLOURS, np.full_like(COLOURS[..., :1], 128)], -1)


@pytest.mark.parametrize(
    ("pixels", "options", "truth", "near"),
    [
        (COLOURS, {"photometric": "rgb"}, COLOURS, 0),
        (GREY, {"photometric": "minisblack"}, np.repeat(GREY[..., None], 3, -1), 0),
        (255 - GREY, {"photometric": "miniswhite"}, np.repeat(GREY[..., None], 3, -1), 0),
        (np.asarray(Image.fromarray(COLOURS).convert("YCbCr")), {"photometric": "ycbcr"}, COLOURS, 3),
        (np.moveaxis(COLOURS, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}, COLOURS, 0),
        (COLOURS.astype(np.uint16) * 257, {"photometric": "rgb"}, COLOURS, 0),
        (
            WITH_FOURTH,
            {"photometric": "rgb", "extrasamples": ["unassalpha"]},
            COLOURS * (128 / 255) + 255 * (1 - 128 / 255),
            1,
        ),
    ],
    ids=["rgb", "grey", "white is 0", "ycbcr", "separate planes", "16 bits", "half transparent"],
)
def test_colours_are_right(tmp_path, pixels, options, truth, near):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, tile=(128, 128), resolution=(40000, 40000), resolutionunit=3, **options)
    grid = tiling.grid(describe.describe(path), 100, 0.25, "level")
    assert np.abs(all_tiles(path, grid)[8].astype(int) - truth[100:200, 100:200]).max() <= near


@pytest.mark.parametrize("rgbjpeg", [False, True])
@pytest.mark.parametrize("quality", [60, 95])  # colours at half and at full resolution
def test_jpegs_in_rgb_and_in_ycbcr_have_libvips_pixels(tmp_path, rgbjpeg, quality):
    path = like_camelyon(tmp_path / "a.tif", tissue_like(1400, 1000), Q=quality, rgbjpeg=rgbjpeg, pyramid=False)
    grid = tiling.grid(describe.describe(path), 100, 0.25, "level")
    truth = pyvips.Image.tiffload(str(path)).numpy()
    mine = all_tiles(path, grid).reshape(grid.rows, grid.columns, 100, 100, 3).swapaxes(1, 2)
    assert np.array_equal(mine.reshape(1000, 1400, 3), truth)


@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("compression", ["deflate", "lzw"])
def test_pixels_stored_without_loss_are_those_that_were_stored(tmp_path, compression, predictor):
    path = tmp_path / "a.tif"
    image = pyvips.Image.new_from_array(COLOURS)
    form = {"compression": compression, "predictor": {1: "none", 2: "horizontal"}[predictor]}
    image.tiffsave(str(path), tile=True, tile_width=128, tile_height=96, xres=4000, yres=4000, **form)
    grid = tiling.grid(describe.describe(path), 100, 0.25, "level")
    mine = all_tiles(path, grid).reshape(grid.rows, grid.columns, 100, 100, 3).swapaxes(1, 2)
    assert np.array_equal(mine.reshape(500, 700, 3), COLOURS)


@pytest.mark.parametrize(
    ("pixels", "options", "name"),
    [
        (WITH_FOURTH, {"photometric": "separated"}, "CMYK"),
        (COLOURS, {"photometric": "cielab"}, r"CIE L\*a\*b\*"),
        (COLOURS, {"photometric": "icclab"}, r"ICC L\*a\*b\*"),
        (WITH_FOURTH, {"photometric": "rgb", "extrasamples": ["unspecified"]}, "a fourth colour"),
    ],
)
def test_colours_that_would_come_out_wrong_are_refused(tmp_path, pixels, options, name):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, tile=(128, 128), resolution=(40000, 40000), resolutionunit=3, **options)
    with pytest.raises(UserError, match=rf"a\.tif: level 0 holds {name}.*: convert it to RGB first$"):
        Reader(path)


# ---- near the target ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mpp", "scale"), [(0.504, 1), (0.4901, 1), (0.5099, 1), (0.486, 0.5 / 0.486), (0.511, None)])
def test_a_level_within_2_percent_of_the_target_is_taken_as_it_is(tmp_path, mpp, scale):
    info = describe.describe(generic(tmp_path / "a.tif", mpp=mpp / 2))
    grid = tiling.grid(info, 100, 0.5)
    # above 2 % the next finer level is reduced instead
    assert (grid.level, grid.scale) == (
        (0, pytest.approx(0.5 / (mpp / 2))) if scale is None else (1, pytest.approx(scale))
    )
    assert grid.extent == pytest.approx(100 * grid.scale * 2**grid.level)


def test_no_resampling_between_98_and_102_percent_of_the_target(tmp_path):
    path = generic(tmp_path / "a.tif", mpp=0.504, levels=1)
    grid = tiling.grid(describe.describe(path), 100, 0.5)
    with Reader(path) as reader:
        tiles = list(reader.tiles(corners(grid), grid))
        assert reader.decoder == "simplejpeg"
    assert np.array_equal(tiles[8], pyvips.Image.tiffload(str(path)).numpy()[100:200, 100:200])


# ---- pixels that decide whether features in the store are still valid ------------------------------------------------


RESAMPLED = [
    182,
    67,
    7,
    171,
    244,
    210,
    240,
    154,
    43,
    84,
    198,
    247,
    175,
    245,
    207,
    13,
    35,
    143,
    87,
    201,
    247,
    67,
    7,
    57,
    66,
    7,
    59,
    19,
    112,
    220,
    11,
    88,
    202,
    147,
    238,
    227,
    61,
    7,
    64,
    22,
    119,
    223,
    12,
    94,
    207,
    153,
    240,
    223,
    240,
    153,
    43,
    122,
    23,
    20,
    92,
    205,
    246,
    225,
    238,
    149,
    239,
    150,
    41,
    119,
    22,
    22,
    95,
    207,
    245,
    227,
    237,
    146,
]


def golden(folder) -> tuple[str, np.ndarray]:
    """Pixels without resampling as a sha256, and a few values of resampled ones (libvips decides the last bit)."""
    total, values = hashlib.sha256(), []
    y, x = np.mgrid[:500, :700]
    wave = np.stack([np.rint(127 + 120 * np.sin(x / 7 + y / 13 + c)) for c in range(3)], -1).astype(np.uint8)
    path = folder / "golden.tif"
    tifffile.imwrite(path, wave, tile=(128, 128), resolution=(40000, 40000), resolutionunit=3, photometric="rgb")
    for mpp in (0.25, 0.3, 0.41, 0.22):
        grid = tiling.grid(describe.describe(path), 100, mpp)
        tiles = all_tiles(path, grid)
        if grid.scale == 1:
            total.update(tiles.tobytes())
        else:
            values.append(tiles[[0, 5], 10::60, 10::60].ravel())
    return total.hexdigest(), np.concatenate(values).astype(int)


def test_pixels_are_those_that_features_in_the_store_were_made_from(tmp_path):
    """If this fails, reading gives other pixels than before: put a new text into identity.PIXELS, then new values here.

    Equal pixels of the decoders, in every form of slide, are the matter of test_slides.py.
    """
    digest, values = golden(tmp_path)
    assert identity.PIXELS["slides.reader"].startswith("d5393cf0")
    assert digest == "e3eb330565fa557555ce71640568aae45782107d82f85e92cac76845d0ee3a3d"
    assert np.abs(np.array(RESAMPLED) - values).max() <= 1


@pytest.mark.parametrize("make", [generic, philips, like_camelyon])
@pytest.mark.parametrize("mpp", [0.26, 0.31, 0.486, 0.73])
def test_resampled_jpeg_tiles_are_bit_for_bit_those_of_the_whole_level(tmp_path, make, mpp):
    # 1,536 x 1,024 px fill their tiles: levels that Philips pads are resampled by Pillow
    path = make(tmp_path / "a.tif", *([tissue_like(1300, 900)] if make is like_camelyon else [1536, 1024]))
    grid = tiling.grid(describe.describe(path), 100, mpp)
    assert grid.scale > 1.02
    whole = pyvips.Image.tiffload(str(path), page=grid.level)
    width, height = (side + _filler(side, grid.scale) for side in (whole.width, whole.height))
    whole = whole.embed(0, 0, width, height, extend="background", background=255)
    whole = whole.reducev(grid.scale, kernel="lanczos3").reduceh(grid.scale, kernel="lanczos3")
    region = pyvips.Region.new(whole)  # tile by tile: libvips' rounding depends on where a region begins
    for number, tile in enumerate(all_tiles(path, grid)):
        row, column = divmod(number, grid.columns)
        truth = np.frombuffer(region.fetch(column * 100, row * 100, 100, 100), np.uint8)
        assert np.array_equal(tile.ravel(), truth)
