"""The tile table of a slide: one row a tissue tile, the grid in the file's metadata."""

from __future__ import annotations

import json
import os
from dataclasses import Field, asdict, astuple, fields

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
        grid = Grid(**record)
        if not isinstance(slide, str) or not all(map(_fits, fields(grid), astuple(grid))):
            raise ValueError
        return corners, grid, slide
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise UserError(f"{path}: is no tile table: remove it and run the tiling again") from None


def _fits(known: Field, value) -> bool:
    """Whether a value of a grid is of its field's type; a number is finite and not negative; a length is not 0."""
    kinds = {"int": int, "float": int | float, "str": str}[known.type]
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    return isinstance(value, str) or (0 <= value < 2**53 and (known.type == "int" or value > 0))


def count(path: str | os.PathLike) -> int:
    """Return the number of tiles in a tile table, from its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError):
        raise UserError(f"{path}: is no tile table: remove it and run the tiling again") from None
