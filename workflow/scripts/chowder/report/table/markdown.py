"""The benchmark table as Markdown."""

from __future__ import annotations

from chowder.report import published
from chowder.report.table import rows as table
from chowder.report.table.text import literal, pipe


def to_markdown(bench: table.Benchmark) -> str:
    """Return the table in GitHub Markdown with its notes."""
    shown, rows = table.shown_table(bench)
    prefix = {"Sensitivity at false positives per slide": "sens. at ", "Test AUC by centre": "AUC "}
    heads = [literal(f"{prefix.get(column.group, '')}{column.head}") for column in shown]
    heads = [
        f"paper* {head}" if column.key in published.COLUMNS else head for head, column in zip(heads, shown, strict=True)
    ]

    def text(cell: table.Cell) -> str:
        body = f"**{literal(cell.text)}**" if cell.mark == "best" else literal(cell.text)
        return " ".join(part for part in (body, cell.interval, "≈" if cell.mark == "near" else "") if part)

    lines = [f"# {literal(bench.title)}", ""]
    if bench.simulated:
        lines += [f"> **{table.SIMULATED}**: made by this workflow, not patients' tissue.", ""]
    lines += [pipe(heads), pipe([":--" if column.group == "" else "--:" for column in shown])]
    lines += [pipe([text(cell) for cell in row]) for row in rows]
    lines += ["", f"\\* paper columns: {literal(published.heading(bench.shown))}.", ""]
    lines += [f"- {literal(line)}" for line in table.notes(bench)]
    if not bench.tests.empty:
        lines += ["", "## Tests", "", pipe(table.TEST_HEADS), pipe([":--"] * len(table.TEST_HEADS))]
        lines += [pipe([literal(cell) for cell in row]) for row in table.tests_shown(bench)]
    return "\n".join(lines) + "\n"
