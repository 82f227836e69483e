"""The table of repeats: one row per method, the mean over repeats with its spread over repeats and over slides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from chowder.evaluation.repeats import Repeated
from chowder.models.names import label
from chowder.report.table.page import badge, listed, page, plain
from chowder.report.table.rows import SIMULATED
from chowder.report.table.text import literal, pipe

SHOWN = (("auc_cv", "AUC, cross-validation"), ("auc_test", "AUC, test"), ("froc", "FROC"))
ENDS = ("", "_repeats_sd", "_low", "_high")
COLUMNS = ("encoder", "method", "repeats", *(f"{key}{end}" for key, _ in SHOWN for end in ENDS))
Row = tuple[str, str, int, Mapping[str, Repeated | None]]


def flat(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return the rows of repeats.csv. ``rows``: encoder, method, repeats, and for each column its number or None."""
    found = []
    for encoder, method, number, values in rows:
        row: dict[str, object] = {"encoder": encoder, "method": method, "repeats": number}
        for key, _ in SHOWN:
            value = values.get(key)
            if value is not None:
                cells = {"": value.mean, "_repeats_sd": value.sd, "_low": value.low, "_high": value.high}
                row |= {f"{key}{end}": round(cell, 6) for end, cell in cells.items()}
        found.append(row)
    return found


def _cell(value: Repeated | None) -> str:
    if value is None:
        return ""
    sd = "" if math.isnan(value.sd) else f" ± {value.sd:.3f}"
    return f"{value.mean:.3f}{sd} [{value.low:.3f}, {value.high:.3f}]"


def _shown(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    several = len({encoder for encoder, *_ in rows}) > 1
    heads = [*(["Encoder"] if several else []), "Method", "Repeats", *(head for _, head in SHOWN)]
    lines = []
    for encoder, method, number, values in rows:
        cells = [label(method), str(number), *(_cell(values.get(key)) for key, _ in SHOWN)]
        lines.append([encoder, *cells] if several else cells)
    return heads, lines


def _notes(confidence: float) -> list[str]:
    return [
        "A repeat has other tile samples and other initial weights; slides and folds are the same. Numbers are means "
        "over repeats.",
        f"±: standard deviation over repeats. [low, high]: {confidence:.0%} interval over slides, of the mean. The two "
        "are different things: more repeats make the first more certain, only more slides narrow the second.",
        "The benchmark table, its tests and the figures are those of the first repeat.",
    ]


def to_markdown(title: str, rows: Sequence[Row], confidence: float, simulated: bool) -> str:
    """Return the table in GitHub Markdown with its notes."""
    heads, lines = _shown(rows)
    text = [f"# {literal(title)}", ""]
    text += [f"> **{SIMULATED}**: made by this workflow, not patients' tissue.", ""] if simulated else []
    text += [pipe(heads), "|" + " --- |" * len(heads)]
    text += [pipe([literal(cell) for cell in cells]) for cells in lines]
    return "\n".join([*text, "", *(f"- {literal(note)}" for note in _notes(confidence))]) + "\n"


def to_html(title: str, rows: Sequence[Row], confidence: float, simulated: bool) -> str:
    """Return the table as a page of its own."""
    heads, lines = _shown(rows)
    return page(
        title,
        f"<h1>{escape(title)}</h1>\n{badge(SIMULATED, simulated)}\n{plain(heads, lines, 'Repeats')}\n"
        + listed(_notes(confidence)),
    )
