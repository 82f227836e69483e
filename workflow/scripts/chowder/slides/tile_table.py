"""The tile table of a slide: one row a tissue tile, the grid in the file's metadata."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import numpy as np

from chowder.files import UserError, atomic
from chowder.slides.grid import Grid

KEY = b"tiles"


def write(path: str | os.PathLike, table, grid: Grid, slide: str) -> None:
    """Write a tile table (parquet), with the grid and the slide's name as JSON under the schema key ``tiles``."""
    import pyarrow.parquet as pq

    record = json.dumps({"slide": slide} | asdict(grid))
    with atomic(path) as scratch:
        pq.write_table(table.replace_schema_metadata({KEY: record.encode()}), scratch)


def read(path: str | os.PathLike) -> tuple[np.ndarray, Grid, str]:
    """Read a tile table: corners (n, 2) int32 (x, y) in level-0 px, the grid, the slide's name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        record = json.loads(table.schema.metadata[KEY])
        slide = record.pop("slide")
        corners = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], 1).astype(np.int32)
        return corners, Grid(**record), slide
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: is no tile table: remove it and run the tiling again") from None


def count(path: str | os.PathLike) -> int:
    """Return the number of tiles in a tile table, from its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowInvalid, OSError):
        raise UserError(f"{path}: is no tile table: remove it and run the tiling again") from None
