"""What is written below every picture of a slide without label: the model, what is unusual, and what it is not for."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from chowder.models.bundle import NOTE
from chowder.report.figures.style import GREY

LINE = 0.13  # inches
FIRST = 0.22  # inches below the figure's lower edge: the lines of the figure itself are above


def sign(figure, model: str, warnings: Sequence[str] = (), below: float = FIRST) -> None:
    """Write the model, the warnings and "for research, not for diagnosis" below a figure.

    ``below``: inches below the figure's lower edge. The tight box at saving makes room for the lines.
    """
    width, height = figure.get_size_inches()
    letters = max(60, int(width * 17))
    warned = textwrap.wrap(f"Warning: {'; '.join(warnings)}", letters) if warnings else []
    lines = [(line, "#a50f15", "normal") for line in warned] + [
        (f"model {model}", GREY, "normal"),
        (NOTE, "black", "bold"),
    ]
    for number, (text, colour, weight) in enumerate(lines):
        y = -(below + number * LINE) / height
        figure.text(0, y, text, ha="left", va="top", size=6.5, color=colour, weight=weight)


def spread(row: dict[str, str]) -> str:
    """Return what a heat map says of the members: ``10 members, 0.41 to 0.87`` (a row of predictions.csv)."""
    if row["members"] == "1":
        return "1 member"
    return f"{row['members']} members, {float(row['min']):.3f} to {float(row['max']):.3f}"
