"""Whether the bytes of a stored JPEG tile decode to their last bit without a complaint."""

from __future__ import annotations

import functools
from collections.abc import Callable


def damage(data: bytes, tile: tuple[int, int], tables: bytes = b"") -> str:
    """Say what is wrong with a stored JPEG tile of ``tile`` (width, height) px, "" when it decodes.

    ``tables``: the JPEG tables that the tiles of a TIFF share. Every warning of libjpeg counts as damage. A stretch
    that was zeroed or cut off is found; of single flipped bits about half are, because the others make another valid
    picture (docs/data.md). simplejpeg judges where it is installed, libvips otherwise.
    """
    if not any(data[:4]):
        return "nothing but zeros"
    stream = tables[:-2] + data[2:] if tables else data
    return _judge()(stream, tuple(tile))


@functools.cache
def _judge() -> Callable[[bytes, tuple[int, int]], str]:
    try:
        import simplejpeg  # noqa: F401
    except ImportError:
        return by_libvips
    return by_simplejpeg


def by_simplejpeg(stream: bytes, tile: tuple[int, int]) -> str:
    """Judge with libjpeg-turbo's own interface, which reads to the end of the picture."""
    import simplejpeg

    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(stream, strict=True)
        if (width, height) != tile:
            return _size(width, height, tile)
        # an eighth of the size: every bit is still read, and less is computed
        colours = "GRAY" if space in ("YCbCr", "Gray") else "RGB"
        simplejpeg.decode_jpeg(stream, colours, fastdct=True, min_height=height // 8, min_width=width // 8, strict=True)
    except ValueError as error:
        return str(error).strip() or "no JPEG"
    return ""


def by_libvips(stream: bytes, tile: tuple[int, int]) -> str:
    """Judge with libvips, at full size: reduced, it overlooks most damage."""
    import pyvips

    try:
        image = pyvips.Image.jpegload_buffer(stream, fail_on="warning", access="sequential")
        if (image.width, image.height) != tile:
            return _size(image.width, image.height, tile)
        image.write_to_memory()
    except pyvips.Error as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[-1].removeprefix("VipsJpeg: ") if lines else "no JPEG"
    return ""


def _size(width: int, height: int, tile: tuple[int, int]) -> str:
    return f"holds {width} x {height} px, not {tile[0]} x {tile[1]}"
