"""The paired tests beside the benchmark table: read, ranked and shown."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from chowder.files import UserError

#: column of tests.csv: its name in the table
TESTED = {"auc_cv": "AUC, cross-validation", "auc_test": "AUC, test", "froc": "FROC"}
TEST_COLUMNS = ("encoder", "column", "method", "against", "difference", "low", "high", "p", "p_holm", "test")


def read_tests(path: Path | None) -> pd.DataFrame | None:
    """Read tests.csv; None without a path.

    Errors: :class:`UserError` when a column is missing.
    """
    if path is None:
        return None
    try:
        rows = pd.read_csv(path, dtype=dict.fromkeys(("encoder", "column", "method", "against", "test"), str))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error}): delete it and rerun `tests_table`") from None
    missing = [column for column in TEST_COLUMNS if column not in rows]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}: delete it and rerun `tests_table`")
    return rows


def p_text(p: float) -> str:
    """Return p for people: three decimals, ``< 0.001`` below."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
