"""What the directories of a TIFF say: equal to libvips' pages and to what was written, whatever the form."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import pyvips
import tifffile
from slide_fixtures import DEFLATE, Held, aperio, generic, patched, philips

from chowder.data.download.pages import Page, Window, check_places, directories
from chowder.files import UserError
from chowder.slides.describe import describe
from chowder.slides.stored import tiff_directories


def pages(path) -> list[tuple[int, int]]:
    """Sizes (width, height) of a file's pages by libvips."""
    number = pyvips.Image.tiffload(str(path)).get("n-pages")
    found = [pyvips.Image.tiffload(str(path), page=page) for page in range(number)]
    return [(image.width, image.height) for image in found]


@pytest.mark.parametrize(
    ("make", "options", "compression"),
    [
        (generic, {}, 7),
        (generic, {"padded": True, "compression": DEFLATE}, 8),
        (generic, {"sparse": ((0, 1, 2), (1, 0, 1))}, 7),
        (philips, {"sparse": ((0, 1, 2), (1, 0, 1))}, 7),
        (aperio, {}, 7),
    ],
)
def test_directories_are_libvips_pages_and_know_their_empty_tiles(tmp_path, make, options, compression):
    path = make(tmp_path / "a.tif", **options)
    found = tiff_directories(str(path))
    assert [stored.size for stored in found] == pages(path)
    assert {(stored.tile, stored.compression, stored.bits, stored.lost) for stored in found} == {
        ((128, 128), compression, 8, 0)
    }
    for level, stored in enumerate(found):
        width, height = stored.size
        empty = np.zeros((-(-height // 128), -(-width // 128)), bool)
        for where, column, row in options.get("sparse", ()):
            if where == level:
                empty[row, column] = True
        assert np.array_equal(stored.sparse, empty)


@pytest.mark.parametrize("options", [{"bigtiff": True}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}])
def test_bigtiff_and_the_other_byte_order(tmp_path, options):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((300, 500, 3), np.uint8), tile=(64, 128), **options)
    (stored,) = tiff_directories(str(path))
    assert (stored.size, stored.tile, stored.compression, stored.bits) == ((500, 300), (128, 64), 1, 8)
    assert stored.sparse.shape == (5, 4) and not stored.sparse.any()


def test_strips_have_no_tiles(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((300, 500), np.uint16))
    (stored,) = tiff_directories(str(path))
    assert (stored.size, stored.tile, stored.bits, stored.sparse.size) == ((500, 300), None, 16, 0)


def test_tiles_beyond_the_end_are_counted(tmp_path):
    whole = generic(tmp_path / "a.tif", levels=1, beyond=((0, 3, 2), (0, 4, 2)))
    assert [stored.lost for stored in tiff_directories(str(whole))] == [2]


def test_a_chain_that_bites_its_tail_ends(tmp_path):
    path = generic(tmp_path / "a.tif", levels=2)
    data = bytearray(path.read_bytes())
    first = struct.unpack_from("<I", data, 4)[0]
    struct.pack_into("<I", data, first + 2 + 12 * struct.unpack_from("<H", data, first)[0], first)
    path.write_bytes(data)
    assert [stored.size for stored in tiff_directories(str(path))] == [(700, 500)]


@pytest.mark.parametrize("content", [b"", b"II*\0", b"slide,label\n" * 99, b"II*\0\x10\0\0\0\xff\xff", b"\x89PNG\r\n"])
def test_what_is_no_tiff_has_no_directories_and_says_nothing(tmp_path, content, caplog):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    caplog.clear()
    assert tiff_directories(str(path)) == []
    assert not caplog.records


@pytest.mark.parametrize(
    ("tag", "value"),
    [(322, 0), (323, 0), (256, 0), (257, 0), (322, 2**32 - 1), (256, 2**32 - 1), (258, 0), (277, 0), (324, 2**31)],
)
def test_a_directory_with_an_absurd_value_is_described_or_refused(tmp_path, tag, value):
    """Also by the reading of directories in a download; tile width 0 divided by zero."""
    path = tmp_path / "odd.tif"
    path.write_bytes(patched(generic(tmp_path / "slide.tif"), tag, value))
    for stored in tiff_directories(str(path)):
        assert stored.tile is None or min(stored.tile) > 0
    for page in directories(Window(None, Held(path.read_bytes()))):
        assert min(page.size) > 0
        assert page.tile is None or min(page.tile) > 0
        assert (page.counts >= 0).all()
    try:
        describe(path)
    except UserError as error:
        assert "\n" not in str(error)
        assert "odd.tif" in str(error)


def test_directories_in_a_download_are_those_of_the_file(tmp_path):
    path = generic(tmp_path / "slide.tif")
    found = directories(Window(None, Held(path.read_bytes())))
    assert [page.size for page in found] == [stored.size for stored in tiff_directories(str(path))]


def test_a_tile_at_the_end_of_the_numbers_is_beyond_the_file(tmp_path):
    """The sum of place and length left the 64 bits and came back as a negative number."""
    whole = directories(Window(None, Held(generic(tmp_path / "slide.tif").read_bytes())))[0]
    counts = whole.counts.copy()
    counts[0] = 2**62
    offsets = whole.offsets.copy()
    offsets[0] = 2**63 - 10
    page = Page(0, whole.size, whole.tile, whole.compression, whole.tables, offsets, counts)
    with pytest.raises(UserError, match="is cut off: 1 tiles"):
        check_places([page], 10**6, "https://example.org/a.tif")
