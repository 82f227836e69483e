"""The benchmark table as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from chowder.report import published
from chowder.report.table import rows as table


def to_markdown(bench: table.Benchmark) -> str:
    """Return the table in GitHub Markdown with its notes."""
    shown, rows = table.shown_table(bench)
    prefix = {"Sensitivity at false positives per slide": "sens. at ", "Test AUC by centre": "AUC "}
    heads = [f"{prefix.get(column.group, '')}{column.head}" for column in shown]
    heads = [
        f"paper* {head}" if column.key in published.COLUMNS else head for head, column in zip(heads, shown, strict=True)
    ]

    def text(cell: table.Cell) -> str:
        body = f"**{cell.text}**" if cell.mark == "best" else cell.text
        return " ".join(part for part in (body, cell.interval, "≈" if cell.mark == "near" else "") if part)

    lines = [f"# {bench.title}", ""]
    if bench.simulated:
        lines += [f"> **{table.SIMULATED}**: made by this workflow, not patients' tissue.", ""]
    lines += [_pipe(heads), _pipe([":--" if column.group == "" else "--:" for column in shown])]
    lines += [_pipe([text(cell).replace("|", r"\|") for cell in row]) for row in rows]
    lines += ["", f"\\* paper columns: {published.heading(bench.shown)}.", ""] + [
        f"- {line}" for line in table.notes(bench)
    ]
    if not bench.tests.empty:
        lines += ["", "## Tests", "", _pipe(table.TEST_HEADS), _pipe([":--"] * len(table.TEST_HEADS))]
        lines += [_pipe([cell.replace("|", r"\|") for cell in row]) for row in table.tests_shown(bench)]
    return "\n".join(lines) + "\n"


def _pipe(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
