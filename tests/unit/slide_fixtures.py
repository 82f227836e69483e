"""Small slides of every form that scanners write, made byte by byte so that odd ones can be made too."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

JPEG, JPEG2000, DEFLATE, NONE, UNKNOWN = 7, 33005, 8, 1, 34712


def tissue_like(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A smooth random RGB image (height, width, 3) uint8 with structure at several scales, on a white border."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cell, weight in ((64, 0.5), (16, 0.3), (4, 0.2)):
        noise = rng.uniform(0, 255, (height // cell + 2, width // cell + 2, 3)).astype(np.uint8)
        image += weight * np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC), float)
    return np.clip(image, 0, 255).astype(np.uint8)


def halved(image: np.ndarray) -> np.ndarray:
    """Mean of 2 x 2 pixels; an odd last row or column is repeated."""
    image = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge").astype(float)
    return np.round((image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4).astype(np.uint8)


def _encode(tile: np.ndarray, compression: int, quality: int) -> bytes:
    if compression == JPEG:
        buffer = io.BytesIO()
        Image.fromarray(tile).save(buffer, "JPEG", quality=quality, subsampling=0)
        return buffer.getvalue()
    if compression == JPEG2000:
        buffer = io.BytesIO()
        Image.fromarray(tile).save(buffer, "JPEG2000", no_jp2=True, mct=0)
        return buffer.getvalue()
    if compression == DEFLATE:
        import zlib

        return zlib.compress(tile.tobytes())
    return tile.tobytes()


def write_tiff(
    path: Path,
    levels: list[np.ndarray],
    tile: int = 128,
    mpp: float | None = 0.25,
    compression: int = JPEG,
    quality: int = 90,
    description: str = "",
    software: str = "",
    padded: bool = False,
    sparse: tuple = (),
    beyond: tuple = (),
    declared: tuple[int, int] | None = None,
    unit: int = 3,
) -> Path:
    """Write ``levels`` (RGB uint8, the largest first) as a tiled pyramidal TIFF.

    ``padded`` declares every level as a multiple of the tile size (as Philips and Camelyon do); ``sparse`` lists
    (level, column, row) of tiles with byte count 0, ``beyond`` of tiles said to lie past the end
    of the file; ``declared`` (width, height) lies about level 0;
    ``unit`` is the TIFF ResolutionUnit (3 centimetre, 2 inch).
    """
    out = bytearray(b"II*\0\0\0\0\0")
    link = 4  # where the offset of the next directory goes
    for index, image in enumerate(levels):
        height, width = image.shape[:2]
        columns, rows = -(-width // tile), -(-height // tile)
        full = np.full((rows * tile, columns * tile, 3), 255, np.uint8)
        full[:height, :width] = image
        offsets, counts = [], []
        for row in range(rows):
            for column in range(columns):
                data = b""
                if (index, column, row) not in sparse:
                    piece = full[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
                    data = _encode(np.ascontiguousarray(piece), compression, quality)
                offsets.append((len(out) if data else 0) + (10**9 if (index, column, row) in beyond else 0))
                counts.append(len(data))
                out += data + b"\0" * (len(data) % 2)
        if padded:
            width, height = columns * tile, rows * tile
        if declared and index == 0:
            width, height = declared
        photometric = 6 if compression == JPEG else 2
        tags = [
            (254, 4, [0 if index == 0 else 1]),
            (256, 4, [width]),
            (257, 4, [height]),
            (258, 3, [8, 8, 8]),
            (259, 3, [compression]),
            (262, 3, [photometric]),
            (277, 3, [3]),
            (284, 3, [1]),
            (322, 4, [tile]),
            (323, 4, [tile]),
            (324, 4, offsets),
            (325, 4, counts),
        ]
        if photometric == 6:
            tags.append((530, 3, [1, 1]))
        if mpp and index == 0:
            per_unit = (10000 if unit == 3 else 25400) / mpp
            tags += [(282, 5, [per_unit]), (283, 5, [per_unit]), (296, 3, [unit])]
        if description and (index == 0 or description.startswith("Aperio")):
            tags.append((270, 2, description))
        if software:
            tags.append((305, 2, software))
        _directory(out, link, sorted(tags, key=lambda tag: tag[0]))
        link = _last_link
    path = Path(path)
    path.write_bytes(out)
    return path


_last_link = 0


def _directory(out: bytearray, link: int, tags: list) -> None:
    """Append one TIFF directory and hang it on the chain at ``link``."""
    global _last_link
    entries = []
    for code, kind, values in tags:
        if kind == 2:
            data, count = values.encode() + b"\0", len(values.encode()) + 1
        elif kind == 5:
            data, count = b"".join(struct.pack("<II", round(value * 1000), 1000) for value in values), len(values)
        else:
            data, count = struct.pack("<" + {3: "H", 4: "I"}[kind] * len(values), *values), len(values)
        if len(data) > 4:
            position = len(out)
            out += data + b"\0" * (len(data) % 2)
            data = struct.pack("<I", position)
        entries.append(struct.pack("<HHI", code, kind, count) + data.ljust(4, b"\0"))
    struct.pack_into("<I", out, link, len(out))
    out += struct.pack("<H", len(entries)) + b"".join(entries)
    _last_link = len(out)
    out += b"\0\0\0\0"


def pyramid(image: np.ndarray, levels: int = 3) -> list[np.ndarray]:
    """``image`` and its halvings."""
    result = [image]
    for _ in range(levels - 1):
        result.append(halved(result[-1]))
    return result


def generic(path: Path, width: int = 700, height: int = 500, levels: int = 3, seed: int = 0, **options) -> Path:
    """A generic pyramidal TIFF like Camelyon's, with the spacing in XResolution."""
    return write_tiff(path, pyramid(tissue_like(width, height, seed), levels), **options)


