"""The benchmark table as a page of its own: intervals drawn, columns that sort and hide, p-values in the cells."""

from __future__ import annotations

import math
from collections.abc import Collection
from html import escape

import pandas as pd

from chowder.report import paper, published
from chowder.report.table import rows as table
from chowder.report.table.page import Head, Item, badge, download, page, plain, sortable
from chowder.report.table.significance import p_text

#: what a column means, on hover
MEANING = {
    "method": "Method: R highest and R lowest tiles are kept",
    "ensemble": "Number of networks that are averaged",
    "auc_cv": "Area under the ROC curve in cross-validation: mean over folds ± standard deviation",
    "auc_test": "Area under the ROC curve on the test slides, with its interval over slides",
    "froc": "Mean lesion sensitivity at six rates of false positives, with its interval over slides",
    "train_seconds": "Time that the training of all splits took",
    "paper_auc_cv": "The paper's AUC in cross-validation",
    "paper_auc_test": "The paper's AUC on the test slides of Camelyon-16",
    "paper_froc": "The paper's FROC on the test slides of Camelyon-16",
}
BEST = "Bold: highest value of the column{which}. "
TESTS = "p: paired test against it, corrected by Holm; grey with ≈: not told apart from it. "
HOW = "Hover over a value or a header for details; click a header to sort."


def forest(value: float, low: float, high: float, start: float = 0.0) -> str:
    """Return an inline SVG of a value and its interval on a line from ``start`` to 1, for a table cell."""
    if any(map(math.isnan, (value, low, high))):
        return ""

    def x(number: float) -> float:
        return round(2 + 86 * (min(max(number, start), 1) - start) / (1 - start), 1)

    return (
        '<svg class="forest" width="90" height="12" viewBox="0 0 90 12" aria-hidden="true">'
        f'<path d="M2 6H88" stroke="#d0d7de"/><path d="M{x(low)} 6H{x(high)}M{x(low)} 3V9M{x(high)} 3V9" '
        f'stroke="#0072b2" stroke-width="1.5"/><circle cx="{x(value)}" cy="6" r="3" fill="#0072b2"/></svg>'
    )


def html_table(bench: table.Benchmark, hidden: Collection[str] = ()) -> str:
    """Return the sortable table alone; groups of columns in ``hidden`` show after a click.

    Several encoders: each row's is in its first cell, so that it stays in view with the method's name. The paper's
    columns follow ours, before the details, so that they show in a narrow window too.
    """
    shown, rows = table.shown_table(bench)
    several = bench.frame["encoder"].nunique() > 1
    ranks = {"": 0, "Measured here": 1, published.heading(bench.shown): 2}
    places = [place for place, column in enumerate(shown) if column.key != "encoder"]
    places.sort(key=lambda place: ranks.get(shown[place].group, 3))
    heads = [
        Head(
            column.key,
            column.head,
            column.group,
            MEANING.get(column.key) or f"{column.group}: {column.head}",
            "ascending" if column.group in ("", "Run time") else "descending",
            "paper" if column.key in published.COLUMNS else "",
        )
        for column in (shown[place] for place in places)
    ]
    body = []
    for number, (cells, (_, row)) in enumerate(zip(rows, bench.frame.iterrows(), strict=True)):
        line = [Item(_name(bench, row, cells, several), number)]
        line += [Item(_cell(bench, row, shown[place].key, cells[place]), cells[place].value) for place in places[1:]]
        body.append(line)
    return sortable(heads, body, "Benchmark table", hidden=hidden, tools=download("benchmark.csv", table.to_csv(bench)))


def _name(bench: table.Benchmark, row: pd.Series, cells: list[table.Cell], several: bool) -> str:
    """Return the first cell of a row: method, marks of its notes, and its encoder where there are several."""
    marks = "".join(
        f'<sup><a href="#note-{number}" title="{escape(bench.remarks[number])}">{place}</a></sup>'
        for number, place in _footnotes(bench).items()
        if bench.remarks[number] in bench.about.get((row["encoder"], row["method"]), ())
    )
    encoder = f'<span class="interval">{escape(row["encoder"])}</span>' if several else ""
    return escape(paper.parse(row["method"]).label) + marks + encoder


