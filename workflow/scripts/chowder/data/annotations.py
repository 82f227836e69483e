"""Lesion outlines: ASAP XML in and out, repaired polygons, the level-5 tumour mask, GeoJSON for QuPath.

Coordinates are level-0 pixels with the origin at the upper left corner of the slide; a pixel (i, j) covers
``[i, i + 1) x [j, j + 1)``. specification, section 5 lists the groups.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chowder.data.polygons import even_odd, multipolygon, polygonal, scan, union
from chowder.files import UserError, atomic

if TYPE_CHECKING:
    import shapely

TUMOUR_GROUPS = ("_0", "_1", "tumor", "tumour", "metastases", "metastasis")
EXCLUDED_GROUPS = ("_2", "exclusion", "none")
_LARGEST = 2.0**31  # no slide is wider; beyond it areas overflow
_AREA_TOLERANCE = 0.01


@dataclass(frozen=True)
class Outline:
    """One polygon as it stands in the file: name, group, ``points`` (n, 2) float64 x, y in level-0 pixels."""

    name: str
    group: str
    points: np.ndarray


@dataclass
class Annotation:
    """What a slide's annotation says.

    ``tumor``: shapely MultiPolygon in level-0 pixels, valid, exclusions cut out. ``excluded``: the union of the
    exclusions, likewise. ``polygons``: the outlines as read. ``warnings``: one line each, for the report.
    ``repaired``: names of the self-intersecting outlines that were repaired.
    """

    tumor: shapely.MultiPolygon
    excluded: shapely.MultiPolygon
    polygons: list[Outline] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)


# ---------------------------------------------------------------------------------------------------- reading


def read_asap(
    path: str | os.PathLike,
    size: tuple[int, int] | None = None,
    tumour: Iterable[str] = TUMOUR_GROUPS,
    excluded: Iterable[str] = EXCLUDED_GROUPS,
) -> Annotation:
    """Read an ASAP annotation file.

    Parameters
    ----------
    path : XML file.
    size : (width, height) of the slide at level 0; when given, what lies outside is clipped, with a warning.
    tumour, excluded : group names (any case) that count as tumour and that are cut out of it
        (specification, section 5).

    Raises
    ------
    UserError : not XML, not ASAP, a document type or entity declaration (refused: bombs, external files), a group of
        neither kind, a coordinate that is no finite number.
    """
    path = Path(path)
    roles = {name.lower(): "tumour" for name in tumour} | {name.lower(): "excluded" for name in excluded}
    outlines = _outlines(path)
    annotation = Annotation(multipolygon([]), multipolygon([]), outlines)
    areas: dict[str, list] = {"tumour": [], "excluded": []}
    for outline in outlines:
        role = roles.get(outline.group.strip().lower())
        if role is None:
            known = ", ".join(sorted(roles))
            raise UserError(
                f"{path}: polygon '{outline.name}' is in the unknown group '{outline.group}': known are {known}; "
                "rename the group or remove the polygon"
            )
        shape = _checked(outline, size, path, annotation)
        if shape is not None:
            areas[role].append((outline.name, shape))
    annotation.tumor, annotation.excluded = _combined(areas, path, annotation.warnings)
    if outlines and not areas["tumour"]:
        annotation.warnings.append(f"{path}: no polygon in a tumour group: the slide has no annotated lesion")
    return annotation


def _outlines(path: Path) -> list[Outline]:
    """Read the polygons of an ASAP file, points sorted by ``Order``."""
    from xml.etree.ElementTree import ParseError

    import defusedxml.ElementTree
    from defusedxml import DefusedXmlException

    try:
        root = defusedxml.ElementTree.parse(str(path), forbid_dtd=True).getroot()
    except DefusedXmlException:
        raise UserError(
            f"{path}: refused: the file declares a document type or entities, which an annotation never needs; "
            "export it again from ASAP"
        ) from None
    except (ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not an XML file ({error}): export the annotation again as ASAP XML") from None
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such file: give the path of an ASAP XML annotation") from None
    if root.tag != "ASAP_Annotations":
        raise UserError(f"{path}: not an ASAP annotation: the root element is <{root.tag}>, not <ASAP_Annotations>")
    found = []
    for index, element in enumerate(root.iter("Annotation")):
        name = element.get("Name") or f"number {index}"
        rows = []
        for place, point in enumerate(element.iter("Coordinate")):
            try:
                # ASAP under a European locale writes a decimal comma
                x, y = (float((point.get(key) or "").replace(",", ".")) for key in ("X", "Y"))
                order = float(point.get("Order", place))
            except ValueError:
                x = y = order = math.nan
            if not (abs(x) < _LARGEST and abs(y) < _LARGEST and math.isfinite(order)):
                raise UserError(
                    f"{path}: polygon '{name}', coordinate {place}: X='{point.get('X')}' Y='{point.get('Y')}' "
                    "is no position in level-0 pixels: correct or remove it"
                )
            rows.append((order, x, y))
        rows.sort(key=lambda row: row[0])
        points = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 2)
        found.append(Outline(name, element.get("PartOfGroup") or "None", points))
    return found


def _checked(outline: Outline, size: tuple[int, int] | None, path: Path, annotation: Annotation):
    """Return the outline as a valid shapely geometry, or None when it encloses nothing; notes go to ``annotation``."""
    import shapely

    where = f"{path}: polygon '{outline.name}'"
    if len(np.unique(outline.points, axis=0)) < 3:
        annotation.warnings.append(f"{where} has fewer than 3 points: ignored")
        return None
    shape, error, mended = even_odd(outline.points)
    if mended:
        annotation.repaired.append(outline.name)
    if error > _AREA_TOLERANCE:
        annotation.warnings.append(
            f"{where} crosses itself and its repaired area is {100 * error:.1f} % off the even-odd area"
        )
    if size is not None:
        width, height = size
        low, high = outline.points.min(axis=0), outline.points.max(axis=0)
        if low.min() < 0 or high[0] > width or high[1] > height:
            before = shape.area
            shape = polygonal(shapely.intersection(shape, shapely.box(0, 0, width, height)))
            lost = 1 - shape.area / before if before else 0
            annotation.warnings.append(
                f"{where} leaves the slide ({width} x {height}): {100 * lost:.1f} % of its area clipped"
            )
    if shape.is_empty or shape.area == 0:
        annotation.warnings.append(f"{where} encloses no area: ignored")
        return None
    return shape


def _combined(areas: dict[str, list], path: Path, warnings: list[str]):
    """Union of the tumour outlines less the excluded ones, and union of the excluded ones, as MultiPolygons."""
    import shapely

    tumour = [shape for _, shape in areas["tumour"]]
    excluded = [shape for _, shape in areas["excluded"]]
    try:
        cut, whole = union(excluded), union(tumour)
        whole = shapely.difference(whole, cut) if excluded else whole
    except shapely.errors.GEOSException:  # nearly coincident edges: a grid of 1/128 pixel always succeeds
        cut = shapely.union_all(excluded, grid_size=1 / 128)
        whole = shapely.difference(shapely.union_all(tumour, grid_size=1 / 128), cut, grid_size=1 / 128)
    for name, shape in areas["tumour"] if excluded else ():
        if cut.covers(shape):
            warnings.append(f"{path}: tumour polygon '{name}' lies wholly inside an exclusion: nothing of it counts")
    return polygonal(whole), polygonal(cut)


def tumor_mask(
    annotation: Annotation | shapely.MultiPolygon, width: int, height: int, downsample: int = 32
) -> np.ndarray:
    """Rasterise the tumour: bool (ceil(height / downsample), ceil(width / downsample)).

    A mask pixel is tumour when its centre, ``((column + 0.5) * downsample, (row + 0.5) * downsample)`` in level-0
    pixels, lies inside (the pixel-centre rule; on an edge: inside on the left and upper side only). Downsample 32 is
    level 5, the level of the official evaluation (specification, section 6).
    """
    import shapely

    shape = annotation.tumor if isinstance(annotation, Annotation) else annotation
    mask = np.zeros((-(-int(height) // downsample), -(-int(width) // downsample)), dtype=bool)
    rings = shapely.get_rings(shapely.get_parts(shape))
    if not len(rings) or not mask.size:
        return mask
    # in units of mask pixels, shifted so that pixel centres have integer coordinates
    rings = [shapely.get_coordinates(ring)[:-1] / downsample - 0.5 for ring in rings]
    row, x = scan(rings, mask.shape[0])
    column = np.clip(np.ceil(x), 0, mask.shape[1]).astype(np.int64)
    keep = column < mask.shape[1]
    row, column = row[keep], column[keep]
    if not len(row):
        return mask
    top, left = row.min(), column.min()
    # every crossing toggles all pixels to its right; the parity of the toggles is the even-odd rule
    toggles = np.zeros((row.max() - top + 1, mask.shape[1] - left), dtype=np.uint8)
    np.add.at(toggles, (row - top, column - left), 1)
    mask[top : row.max() + 1, left:] = np.bitwise_xor.accumulate(toggles & 1, axis=1).astype(bool)
    return mask


def write_asap(path: str | os.PathLike, polygons: Iterable[Outline], groups: Mapping[str, str] | None = None) -> None:
    """Write outlines as ASAP XML. ``groups``: colour (``#rrggbb``) by group; groups not named get ASAP's yellow."""
    from xml.etree import ElementTree

    polygons = list(polygons)
    colours = dict.fromkeys((outline.group for outline in polygons), "#f4fa58") | dict(groups or {})
    root = ElementTree.Element("ASAP_Annotations")
    listed = ElementTree.SubElement(root, "Annotations")
    for outline in polygons:
        attributes = {
            "Name": _printable(outline.name),
            "Type": "Polygon",
            "PartOfGroup": _printable(outline.group),
            "Color": colours[outline.group],
        }
        coordinates = ElementTree.SubElement(ElementTree.SubElement(listed, "Annotation", attributes), "Coordinates")
        for order, (x, y) in enumerate(np.asarray(outline.points, dtype=np.float64)):
            point = {"Order": str(order), "X": repr(float(x)), "Y": repr(float(y))}
            ElementTree.SubElement(coordinates, "Coordinate", point)
    entries = ElementTree.SubElement(root, "AnnotationGroups")
    for group, colour in colours.items():
        if group != "None":
            attributes = {"Name": _printable(group), "PartOfGroup": "None", "Color": colour}
            ElementTree.SubElement(ElementTree.SubElement(entries, "Group", attributes), "Attributes")
    ElementTree.indent(root, "\t")
    with atomic(path) as scratch:
        ElementTree.ElementTree(root).write(scratch, encoding="utf-8", xml_declaration=True)


def _printable(text: str) -> str:
    """XML 1.0 has no way to write control characters."""
    return "".join(character if character.isprintable() else "?" for character in text)