def philips(path: Path, width: int = 700, height: int = 500, levels: int = 3, mpp: float = 0.25, **options) -> Path:
    """Philips-style: spacing in the ImageDescription XML only, padded levels."""
    images = pyramid(tissue_like(width, height), levels)
    spacing = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" '
        f'Element="0x0030" PMSVR="IDoubleArray">&quot;{mpp / 1000 * 2**i:.9f}&quot; &quot;{mpp / 1000 * 2**i:.9f}&quot;'
        f'</Attribute><Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_NUMBER" Group="0x1001" Element="0x8B01" '
        f'PMSVR="IUInt16">{i}</Attribute></DataObject>'
        for i in range(levels)
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES" Group="0x301D" Element="0x1003" PMSVR="IDataObjectArray"><Array>'
        '<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE" Group="0x301D" Element="0x1004" '
        'PMSVR="IString">WSI</Attribute><Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" Group="0x1001" '
        f'Element="0x8B01" PMSVR="IDataObjectArray"><Array>{spacing}</Array></Attribute></DataObject></Array>'
        "</Attribute>"
        '<Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">'
        f"&quot;{mpp / 1000:.9f}&quot; &quot;{mpp / 1000:.9f}&quot;</Attribute></DataObject>"
    )
    options = {"padded": True, "software": "Philips DP v1.0", "description": text} | options
    return write_tiff(path, images, mpp=None, **options)


def aperio(path: Path, width: int = 700, height: int = 500, mpp: float = 0.25, **options) -> Path:
    """Aperio-style description; one level."""
    text = f"Aperio Image Library v10.0.51\r\n{width}x{height} [0,0 {width}x{height}] (128x128)|AppMag = 40|MPP = {mpp}"
    return write_tiff(path, [tissue_like(width, height)], mpp=None, description=text, **options)


def patched(path: Path, code: int, value: int, page: int = 0) -> bytes:
    """The bytes of a classic little-endian TIFF in which tag ``code`` of a directory has another value."""
    data = bytearray(path.read_bytes())
    at = struct.unpack_from("<I", data, 4)[0]
    for _ in range(page):
        at = struct.unpack_from("<I", data, at + 2 + 12 * struct.unpack_from("<H", data, at)[0])[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        tag, kind = struct.unpack_from("<HH", data, entry)
        if tag == code:
            struct.pack_into("<H" if kind == 3 else "<I", data, entry + 8, value)
            return bytes(data)
    raise KeyError(code)


class Held:
    """Bytes in memory in place of a download's sparse file: all of them are here."""

    def __init__(self, data: bytes):
        from types import SimpleNamespace

        from chowder.data.download.sparse import Ranges

        self.data, self.path = data, Path("held.tif")
        self.version, self.have = SimpleNamespace(length=len(data)), Ranges([(0, len(data))])

    def read(self, start: int, size: int) -> bytes:
        return self.data[start : start + size]
