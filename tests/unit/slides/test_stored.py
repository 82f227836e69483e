"""What the directories of a TIFF say: equal to libvips' pages and to what was written, whatever the form."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import pyvips
import tifffile
from slide_fixtures import DEFLATE, aperio, generic, philips

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