def _footnotes(bench: table.Benchmark) -> dict[int, int]:
    """Return the number of each remark that is about one row: place in ``bench.remarks`` to what the mark says."""
    own = {line for lines in bench.about.values() for line in lines}
    return {number: place for place, number in enumerate((n for n, r in enumerate(bench.remarks) if r in own), 1)}


def _cell(bench: table.Benchmark, row: pd.Series, key: str, cell: table.Cell) -> str:
    """Return a cell: value, interval, p of the test against the best, and the interval drawn."""
    if not cell.text:
        why = "The paper gives no such number for this method" if key.startswith("paper") else "None: see the notes"
        return f'<span class="none" title="{why}">–</span>'
    test = bench.against_best(row["encoder"], row["method"], key) if key in table.SPREAD else None
    text = f'<span class="{cell.mark}">{escape(cell.text)}</span>' if cell.mark else escape(cell.text)
    text += f'<span class="interval">{escape(cell.interval)}</span>' if cell.interval else ""
    if test is not None and cell.mark != "best":
        p = p_text(test["p_holm"])
        text += (
            f'<span class="p" title="{escape(_why(test, cell.mark == "near"))}">'
            f"{'≈ ' if cell.mark == 'near' else ''}p {escape(p if p.startswith('<') else f'= {p}')}</span>"
        )
    if key in ("auc_test", "froc"):
        text += forest(row[key], *(row[end] for end in table.SPREAD[key]))
    return text


def _why(test: pd.Series, near: bool) -> str:
    """Return the test behind a p in words."""
    against = paper.parse(test["against"]).label
    p = p_text(test["p_holm"])
    return (
        f"{'not told' if near else 'told'} apart from {against}: p {p if p.startswith('<') else f'= {p}'} (Holm), "
        f"{test['test']} test, difference {test['difference']:.3f} [{test['low']:.3f}, {test['high']:.3f}]"
    )


def html_tests(bench: table.Benchmark) -> str:
    """Return the list of tests as a table that opens with a click; empty without tests."""
    if bench.tests.empty:
        return ""
    return (
        f"<details><summary>Paired tests ({len(bench.tests)})</summary>"
        f"{plain(table.TEST_HEADS, table.tests_shown(bench), 'Paired tests')}</details>"
    )


def html_notes(bench: table.Benchmark) -> str:
    """Return the notes as a list; those of one row have the number that its mark shows."""
    lines, items = table.notes(bench), []
    first = len(lines) - len(bench.remarks)
    numbers = _footnotes(bench)
    for place, line in enumerate(lines):
        number = numbers.get(place - first)
        target = f' id="note-{place - first}"' if number else ""
        items.append(f"<li{target}>{f'<sup>{number}</sup> ' if number else ''}{escape(line)}</li>")
    return f'<ul class="notes">{"".join(items)}</ul>'


def key(bench: table.Benchmark) -> str:
    """Return what marks in the table mean and how to use it."""
    which = " and encoder" if bench.frame["encoder"].nunique() > 1 else ""
    return BEST.format(which=which) + ("" if bench.tests.empty else TESTS) + HOW


def html_section(bench: table.Benchmark, hidden: Collection[str] = ()) -> str:
    """Return the sign of simulated data, table, notes and tests, for a page."""
    encoder = "" if bench.frame["encoder"].nunique() > 1 else f"Encoder: {bench.frame['encoder'].iloc[0]}. "
    return "\n".join(
        [
            badge(table.SIMULATED, bench.simulated),
            f'<p class="key">{escape(encoder + key(bench))}</p>',
            html_table(bench, hidden),
            html_notes(bench),
            html_tests(bench),
        ]
    )


def to_html(bench: table.Benchmark) -> str:
    """benchmark.html: self-contained; a click (or key) on a heading sorts."""
    return page(bench.title, f"<h1>{escape(bench.title)}</h1>\n{html_section(bench)}")
