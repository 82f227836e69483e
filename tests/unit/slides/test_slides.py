"""Opening slides: what they say of themselves, equal pixels, odd files, exact resampling."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image
from slide_fixtures import (
    DEFLATE,
    JPEG,
    JPEG2000,
    NONE,
    UNKNOWN,
    aperio,
    generic,
    halved,
    philips,
    pyramid,
    tissue_like,
    write_tiff,
)

from chowder.files import UserError
from chowder.slides import describe, stored
from chowder.slides import grid as tiling
from chowder.slides.reader import Reader
from shared_data import REASON, SHARED

needs_shared = pytest.mark.skipif(SHARED is None, reason=REASON)


def corners(grid: tiling.Grid) -> np.ndarray:
    """Upper left corners of all tiles, row-major, as the tile table stores them."""
    rows, columns = np.divmod(np.arange(grid.rows * grid.columns), grid.columns)
    return np.rint(np.stack([columns, rows], 1) * grid.extent).astype(np.int32)


def by_openslide(path, level: int, grid: tiling.Grid) -> np.ndarray:
    """The same tiles by OpenSlide, one read_region each, laid on white; downsamples are whole here."""
    slide = openslide.OpenSlide(str(path))
    width, height = slide.level_dimensions[level]
    whole = Image.new("RGB", (grid.columns * grid.size, grid.rows * grid.size), "white")
    part = slide.read_region((0, 0), level, (width, height))
    whole.paste(part, mask=part.getchannel("A"))
    whole, size = np.asarray(whole), grid.size
    return np.stack(
        [whole[r * size :, c * size :][:size, :size] for r in range(grid.rows) for c in range(grid.columns)]
    )


def all_tiles(path, grid, **options) -> np.ndarray:
    with Reader(path, **options) as reader:
        return np.stack(list(reader.tiles(corners(grid), grid)))


# ---- what a slide is ----------------------------------------------------------------------------------------------


def test_a_generic_tiff_says_its_size_spacing_and_levels(tmp_path):
    info = describe.describe(generic(tmp_path / "a.tif", 701, 499))
    assert (info.width, info.height, info.mpp_source) == (701, 499, "file")
    assert info.mpp == pytest.approx(0.25, rel=1e-6)
    assert info.levels == ((701, 499), (351, 250), (176, 125))
    assert info.downsamples == (1.0, 2.0, 4.0)


@pytest.mark.parametrize("unit", [2, 3])
def test_resolution_in_inches_and_centimetres(tmp_path, unit):
    assert describe.describe(generic(tmp_path / "a.tif", unit=unit)).mpp == pytest.approx(0.25, rel=1e-4)


def test_padded_levels_have_whole_downsamples_where_openslide_divides_sizes(tmp_path):
    path = generic(tmp_path / "a.tif", padded=True)
    assert openslide.OpenSlide(str(path)).level_downsamples[2] == 3.5
    assert describe.describe(path).downsamples == (1.0, 2.0, 4.0)


def test_a_level_that_is_no_power_of_two_keeps_its_own_downsample(tmp_path):
    image = tissue_like(900, 600)
    third = np.asarray(Image.fromarray(image).resize((300, 200), Image.Resampling.BOX))
    assert describe.describe(write_tiff(tmp_path / "a.tif", [image, third])).downsamples == (1.0, 3.0)


def test_philips_spacing_comes_from_the_image_description(tmp_path):
    info = describe.describe(philips(tmp_path / "a.tif", mpp=0.243))
    assert info.mpp == pytest.approx(0.243, rel=1e-6)
    assert info.vendor == "philips"
    assert info.downsamples == (1.0, 2.0, 4.0)


def test_aperio_spacing_comes_from_its_description(tmp_path):
    info = describe.describe(aperio(tmp_path / "a.svs", mpp=0.2521))
    assert (info.mpp, info.vendor) == (0.2521, "aperio")


@needs_shared
def test_a_real_aperio_slide():
    info = describe.describe(SHARED / "CMU-1-Small-Region.svs")
    assert (info.width, info.height, info.mpp, info.vendor) == (2220, 2967, 0.499, "aperio")


def test_the_table_has_the_last_word_on_spacing(tmp_path):
    info = describe.describe(generic(tmp_path / "a.tif"), mpp=0.5)
    assert (info.mpp, info.mpp_source) == (0.5, "table")


def test_missing_spacing_says_how_to_give_it(tmp_path):
    path = generic(tmp_path / "a.tif", mpp=None)
    with pytest.raises(UserError, match=r"a\.tif: says nothing about um/px: give it in the column `mpp`"):
        describe.describe(path)
    assert describe.describe(path, mpp=0.25).mpp == 0.25


def test_spacing_of_an_office_scanner_is_not_believed(tmp_path):
    with pytest.raises(UserError, match=r"352\.\d+ um/px \(from the file\).*column `mpp`"):
        describe.describe(generic(tmp_path / "a.tif", mpp=25400 / 72))


@pytest.mark.parametrize(("y", "square"), [(0.25, True), (0.26, True), (0.27, False), (0.23, False), (0.0, False)])
def test_pixels_that_are_not_square_are_refused(y, square):
    class Stretched:
        properties = {"openslide.mpp-x": "0.25", "openslide.mpp-y": str(y)}  # noqa: RUF012
        dimensions, level_dimensions = (700, 500), ((700, 500),)
        level_count, level_downsamples = 1, (1.0,)

    if square:
        assert describe.describe_open(Stretched, "s.tif", None).mpp == pytest.approx((0.25 + y) / 2)
    else:
        with pytest.raises(UserError, match=rf"s\.tif: pixels of 0\.25 x {y:g} um are not square"):
            describe.describe_open(Stretched, "s.tif", None)
    assert describe.describe_open(Stretched, "s.tif", 0.5).mpp == 0.5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.tif", None, "no such slide"),
        ("empty.tif", b"", "is empty"),
        ("text.tif", b"slide,label\n" * 100, "not a slide"),
        ("half.tif", b"II*\0\x10\0\0\0\xff\xff", "not a slide"),
    ],
)
def test_what_is_no_slide_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for opening in (describe.describe, Reader):
        with pytest.raises(UserError, match=message) as error:
            opening(path)
        assert name in str(error.value)
        assert "\n" not in str(error.value)


def test_a_folder_and_a_plain_picture_are_no_slides(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        describe.describe(tmp_path)
    Image.new("RGB", (300, 300)).save(tmp_path / "photo.png")
    with pytest.raises(UserError, match=r"photo\.png: is not a slide"):
        describe.describe(tmp_path / "photo.png")


def test_wrong_extension_does_not_matter_when_the_content_is_a_slide(tmp_path):
    path = generic(tmp_path / "a.tif").rename(tmp_path / "a.jpg")
    assert describe.describe(path).width == 700


@pytest.mark.parametrize("declared", [(3_000_000, 500), (900_000, 900_000)])
def test_absurd_sizes_are_refused(tmp_path, declared):
    path = generic(tmp_path / "bomb.tif", 300, 300, levels=1, declared=declared)
    with pytest.raises(UserError, match=r"bomb\.tif"):
        describe.describe(path)


def test_a_huge_slide_without_small_levels_is_not_read_whole_for_an_overview(tmp_path):
    path = generic(tmp_path / "flat.tif", 300, 300, levels=1)
    with Reader(path) as reader:
        big = describe.SlideInfo(**(reader.info.__dict__ | {"levels": ((200_000, 200_000),), "width": 200_000}))
        reader.info = big
        with pytest.raises(UserError, match="has no small level"):
            reader.thumbnail(8.0)


def test_a_file_cut_off_in_its_pixels_is_found_before_reading(tmp_path):
    path = generic(tmp_path / "cut.tif", beyond=((0, 3, 2), (0, 4, 2)))
    with pytest.raises(UserError, match=r"cut\.tif: is cut off: 2 tiles of its image 0"):
        Reader(path)


# ---- pixels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (generic, {}),
        (generic, {"padded": True}),
        (generic, {"compression": DEFLATE}),
        (generic, {"compression": NONE}),
        (generic, {"sparse": ((0, 1, 1), (1, 1, 1))}),
        (philips, {}),
        (philips, {"sparse": ((0, 1, 1), (1, 0, 1))}),
        (aperio, {}),
        (aperio, {"compression": JPEG2000}),
    ],
)
@pytest.mark.parametrize("level", [0, 1])
def test_pixels_equal_openslide_whatever_the_form(tmp_path, make, options, level):
    path = make(tmp_path / "a.tif", **options)
    info = describe.describe(path)
    if level >= len(info.levels):
        pytest.skip("one level only")
    grid = tiling.grid(info, 100, 0.25 * 2**level, "level")
    assert (grid.level, grid.scale) == (level, 1.0)
    assert np.array_equal(all_tiles(path, grid), by_openslide(path, level, grid))


@needs_shared
@pytest.mark.parametrize("name", ["normal_002", "test_001", "tumor_003", "svs"])
def test_pixels_of_real_slides_equal_openslide_at_level_1(name):
    path = SHARED / "CMU-1-Small-Region.svs" if name == "svs" else SHARED / "real_slides" / "images" / f"{name}.tif"
    info = describe.describe(path)
    grid = tiling.grid(info, 224, 0.486, "level")
    assert grid.level == (0 if name == "svs" else 1)
    with Reader(path) as reader:
        mine = np.stack(list(reader.tiles(corners(grid), grid)))
        assert reader.decoder == "simplejpeg"
    assert np.abs(mine.astype(int) - by_openslide(path, grid.level, grid)).max() == 0


@pytest.mark.parametrize(
    ("make", "options", "decoder"),
    [
        (generic, {}, "simplejpeg"),
        (philips, {}, "simplejpeg"),
        (generic, {"compression": DEFLATE}, "zlib"),
        (generic, {"compression": NONE}, "none"),
        (generic, {"compression": DEFLATE, "sparse": ((0, 1, 1),)}, "openslide+zlib"),
        (aperio, {"compression": JPEG2000}, "openslide"),
        (generic, {"sparse": ((0, 1, 1),)}, "openslide+simplejpeg"),
    ],
)
def test_the_decoder_is_recorded(tmp_path, make, options, decoder):
    path = make(tmp_path / "a.tif", **options)
    grid = tiling.grid(describe.describe(path), 100, 0.25, "level")
    with Reader(path) as reader:
        list(reader.tiles(corners(grid), grid))
        assert reader.decoder == decoder


def test_what_a_scanner_left_out_and_what_lies_beyond_the_edge_is_white(tmp_path):
    path = generic(tmp_path / "a.tif", sparse=((0, 1, 1),))
    grid = tiling.grid(describe.describe(path), 128, 0.25, "level")
    tiles = all_tiles(path, grid)
    assert (tiles[grid.columns + 1] == 255).all()  # stored tile (1, 1)
    last = tiles[-1]
    assert (last[500 - 3 * 128 :] == 255).all() and (last[:, 700 - 5 * 128 :] == 255).all()
    assert last[: 500 - 3 * 128, : 700 - 5 * 128].mean() < 200


def test_an_unreadable_tile_is_never_given_as_black(tmp_path):
    # neither at once (libvips does, for deflate) nor when it is asked for again
    path = generic(tmp_path / "a.tif", compression=DEFLATE)
    grid = tiling.grid(describe.describe(path), 100, 0.25, "level")
    truth = by_openslide(path, 0, grid)
    where = stored.tiff_directories(str(path))[0]
    with path.open("r+b") as file:
        file.seek(int(where.starts[where.sparse.shape[1] + 1]))  # the stored tile (1, 1)
        file.write(bytes(2000))
    broken = 0
    for _ in range(2):
        with Reader(path) as reader:
            for place, true in zip(corners(grid), truth, strict=True):
                try:
                    assert np.array_equal(next(reader.tiles(place[None], grid)), true)
                except UserError as error:
                    broken += 1
                    assert "level 0: the stored tile in column 1, row 1 is damaged (" in str(error)
    assert broken == 8


def test_an_unknown_compression_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(UserError, match=r"odd\.tif"):
        Reader(generic(tmp_path / "odd.tif", compression=UNKNOWN))


@pytest.mark.parametrize("mpp", [0.25, 0.3])
def test_a_broken_jpeg_names_slide_and_place(tmp_path, mpp):
    path = generic(tmp_path / "broken.tif")
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"]
    data[starts[7] : starts[7] + 700] = bytes(700)  # header of the stored tile (1, 1)
    path.write_bytes(data)
    grid = tiling.grid(describe.describe(path), 100, mpp, "target")
    with (
        Reader(path) as reader,
        pytest.raises(UserError, match=r"broken\.tif: level 0: the stored tile in column 1, row 1 is damaged \("),
    ):
        list(reader.tiles(corners(grid), grid))


# ---- resampling ---------------------------------------------------------------------------------------------------


def ramp(width: int, height: int) -> np.ndarray:
    """Red grows by 1/8 a px to the right, green downwards, blue is constant; within 8 bits by rounding."""
    y, x = np.mgrid[:height, :width]
    return np.stack([np.rint((x + 0.5) / 8), np.rint((y + 0.5) / 8), np.full_like(x, 99)], -1).astype(np.uint8)


@pytest.mark.parametrize("compression", [DEFLATE, JPEG2000])  # one for libvips, one for the way through OpenSlide
@pytest.mark.parametrize("mpp", [0.25 * 0.5 / 0.486, 0.277, 0.41, 0.21])
def test_a_ramp_stays_a_ramp_in_the_right_place(tmp_path, mpp, compression):
    make = aperio if compression == JPEG2000 else generic
    options = {"levels": 1} if make is generic else {}
    path = make(tmp_path / "a.tif", **options)
    path = write_tiff(
        path,
        [ramp(1600, 1200)],
        compression=compression,
        mpp=0.25 if make is generic else None,
        description="" if make is generic else "Aperio Image Library v10\r\n1600x1200|AppMag = 40|MPP = 0.25",
    )
    grid = tiling.grid(describe.describe(path), 100, mpp, "target")
    scale = mpp / 0.25
    assert grid.scale == pytest.approx(scale)
    inner = corners(grid)
    inner = inner[(inner.min(1) > 8) & (inner[:, 0] < 1400 - 120 * scale) & (inner[:, 1] < 1000 - 120 * scale)]
    with Reader(path) as reader:
        for (x, y), tile in zip(inner, reader.tiles(inner, grid), strict=True):
            for axis, start in enumerate((x, y)):
                place = round(start / grid.extent) * 100 + np.arange(100)
                expected = (place + 0.5) * scale / 8
                found = tile[..., axis].astype(float).mean(axis)
                assert np.abs(found - expected).max() < 1.0  # rounding twice, and no more
                assert abs((found - expected).mean()) < 0.03  # a shift of a quarter px of the slide would show
            assert (tile[..., 2] == 99).all()


def test_resampled_tiles_equal_a_plain_lanczos_filter(tmp_path):
    image = tissue_like(700, 500)
    path = write_tiff(tmp_path / "a.tif", [image], compression=DEFLATE)
    grid = tiling.grid(describe.describe(path), 100, 0.2572, "target")
    scale = grid.scale

    # truth in floating point: weights of the Lanczos window widened by the reduction, normalised
    def weights(count: int, length: int) -> np.ndarray:
        centre = (np.arange(count)[:, None] + 0.5) * scale - 0.5
        distance = (np.arange(length)[None] - centre) / max(scale, 1)
        result = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
        return result / result.sum(1, keepdims=True)

    truth = np.einsum("yi,ijc,xj->yxc", weights(400, 500), image.astype(float), weights(600, 700), optimize=True)
    mine = all_tiles(path, grid).reshape(grid.rows, grid.columns, 100, 100, 3).swapaxes(1, 2)
    mine = mine.reshape(grid.rows * 100, -1, 3)[:400, :600]
    error = np.abs(mine - np.clip(truth, 0, 255))[8:-8, 8:-8]
    assert error.max() < 4.5 and error.mean() < 0.5


def test_resampled_tiles_do_not_depend_on_which_others_are_read(tmp_path):
    path = generic(tmp_path / "a.tif", 1500, 1100)
    grid = tiling.grid(describe.describe(path), 100, 0.2572, "target")
    whole = all_tiles(path, grid)
    some = np.random.default_rng(0).permutation(len(whole))[:12]
    with Reader(path) as reader:
        for number, tile in zip(some, reader.tiles(corners(grid)[some], grid), strict=True):
            assert np.array_equal(tile, whole[number])


@pytest.mark.parametrize("compression", [JPEG, DEFLATE])
def test_pillow_on_openslide_resamples_alike(tmp_path, monkeypatch, compression):
    path = generic(tmp_path / "a.tif", compression=compression)
    grid = tiling.grid(describe.describe(path), 100, 0.2572, "target")
    vips = all_tiles(path, grid).astype(int)
    monkeypatch.setattr(Reader, "_match_levels", lambda _: {})
    other = all_tiles(path, grid).astype(int)
    inside = np.abs(vips - other)[: grid.columns * (grid.rows - 2)]
    assert inside.mean() < 0.5 and inside.max() <= 6


def test_each_jpeg_is_decoded_once_for_a_band_also_when_resampling(tmp_path):
    counter = Path("/proc/self/io")
    if not counter.exists():
        pytest.skip("needs Linux's account of bytes read")

    def read_so_far() -> int:
        return int(counter.read_text().split()[1])

    path = generic(tmp_path / "a.tif", 4096, 2048, levels=1, tile=256, quality=95)
    for mpp in (0.25, 0.2572):
        grid = tiling.grid(describe.describe(path), 100, mpp, "target")
        places = corners(grid)
        with Reader(path) as reader:
            before = read_so_far()
            for _ in reader.tiles(places, grid):
                pass
            ratio = (read_so_far() - before) / path.stat().st_size
        assert ratio < 1.3, f"every stored tile was read {ratio:.1f} times at {mpp} um/px"


# ---- overviews ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [generic, philips])
@pytest.mark.parametrize("mpp", [1.0, 2.0, 2.7])
def test_a_thumbnail_covers_the_slide_at_the_spacing_asked_for(tmp_path, make, mpp):
    path = make(tmp_path / "a.tif", 900, 700)
    with Reader(path) as reader:
        info, small = reader.info, reader.thumbnail(mpp)
    assert small.shape == (math.ceil(info.height * 0.25 / mpp), math.ceil(info.width * 0.25 / mpp), 3)
    level = np.full((info.height, info.width, 3), 255, np.uint8)
    level[:700, :900] = tissue_like(900, 700)
    step = mpp / 0.25
    for row, column in ((3, 4), (20, 30), (40, 50)):
        area = level[round(row * step) : round((row + 1) * step), round(column * step) : round((column + 1) * step)]
        assert np.abs(small[row, column] - area.mean((0, 1))).max() < 12


@pytest.mark.parametrize("compression", [JPEG, DEFLATE])
def test_thumbnails_by_both_decoders_agree(tmp_path, monkeypatch, compression):
    path = generic(tmp_path / "a.tif", 900, 700, levels=2, compression=compression)
    with Reader(path) as reader:
        vips = reader.thumbnail(4.0).astype(int)
    monkeypatch.setattr(Reader, "_match_levels", lambda _: {})
    with Reader(path) as reader:
        assert np.abs(vips - reader.thumbnail(4.0)).max() <= 2


def test_a_thumbnail_of_a_sparse_slide_is_white_where_nothing_is_stored(tmp_path):
    path = generic(tmp_path / "a.tif", levels=1, sparse=((0, 1, 1),))
    with Reader(path) as reader:
        small = reader.thumbnail(2.0)
    assert (small[18:30, 18:30] == 255).all() and small[:14, :14].mean() < 200


def test_halving_in_the_fixtures_is_a_mean():
    assert halved(np.arange(12, dtype=np.uint8).reshape(2, 2, 3)).tolist() == [[[4, 6, 6]]]
    assert [level.shape for level in pyramid(tissue_like(9, 5), 3)] == [(5, 9, 3), (3, 5, 3), (2, 3, 3)]


def test_openslides_pixels_are_not_shifted_where_its_downsample_is_off(tmp_path):
    # a padded level: OpenSlide takes level-0 px, divides by 3.5 (which is 4 really), and interpolates between px
    path = generic(tmp_path / "a.tif", padded=True, sparse=((2, 1, 0),))
    info = describe.describe(path)
    grid = tiling.grid(info, 37, 1.0, "level")
    assert (grid.level, info.downsamples[2]) == (2, 4.0)
    whole = openslide.OpenSlide(str(path)).read_region((0, 0), 2, info.levels[2])
    truth = Image.new("RGB", (400, 300), "white")
    truth.paste(whole, mask=whole.getchannel("A"))
    with Reader(path) as reader:
        tiles = list(reader.tiles(corners(grid), grid))
        assert reader.decoder == "openslide+simplejpeg"
    for number, tile in enumerate(tiles):
        row, column = divmod(number, grid.columns)
        assert np.array_equal(tile, np.asarray(truth)[row * 37 :, column * 37 :][:37, :37])


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"mpp0": 0.5}, "mpp0"),
        ({"columns": 99}, "columns"),
        ({"level": -1}, "level"),
        ({"level": 9}, "level"),
        ({"extent": 900.0}, "extent"),
        ({"size": 65}, "extent"),
        ({"mpp": 0.7}, "mpp_read|extent"),
    ],
)
def test_a_grid_of_another_slide_is_refused(tmp_path, change, key):
    image = generic(tmp_path / "a.tif", 1500, 1200)
    own = tiling.grid(describe.describe(image), 64, 0.52)
    with Reader(image) as reader:
        assert len(list(reader.tiles(np.array([[0, 0]]), own))) == 1
        with pytest.raises(
            UserError, match=rf"a\.tif: the tile grid was laid on another slide \({key} is .*rerun `tiles`"
        ):
            next(reader.tiles(np.array([[0, 0]]), dataclasses.replace(own, **change)))
    with Reader(image, 0.3) as reader, pytest.raises(UserError, match="laid on another slide"):
        next(reader.tiles(np.array([[0, 0]]), own))
