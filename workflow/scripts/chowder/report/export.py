"""Outlines and tile scores as GeoJSON, for QuPath."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from chowder.data.annotations import Annotation, Outline
from chowder.files import UserError, write_text

if TYPE_CHECKING:
    import shapely


def to_geojson(
    annotation: Annotation | shapely.MultiPolygon, name: str = "Tumor", colour: str = "#c81e1e"
) -> dict[str, Any]:
    """Return the tumour area as a GeoJSON FeatureCollection that QuPath opens: one annotation object per polygon."""
    import shapely

    shape = annotation.tumor if isinstance(annotation, Annotation) else annotation
    features = [
        _feature(json.loads(shapely.to_geojson(part)), "annotation", f"{name} {index + 1}", name, colour)
        for index, part in enumerate(shapely.get_parts(shape))
    ]
    return {"type": "FeatureCollection", "features": features}


def tiles_geojson(
    xy: np.ndarray, scores: np.ndarray, extent: float, name: str = "Tile", colour: str = "#c81e1e"
) -> dict[str, Any]:
    """Tiles as QuPath detection objects with the measurement ``score``.

    ``xy`` (n, 2): upper left corners; ``extent``: edge of a tile; both in level-0 pixels. ``scores`` (n,).
    """
    features = []
    for (x, y), score in zip(np.asarray(xy, dtype=np.float64).tolist(), np.asarray(scores).tolist(), strict=True):
        ring = [[x, y], [x + extent, y], [x + extent, y + extent], [x, y + extent], [x, y]]
        feature = _feature({"type": "Polygon", "coordinates": [ring]}, "detection", None, name, colour)
        feature["properties"]["measurements"] = {"score": score}
        features.append(feature)
    return {"type": "FeatureCollection", "features": features}


def tile_outlines(xy: np.ndarray, scores: np.ndarray, extent: float, group: str = "Detection") -> list[Outline]:
    """Tiles as outlines for ``annotations.write_asap``, named by rank and score."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * extent
    return [
        Outline(f"{rank}: {score:.4g}", group, corner + corners)
        for rank, (corner, score) in enumerate(zip(np.asarray(xy, dtype=np.float64), scores, strict=True), start=1)
    ]


def _feature(geometry: dict, kind: str, name: str | None, classification: str, colour: str) -> dict[str, Any]:
    rgb = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    properties = {"objectType": kind, "classification": {"name": classification, "color": rgb}}
    if name is not None:
        properties["name"] = name
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def write_geojson(path: str | os.PathLike, collection: dict[str, Any]) -> None:
    """Write a FeatureCollection; refuses values JSON has no word for (NaN, infinity)."""
    try:
        text = json.dumps(collection, allow_nan=False)
    except ValueError:
        raise UserError(
            f"{path}: a score is NaN or infinite and GeoJSON cannot say so: check the tile scores"
        ) from None
    write_text(path, text + "\n")
