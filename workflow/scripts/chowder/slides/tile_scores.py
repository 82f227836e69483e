"""Scores of a slide's tiles (tile_scores/<encoder>/<method>/<slide>.parquet), as figures read them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from chowder.files import UserError, reason

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("x", "y", "score")


def read(path: str | os.PathLike) -> pd.DataFrame:
    """Return a row per tile: x, y (level-0 px of its upper left corner), score, and what else is there.

    Errors: :class:`UserError` for a file that is absent, no such table, or whose columns are no numbers.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(path)
        for column in COLUMNS:
            if table[column].dtype.kind not in "iuf":
                raise TypeError(f"{column} is {table[column].dtype}")
    except Exception as error:  # pyarrow and pandas raise of all kinds for a damaged file
        what = f"{type(error).__name__}: {reason(error)}"
        raise UserError(f"{path}: no scores of tiles ({what}): delete it and run the workflow again") from None
    return table
